// antialias_down: blur a picture and keep every `stride`-th pixel. Only what is kept is computed.
//
// A kernel that is an outer product, as every Gaussian is, is applied as a column and then a line of taps; any other one
// row of taps at a time.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/antialias_down/samples.py.
struct AntialiasDownMutant {
    enum Number {
        kTapsShifted = 1,
        kEvenCentredAsOdd,
        kLevelsScaled,
        kKernelTransposed,
        kKernelFlipped,
        kBorderRepeated,
        kLastTapDropped,
        kBatchStrideIgnored,
        kChannelsReversed,
        kLastRowDropped,
        kOneBeyondTheEnd,
    };
};

// How far the first tap of output pixel i lies before input pixel stride * i.
EAMFMEG_HD std::int64_t taps_before(std::int64_t size, std::int64_t stride, Mutant mutant) {
    const bool odd = size % 2 || mutant.is(AntialiasDownMutant::kEvenCentredAsOdd);
    // Negative where a kernel is smaller than the stride; then both are even.
    const std::int64_t before = odd ? size / 2 : (size - stride) / 2;
    return before - (mutant.is(AntialiasDownMutant::kTapsShifted) ? 1 : 0);
}

}  // namespace eamfmeg

// out [n, h / stride, w / stride, c], contiguous, from a picture [n, h, w, c] of DType `type` whose pixels lie side by side
// with all their channels (stride_c = 1, stride_w = c) or in planes (stride_w = 1), and a contiguous kernel [size, size].
// h and w are multiples of `stride`; an even `size` comes with an even `stride`. Returns an eamfmeg::Status.
extern "C" int eamfmeg_antialias_down_cpu(float* out, const void* picture, const float* kernel, std::int64_t n,
                                          std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t stride_n,
                                          std::int64_t stride_h, std::int64_t stride_w, std::int64_t stride_c,
                                          std::int64_t size, std::int64_t stride, std::int64_t type);
