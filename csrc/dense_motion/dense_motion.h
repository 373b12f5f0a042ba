// dense_motion: softmax over K + 1 motions, the flow they make together, and the occlusion, one pixel at a time.
//
//     flow = z + sum_k m_k ((A_k - I) z + b_k),   m = softmax(logits), motion 0 the background, which stays
//
// Summing displacements instead of coordinates leaves z untouched to the last bit where nothing moves.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/dense_motion/samples.py.
enum MotionMutant {
    kMaximumNotSubtracted = 1,
    kBackgroundNotCounted,
    kIdentityNotSubtracted,
    kMatrixTransposed,
    kPixelXAndYSwapped,
    kOtherPixelGrid,
    kMotionsShifted,
    kLastMotionForgotten,
    kAffineOfTheFirstBatch,
    kLogitsTakenForPacked,
    kSigmoidReversed,
    kOffsetForgotten,
    kLastPixelMissed,
    kOneFlowBeyondTheEnd,
    kMotionMutants = kOneFlowBeyondTheEnd,
};

constexpr std::int64_t kMostMotions = 64;

struct Motion {
    float* mask;       // [n, h, w, motions], contiguous; null: not wanted
    float* flow;       // [n, h, w, 2], contiguous
    float* occlusion;  // [n, h, w], contiguous
    View<float> logits, hidden;
    const float* affine;  // [n, motions - 1, 2, 3], contiguous
    int grid;

    EAMFMEG_HD std::int64_t motions() const { return logits.c; }
};

// Entry (i, j) of the table that moves a pixel under motion k (0: background): A - I, and b in column 2.
EAMFMEG_HD float turn(const Motion& call, std::int64_t b, std::int64_t k, int i, int j, Mutant mutant) {
    const std::int64_t moving = call.motions() - 1;
    if (k == 0 && !mutant.is(kMotionsShifted)) return 0.0f;
    if (mutant.is(kLastMotionForgotten) && k == moving) return 0.0f;
    const std::int64_t which = mutant.is(kMotionsShifted) ? (k < moving ? k : 0) : k - 1;
    if (mutant.is(kAffineOfTheFirstBatch)) b = 0;
    if (mutant.is(kOffsetForgotten) && j == 2) return 0.0f;
    const bool transposed = mutant.is(kMatrixTransposed) && j < 2;
    const float value = call.affine[((b * moving + which) * 2 + (transposed ? j : i)) * 3 + (transposed ? i : j)];
    return value - (i == j && !mutant.is(kIdentityNotSubtracted) ? 1.0f : 0.0f);
}

// The coordinate of pixel i of an axis.
EAMFMEG_HD float pixel_axis(const Motion& call, std::int64_t i, std::int64_t length, Mutant mutant) {
    const int other = call.grid == kCorners ? kCentres : kCorners;
    return axis_at(i, length, mutant.is(kOtherPixelGrid) ? other : call.grid);
}

EAMFMEG_HD std::int64_t logits_step(const Motion& call, Mutant mutant) {
    return mutant.is(kLogitsTakenForPacked) ? call.motions() : call.logits.stride_w;
}

inline bool too_large(const Motion& call) {
    return call.motions() < 1 || call.motions() > kMostMotions + 1;
}

}  // namespace eamfmeg

// mask_logits [n, h, w, motions] and occlusion_logits [n, h, w] with strides in elements, which may belong to one packed
// array; affine [n, motions - 1, 2, 3] contiguous; grid is a PixelGrid. mask may be null: then it is not written.
// Returns kTooLarge beyond 64 motions and the background.
extern "C" int eamfmeg_dense_motion_cpu(float* mask, float* flow, float* occlusion, const float* mask_logits,
                                        const float* occlusion_logits, const float* affine, std::int64_t n, std::int64_t h,
                                        std::int64_t w, std::int64_t motions, std::int64_t mask_n, std::int64_t mask_h,
                                        std::int64_t mask_w, std::int64_t mask_c, std::int64_t occlusion_n,
                                        std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t grid);

// The same on a CUDA device, queued on `stream` (a cudaStream_t); does not wait for it.
extern "C" int eamfmeg_dense_motion_cuda(float* mask, float* flow, float* occlusion, const float* mask_logits,
                                         const float* occlusion_logits, const float* affine, std::int64_t n, std::int64_t h,
                                         std::int64_t w, std::int64_t motions, std::int64_t mask_n, std::int64_t mask_h,
                                         std::int64_t mask_w, std::int64_t mask_c, std::int64_t occlusion_n,
                                         std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t grid,
                                         void* stream);
