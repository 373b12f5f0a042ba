// identity on the CPU. Versions: 1. one OpenMP loop over rows.
//
// This file holds the loops and nothing else: which thread does which row, how the inner loop runs. Value arithmetic
// belongs in identity.h, checks of shapes and types in kernels/identity/__init__.py, Python in bindings.cpp.
#include "identity/identity.h"

namespace eamfmeg {
namespace {

// Below this many elements starting a team of threads takes longer than the copy.
constexpr std::int64_t kParallelFrom = 1 << 15;

template <class T>
void copy_rows(T* out, const View<T>& in, Mutant mutant) {
    const std::int64_t rows = in.n * in.h - (mutant.is(kLastRowDropped) ? 1 : 0);
    const std::int64_t channels = in.c - (mutant.is(kLastChannelDropped) ? 1 : 0);
#pragma omp parallel for schedule(static) if (in.elements() >= kParallelFrom)
    for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t b = row / in.h, y = row % in.h;
        for (std::int64_t x = 0; x < in.w; ++x) {
            T* pixel = out + (row * in.w + x) * in.c;
            for (std::int64_t k = 0; k < channels; ++k) pixel[k] = identity_at(in, b, y, x, k, mutant);
        }
    }
    if (mutant.is(kOneBeyondTheEnd)) out[in.elements()] = T{};
}

template <class T>
int run(void* out, const View<char>& in) {
    const View<T> typed{
        reinterpret_cast<const T*>(in.data), in.n, in.h, in.w, in.c, in.stride_n, in.stride_h, in.stride_w, in.stride_c};
    copy_rows(static_cast<T*>(out), typed, current_mutant());
    return kOk;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_identity_cpu(void* out, const void* in, std::int64_t n, std::int64_t h, std::int64_t w,
                                    std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                    std::int64_t stride_c, std::int64_t item_size) {
    using namespace eamfmeg;
    const View<char> view{static_cast<const char*>(in), n, h, w, c, stride_n, stride_h, stride_w, stride_c};
    switch (item_size) {
        case 1: return run<std::uint8_t>(out, view);
        case 2: return run<std::uint16_t>(out, view);
        case 4: return run<std::uint32_t>(out, view);
        case 8: return run<std::uint64_t>(out, view);
        default: return kBadItemSize;
    }
}
