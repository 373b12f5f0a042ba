// sparse_motion: what the dense-motion hourglass sees. For each of k + 1 motions (the first is the background, which rests)
// a difference of two Gaussians and the thumbnail warped by that motion. No grid is ever stored.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/sparse_motion/samples.py.
struct SparseMotionMutant {
    enum Number {
        kKeypointSwapped = 1,
        kHeatmapReversed,
        kHalfForgotten,
        kMatrixTransposed,
        kOffsetForgotten,
        kOtherAlignCorners,
        kOtherPixelGrid,
        kNotFiniteIsInside,
        kBorderRepeated,
        kBackgroundMoves,
        kBatchStrideIgnored,
        kLastRowDropped,
        kOneBeyondTheEnd,
    };
};

}  // namespace eamfmeg

// out [n, h, w, 4 (k + 1)] from a thumbnail [n, h, w, 3] with any strides, kp_target and kp_driving [n, k, 2] and affine
// [n, k, 2, 3]. All but the thumbnail are contiguous. `rate` is -1 / (2 variance), `grid` a PixelGrid. Returns an
// eamfmeg::Status.
extern "C" int eamfmeg_sparse_motion_cpu(float* out, const float* thumbnail, const float* kp_target,
                                         const float* kp_driving, const float* affine, std::int64_t n, std::int64_t h,
                                         std::int64_t w, std::int64_t stride_n, std::int64_t stride_h,
                                         std::int64_t stride_w, std::int64_t stride_c, std::int64_t k, float rate,
                                         std::int64_t grid, std::int64_t align_corners);
