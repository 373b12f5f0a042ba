// warp_occlude on a CUDA device. Versions: 1. a block for a few pixels and a slab of channels, 16 bytes a thread and step.
//
// The first threads of a block find the taps of its pixels, once; then neighbouring threads read neighbouring channels.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "common/launch.h"
#include "warp_occlude/warp_occlude.h"

namespace eamfmeg {
namespace {

constexpr int kThreads = 256;
constexpr int kSlab = 64;         // Packs of channels in a block: 1 KiB of each pixel.
constexpr int kFewestPixels = 8;  // In a block: at 64x64x256 in float that makes 512 blocks.

// kCount channels that are read and written at once.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
    T v[kCount];
};

// One output pixel. `from` is where the taps begin, in elements; -1: outside.
struct Tile {
    std::int64_t from[4];
    float weight[4], occlusion;
};

template <class T>
__device__ void find_tile(Tile& tile, const Warp<T>& call, std::int64_t pixel, Mutant mutant) {
    const View<T>& map = call.features;
    const std::int64_t x = pixel % call.flow.w, y = pixel / call.flow.w % call.flow.h,
                       b = pixel / (call.flow.w * call.flow.h);
    const float* flow = call.flow.at(b, y, x);
    const float first = flow[0], second = flow[call.flow.stride_c];
    const bool swap = mutant.is(kXAndYSwapped);
    const float at_x = swap ? second : first, at_y = swap ? first : second;
    const AxisTaps columns = axis_taps(at_x, static_cast<std::int32_t>(map.w), call.align_corners, mutant);
    const AxisTaps rows = axis_taps(at_y, static_cast<std::int32_t>(map.h), call.align_corners, mutant);
    const bool somewhere = is_somewhere(at_x, at_y, mutant);
    const std::int64_t batch = mutant.is(kFeaturesOfTheFirstBatch) ? 0 : b * map.stride_n;
#pragma unroll
    for (int tap = 0; tap < 4; ++tap) {
        const int i = tap / 2, j = tap % 2;
        const bool inside = somewhere && rows.inside[i] && columns.inside[j];
        const bool read = inside || (mutant.is(kOutsideTimesZero) && somewhere);
        tile.from[tap] = read ? batch + rows.at[i] * map.stride_h + columns.at[j] * map.stride_w : -1;
        tile.weight[tap] = inside ? rows.weight[i] * columns.weight[j] : 0.0f;
    }
    tile.occlusion = occlusion_at(call, b, y, x, mutant);
}

__device__ __forceinline__ float as_float(float x) {
    return x;
}
__device__ __forceinline__ float as_float(__half x) {
    return __half2float(x);
}
__device__ __forceinline__ float as_float(__nv_bfloat16 x) {
    return __bfloat162float(x);
}
__device__ __forceinline__ void put(float& to, float x) {
    to = x;
}
__device__ __forceinline__ void put(__half& to, float x) {
    to = __float2half_rn(x);
}
__device__ __forceinline__ void put(__nv_bfloat16& to, float x) {
    to = __float2bfloat16_rn(x);
}

template <class T, int kCount>
__device__ Pack<T, kCount> blend(const Tile& tile, const T* features, std::int64_t channel) {
    // All four are on their way before the first is used.
    Pack<T, kCount> packs[4];
#pragma unroll
    for (int tap = 0; tap < 4; ++tap) {
        packs[tap] = {};
        // Not read, rather than times 0: a NaN on the border must not come in from outside.
        if (tile.from[tap] < 0) continue;
        packs[tap] = *reinterpret_cast<const Pack<T, kCount>*>(features + tile.from[tap] + channel);
    }
    float sum[kCount] = {};
#pragma unroll
    for (int tap = 0; tap < 4; ++tap) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) sum[i] = fmaf(tile.weight[tap], as_float(packs[tap].v[i]), sum[i]);
    }
    Pack<T, kCount> out;
#pragma unroll
    for (int i = 0; i < kCount; ++i) put(out.v[i], sum[i] * tile.occlusion);
    return out;
}

