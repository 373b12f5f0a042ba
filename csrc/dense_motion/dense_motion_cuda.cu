// dense_motion on a CUDA device. Versions: 1. one thread a pixel, a warp a block: 4096 pixels make 128 blocks.
//
// A block brings its logits into shared memory with neighbouring threads on neighbouring numbers; each thread then works
// on one row of them. Rows have an odd length, so that a warp's threads meet different banks.
#include <cuda_runtime.h>

#include "common/launch.h"
#include "dense_motion/dense_motion.h"

namespace eamfmeg {
namespace {

constexpr int kPixels = 32;

__host__ __device__ constexpr int padded(int motions) {
    return motions | 1;
}

// What one block works on: pixels of a single picture.
struct Patch {
    std::int64_t b, first;
    int count;
};

__device__ void read_logits(float* logits, const Motion& call, const Patch& patch, Mutant mutant) {
    const int motions = static_cast<int>(call.motions()), width = static_cast<int>(call.logits.w);
    for (int i = threadIdx.x; i < patch.count * motions; i += kPixels) {
        const int lane = i / motions, k = i - lane * motions;
        const int pixel = static_cast<int>(patch.first) + lane, y = pixel / width, x = pixel - y * width;
        const std::int64_t at = x * logits_step(call, mutant) + k * call.logits.stride_c;
        logits[lane * padded(motions) + k] = call.logits.at(patch.b, y, 0)[at];
    }
}

// Exponentials in place; returns what they are to be multiplied by.
__device__ float normalise(float* row, int motions, Mutant mutant) {
    float top = row[0];
    for (int k = 1; k < motions; ++k) top = fmaxf(top, row[k]);
    if (mutant.is(kMaximumNotSubtracted)) top = 0.0f;
    float total = 0.0f;
    for (int k = 0; k < motions; ++k) {
        row[k] = expf(row[k] - top);
        if (k > 0 || !mutant.is(kBackgroundNotCounted)) total += row[k];
    }
    return 1.0f / total;
}

__device__ void move_pixel(const Motion& call, std::int64_t b, int pixel, const float* row, const float* turns,
                           float factor, Mutant mutant) {
    const int width = static_cast<int>(call.logits.w), y = pixel / width, x = pixel - y * width;
    const float along = pixel_axis(call, x, width, mutant), down = pixel_axis(call, y, call.logits.h, mutant);
    const bool swap = mutant.is(kPixelXAndYSwapped);
    const float at_x = swap ? down : along, at_y = swap ? along : down;
    float sum[6] = {};
    for (int k = 0; k < static_cast<int>(call.motions()); ++k) {
#pragma unroll
        for (int i = 0; i < 6; ++i) sum[i] = fmaf(row[k], turns[6 * k + i], sum[i]);
    }
    const std::int64_t out = b * call.logits.h * call.logits.w + pixel;
    const float to_x = at_x + factor * fmaf(sum[0], at_x, fmaf(sum[1], at_y, sum[2]));
    const float to_y = at_y + factor * fmaf(sum[3], at_x, fmaf(sum[4], at_y, sum[5]));
    call.flow[2 * out] = to_x;
    call.flow[2 * out + 1] = to_y;
    const float logit = *call.hidden.at(b, y, x);
    call.occlusion[out] = 1.0f / (1.0f + expf(mutant.is(kSigmoidReversed) ? logit : -logit));
}

__global__ void __launch_bounds__(kPixels) motion_kernel(Motion call, Mutant mutant) {
    EAMFMEG_DYNAMIC_SHARED(float, logits);
    const int motions = static_cast<int>(call.motions()), lane = threadIdx.x;
    float* const turns = logits + kPixels * padded(motions);
    float* const factors = turns + 6 * motions;
    const std::int64_t pixels = call.logits.h * call.logits.w, first = std::int64_t(blockIdx.x) * kPixels;
    const std::int64_t b = blockIdx.y, left = pixels - first;
    Patch patch{b, first, left < kPixels ? static_cast<int>(left) : kPixels};
    const bool at_the_end = b == call.logits.n - 1 && left <= kPixels;
    if (mutant.is(kLastPixelMissed) && at_the_end) --patch.count;
    read_logits(logits, call, patch, mutant);
    for (int i = lane; i < 6 * motions; i += kPixels) turns[i] = turn(call, b, i / 6, i % 6 / 3, i % 3, mutant);
    __syncthreads();
    if (lane < patch.count) {
        float* const row = logits + lane * padded(motions);
        factors[lane] = normalise(row, motions, mutant);
        move_pixel(call, b, static_cast<int>(first) + lane, row, turns, factors[lane], mutant);
    }
    __syncthreads();
    if (call.mask != nullptr) {
        float* const mask = call.mask + (b * pixels + first) * motions;
        for (int i = lane; i < patch.count * motions; i += kPixels) {
            const int pixel = i / motions;
            mask[i] = logits[pixel * padded(motions) + i - pixel * motions] * factors[pixel];
        }
    }
    if (mutant.is(kOneFlowBeyondTheEnd) && at_the_end && lane == 0) call.flow[call.logits.n * pixels * 2] = 0.0f;
}

int launch(const Motion& call, cudaStream_t stream) {
    const std::int64_t pixels = call.logits.h * call.logits.w, pictures = call.logits.n;
    if (too_large(call) || pixels > 0x7fffffff - kPixels || pictures > 0xffff) return kTooLarge;
    if (pixels == 0 || pictures == 0) return kOk;
    const dim3 grid(static_cast<unsigned>((pixels + kPixels - 1) / kPixels), static_cast<unsigned>(pictures));
    const int motions = static_cast<int>(call.motions());
    const std::size_t shared = sizeof(float) * (kPixels * padded(motions) + 6 * motions + kPixels);
    EAMFMEG_LAUNCH(motion_kernel, grid, kPixels, shared, stream, call, current_mutant());
    return cudaGetLastError() == cudaSuccess ? kOk : kLaunchFailed;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_dense_motion_cuda(float* mask, float* flow, float* occlusion, const float* mask_logits,
                                         const float* occlusion_logits, const float* affine, std::int64_t n, std::int64_t h,
                                         std::int64_t w, std::int64_t motions, std::int64_t mask_n, std::int64_t mask_h,
                                         std::int64_t mask_w, std::int64_t mask_c, std::int64_t occlusion_n,
                                         std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t grid,
                                         void* stream) {
    using namespace eamfmeg;
    const Motion call{mask,
                      flow,
                      occlusion,
                      {mask_logits, n, h, w, motions, mask_n, mask_h, mask_w, mask_c},
                      {occlusion_logits, n, h, w, 1, occlusion_n, occlusion_h, occlusion_w, 1},
                      affine,
                      static_cast<int>(grid)};
    return launch(call, static_cast<cudaStream_t>(stream));
}
