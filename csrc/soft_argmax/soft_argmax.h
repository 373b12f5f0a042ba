// soft_argmax: softmax over a map of logits, and the expected position and Jacobian under it.
//
// The map is cut into chunks whose size depends on nothing but the map. Each chunk is summed relative to its own maximum;
// the chunks are then combined in order, so the result does not depend on the number of threads. Sums are kept in double
// precision, and positions are counted from the middle of the map in whole and half pixels, which floats hold exactly: on a
// flat map the answer is a small difference of large sums, and the pixel a keypoint moves by is a micro-expression.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/soft_argmax/samples.py.
struct SoftArgmaxMutant {
    enum Number {
        kMaximumNotSubtracted = 1,
        kTemperatureMultiplied,
        kPositionSwapped,
        kOtherPixelGrid,
        kJacobianTransposed,
        kChunksNotRescaled,
        kLastPixelDropped,
        kBatchStrideIgnored,
        kJacobianNotNormalised,
        kPackedStrideIgnored,
        kOneBeyondTheEnd,
    };
};

// About how many pixels one chunk holds: whole rows, at least one.
constexpr std::int64_t kChunkPixels = 512;

// What one call is about. Strides in elements; the channels of a pixel lie side by side in both arrays.
struct SoftArgmaxCall {
    const float* logits;
    const float* maps;
    std::int64_t n, h, w, k;
    std::int64_t logits_n, logits_h, logits_w;
    std::int64_t maps_n, maps_h, maps_w;
    // 1 / temperature in two parts: the second is what rounding took from the first.
    float inverse, inverse_rest;
    int grid;

    std::int64_t chunk_rows() const { return w >= kChunkPixels ? 1 : kChunkPixels / w; }
    std::int64_t chunks() const { return (h + chunk_rows() - 1) / chunk_rows(); }
    // Keypoints of one partial result, filled up to whole vectors.
    std::int64_t width() const { return (k + 15) / 16 * 16; }
};

// A partial result holds, for `width()` keypoints each: the chunk's maximum, the sum of weights, of weighted columns and
// rows (from the middle of the map), then the four sums of each keypoint's Jacobian, side by side.
constexpr int kPartialRows = 8;

// Pixels from the middle of an axis -> its normalised coordinate.
inline double per_pixel(std::int64_t length, int grid) {
    if (length == 1) return 0.0;
    return 2.0 / static_cast<double>(grid == kCorners ? length - 1 : length);
}

}  // namespace eamfmeg

// kp [n, k, 2] and jacobian [n, k, 2, 2], contiguous, from logits [n, h, w, k] and maps [n, h, w, k, 2, 2], whose pixels
// lie as the strides say and whose channels lie side by side. h and w are at least 1. `inverse` + `inverse_rest` is one
// over the temperature; `grid` is a PixelGrid. Returns an eamfmeg::Status.
extern "C" int eamfmeg_soft_argmax_cpu(float* kp, float* jacobian, const float* logits, const float* maps, std::int64_t n,
                                       std::int64_t h, std::int64_t w, std::int64_t k, std::int64_t logits_n,
                                       std::int64_t logits_h, std::int64_t logits_w, std::int64_t maps_n,
                                       std::int64_t maps_h, std::int64_t maps_w, float inverse, float inverse_rest,
                                       std::int64_t grid);
