// quantize: scale and shift per channel, ReLU, and rounding to 8 bits without a sign.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/quantize/samples.py.
struct QuantizeMutant {
    enum Number {
        kCutOff = 1,
        kShiftDropped,
        kScaleDropped,
        kNegativeMirrored,
        kTooLargeWrapsAround,
        kNanIsLargest,
        kFirstScaleForAll,
        kChannelStrideIgnored,
        kBatchStrideIgnored,
        kLastPixelDropped,
        kOneBeyondTheEnd,
        // Within the error rule, which knows no ties: caught by a test of its own.
        kHalvesUp,
    };
};

}  // namespace eamfmeg

// out [n, h, w, c] bytes, contiguous, from float32 features with any strides (fastest where stride_c = 1), and scale and
// shift [c], contiguous: the nearest whole number to features * scale + shift, ties to even, held to 0...255; 0 for NaN.
// Returns an eamfmeg::Status.
extern "C" int eamfmeg_quantize_cpu(void* out, const void* features, const void* scale, const void* shift, std::int64_t n,
                                    std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t stride_n,
                                    std::int64_t stride_h, std::int64_t stride_w, std::int64_t stride_c);
