// to_image: from the network's picture, or its logits, to 8-bit pixels.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/to_image/samples.py.
struct ToImageMutant {
    enum Number {
        kCutOff = 1,
        kTimes256,
        kNanIsWhite,
        kTooBrightWrapsAround,
        kLogitsTakenForLevels,
        kLevelsFromMinusOne,
        kBlueFirst,
        kChannelStrideIgnored,
        kBatchStrideIgnored,
        kLastPixelDropped,
        kOneBeyondTheEnd,
    };
};

}  // namespace eamfmeg

// out [n, h, w, c] bytes, contiguous, from a prediction of DType `type` with any strides; fastest where whole rows of
// pixels (stride_c = 1, stride_w = c) or of planes (stride_w = 1) lie side by side. Returns an eamfmeg::Status.
extern "C" int eamfmeg_to_image_cpu(void* out, const void* prediction, std::int64_t n, std::int64_t h, std::int64_t w,
                                    std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                    std::int64_t stride_c, std::int64_t from_logits, std::int64_t type);