template <class T, int kCount>
__global__ void __launch_bounds__(kThreads, 4) warp_kernel(Warp<T> call, int slab, int per_block, Mutant mutant) {
    __shared__ Tile tiles[kThreads];
    const std::int64_t pixels = call.flow.n * call.flow.h * call.flow.w, first = std::int64_t(blockIdx.x) * per_block;
    const std::int64_t left = pixels - first - (mutant.is(kLastPixelForgotten) ? 1 : 0);
    const int count = left < per_block ? static_cast<int>(left) : per_block;
    if (static_cast<int>(threadIdx.x) < count) {
        find_tile(tiles[threadIdx.x], call, static_cast<std::uint32_t>(first + threadIdx.x), mutant);
    }
    __syncthreads();
    const std::int64_t channels = call.features.c, packs = channels / kCount, begin = std::int64_t(blockIdx.y) * slab;
    const bool one_less = mutant.is(kLastChannelForgotten);
#pragma unroll 2
    for (int i = threadIdx.x; i < count * slab; i += kThreads) {
        const int pixel = i / slab;
        const std::int64_t pack = begin + (i - pixel * slab);
        if (pack >= packs - (one_less ? 1 : 0)) continue;
        const Pack<T, kCount> out = blend<T, kCount>(tiles[pixel], call.features.data, pack * kCount);
        *reinterpret_cast<Pack<T, kCount>*>(call.out + (first + pixel) * channels + pack * kCount) = out;
    }
    if (mutant.is(kOnePixelBeyondTheEnd) && first + per_block >= pixels) put(call.out[pixels * channels], 0.0f);
}

template <class T, int kCount>
int launch(const Warp<T>& call, cudaStream_t stream) {
    const std::int64_t packs = call.features.c / kCount, pixels = call.flow.n * call.flow.h * call.flow.w;
    // Divisions of 32 bits are several times faster than of 64.
    if (pixels > 0x7fffffff) return kTooLarge;
    if (pixels == 0) return kOk;
    const int slab = static_cast<int>(packs < kSlab ? packs : kSlab);
    const int per_block = kThreads / slab > kFewestPixels ? kThreads / slab : kFewestPixels;
    const std::int64_t blocks = (pixels + per_block - 1) / per_block, slabs = (packs + slab - 1) / slab;
    if (slabs > 0xffff) return kTooLarge;
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(slabs));
    EAMFMEG_LAUNCH((warp_kernel<T, kCount>), grid, kThreads, 0, stream, call, slab, per_block, current_mutant());
    return cudaGetLastError() == cudaSuccess ? kOk : kLaunchFailed;
}

// 16 bytes at once where every pixel begins on such a boundary.
template <class T>
int launch_widest(const Warp<T>& call, cudaStream_t stream) {
    constexpr int kCount = 16 / sizeof(T);
    const View<T>& map = call.features;
    const std::int64_t strides = map.c | map.stride_n | map.stride_h | map.stride_w;
    const auto addresses = reinterpret_cast<std::uintptr_t>(map.data) | reinterpret_cast<std::uintptr_t>(call.out);
    return strides % kCount == 0 && addresses % 16 == 0 ? launch<T, kCount>(call, stream) : launch<T, 1>(call, stream);
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_warp_occlude_cuda(void* out, const void* features, const float* flow, const float* occlusion,
                                         std::int64_t n, std::int64_t height, std::int64_t width, std::int64_t c,
                                         std::int64_t features_n, std::int64_t features_h, std::int64_t features_w,
                                         std::int64_t h, std::int64_t w, std::int64_t flow_n, std::int64_t flow_h,
                                         std::int64_t flow_w, std::int64_t flow_c, std::int64_t occlusion_n,
                                         std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t dtype,
                                         std::int64_t align_corners, void* stream) {
    using namespace eamfmeg;
    const Warp<char> call{static_cast<char*>(out),
                          {static_cast<const char*>(features), n, height, width, c, features_n, features_h, features_w, 1},
                          {flow, n, h, w, 2, flow_n, flow_h, flow_w, flow_c},
                          {occlusion, n, h, w, 1, occlusion_n, occlusion_h, occlusion_w, 1},
                          align_corners != 0};
    if (too_large(call)) return kTooLarge;
    const auto on = static_cast<cudaStream_t>(stream);
    switch (dtype) {
        case kFloat32: return launch_widest(typed<float>(call), on);
        case kFloat16: return launch_widest(typed<__half>(call), on);
        case kBFloat16: return launch_widest(typed<__nv_bfloat16>(call), on);
        default: return kBadType;
    }
}
