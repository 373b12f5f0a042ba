// narrow_conv: a convolution with a handful of output channels. The output channels would fill a fraction of a vector, so
// lanes are neighbouring pixels: the map is turned into planes of one channel each, a piece at a time.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/narrow_conv/samples.py.
enum NarrowConvMutant {
    kNarrowKernelTransposed = 1,
    kNarrowKernelReversed,
    kNarrowBiasDropped,
    kNarrowBiasOfTheFirst,
    kNarrowLastInputChannelDropped,
    kNarrowBatchStrideIgnored,
    kNarrowFirstRowRepeatedAbove,
    kNarrowRightBorderWraps,
    kNarrowLastKernelRowForgotten,
    kNarrowLastOutputChannelDropped,
    kNarrowShiftedByAPixel,
    kNarrowOneBeyondTheEnd,
};

constexpr int kMostNarrowChannels = 8;

}  // namespace eamfmeg

// Writes [n, h, w, o] float32, contiguous, from strided NHWC features of DType `dtype`, float32 or bfloat16.
// `packed`: float32 [k, c, k, o] (rows, input channels, columns, output channels) for float32 features; for bfloat16
// features bfloat16 [k, ceil(c / 2), k, o, 2], pairs of input channels, zero beyond c. `bias`: o floats, side by side, or
// null. With a negative `count` everything is written; else only the `count` squares in `tiles`, of `tile` pixels a side,
// numbered (image * rows + row) * columns + column. Returns an eamfmeg::Status.
extern "C" int eamfmeg_narrow_conv_cpu(float* out, const void* features, std::int64_t n, std::int64_t h, std::int64_t w,
                                       std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                       std::int64_t stride_c, const void* packed, std::int64_t k, std::int64_t o,
                                       const float* bias, const std::int32_t* tiles, std::int64_t count, std::int64_t tile,
                                       std::int64_t dtype);
