// identity: the operator that does nothing. Copy this folder to begin a new one.
//
// This header holds (1) the arithmetic that the CPU and the CUDA room share, marked EAMFMEG_HD so that both compilers take
// it, and (2) the C entry points, which take plain addresses, sizes, strides and a stream. No torch, no pybind11: the file
// compiles in a blink, under sanitizers too, and does not care which PyTorch is installed.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/identity/samples.py.
enum IdentityMutant {
    kLastRowDropped = 1,
    kColumnShifted,
    kRowAndColumnStrideSwapped,
    kLastChannelDropped,
    kBatchStrideIgnored,
    kChannelStrideIgnored,
    kRowsReversed,
    kOneBeyondTheEnd,
    kIdentityMutants = kOneBeyondTheEnd,
};

// The value of output element (b, y, x, k).
template <class T>
EAMFMEG_HD T identity_at(const View<T>& in, std::int64_t b, std::int64_t y, std::int64_t x, std::int64_t k, Mutant mutant) {
    if (mutant.is(kColumnShifted)) x = x + 1 < in.w ? x + 1 : 0;
    if (mutant.is(kRowsReversed)) y = in.h - 1 - y;
    if (mutant.is(kBatchStrideIgnored)) b = 0;
    const bool swap = mutant.is(kRowAndColumnStrideSwapped);
    const std::int64_t stride_k = mutant.is(kChannelStrideIgnored) ? 1 : in.stride_c;
    const std::int64_t stride_y = swap ? in.stride_w : in.stride_h;
    const std::int64_t stride_x = swap ? in.stride_h : in.stride_w;
    const std::int64_t at = b * in.stride_n + y * stride_y + x * stride_x + k * stride_k;
    return in.data[at];
}

}  // namespace eamfmeg

// Copies a strided NHWC array into a contiguous one. Sizes and strides in elements of `item_size` bytes (1, 2, 4 or 8).
// The caller has checked shapes; nothing but the n*h*w*c elements at `out` is written. Returns an eamfmeg::Status.
extern "C" int eamfmeg_identity_cpu(void* out, const void* in, std::int64_t n, std::int64_t h, std::int64_t w,
                                    std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                    std::int64_t stride_c, std::int64_t item_size);

// The same on a CUDA device, queued on `stream` (a cudaStream_t); does not wait for it.
extern "C" int eamfmeg_identity_cuda(void* out, const void* in, std::int64_t n, std::int64_t h, std::int64_t w,
                                     std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                     std::int64_t stride_c, std::int64_t item_size, void* stream);
