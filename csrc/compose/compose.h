// compose: from the last layer's numbers to the picture: sigmoid, the target's picture warped and blended in, 8-bit pixels.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/compose/samples.py.
enum ComposeMutant {
    kComposeCutOff = 1,
    kComposeTimes256,
    kComposeLogitsTakenForLevels,
    kComposeFlowExchanged,
    kComposeOcclusionOfTheNearest,
    kComposeOcclusionReversed,
    kComposeGrainDropped,
    kComposeSofterKernel,
    kComposeBorderWraps,
    kComposeOtherPixelGrid,
    kComposeAlignCornersReversed,
    kComposePictureOfTheFirst,
    kComposeLastPixelMissed,
    kComposeOneBeyondTheEnd,
};

}  // namespace eamfmeg

// Writes out [n, h, w, 3] bytes. All arrays are contiguous float32: logits, picture and grain [n, h, w, 3], flow
// [n, rows, columns, 2], occlusion [n, rows, columns]; h and w are multiples of rows and columns. `picture` may be null:
// sigmoid and rounding are then all there is; `grain` may be null. `grid`: an eamfmeg::PixelGrid. With a negative `count`
// everything is written; else only the `count` squares in `tiles`, of `tile` pixels a side, numbered
// (image * rows + row) * columns + column. Returns an eamfmeg::Status.
extern "C" int eamfmeg_compose_cpu(std::uint8_t* out, const float* logits, const float* picture, const float* grain,
                                   std::int64_t n, std::int64_t h, std::int64_t w, const float* flow,
                                   const float* occlusion, std::int64_t rows, std::int64_t columns, std::int64_t grid,
                                   std::int64_t align_corners, const std::int32_t* tiles, std::int64_t count,
                                   std::int64_t tile);
