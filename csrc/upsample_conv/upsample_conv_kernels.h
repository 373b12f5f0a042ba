// The kernels of upsample_conv as the caller gives them: packing, and single outputs by the definition.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/half.h"
#include "common/threads.h"
#include "upsample_conv/upsample_conv.h"

namespace eamfmeg {
namespace {

// Element `i` of an array of type `dtype`, where one at a time is asked for.
inline float element(const void* data, std::int64_t i, std::int64_t dtype) {
    switch (dtype) {
        case kFloat16: return to_float(static_cast<const Half*>(data)[i]);
        case kBFloat16: return to_float(static_cast<const BFloat16*>(data)[i]);
        default: return static_cast<const float*>(data)[i];
    }
}

inline bool is_float(std::int64_t dtype) {
    return dtype == kFloat32 || dtype == kFloat16 || dtype == kBFloat16;
}

struct Kernels {
    const void* data;
    std::int64_t o, c, stride_o, stride_c, stride_y, stride_x, dtype;

    float at(std::int64_t out, std::int64_t in, int y, int x) const {
        return element(data, out * stride_o + in * stride_c + y * stride_y + x * stride_x, dtype);
    }
};

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// Input channels in a word of the packed kernels.
inline std::int64_t channels_in_word(std::int64_t products) {
    return products == kBFloat16 ? 2 : 1;
}

// Sums the kernels from input channels `first` to `last` of output channel `o` into lane `lane` of a panel.
inline void pack_lane(float* panel, const Kernels& kernels, std::int64_t products, std::int64_t o, std::int64_t lane,
                      std::int64_t first, std::int64_t last, Mutant mutant) {
    const std::int64_t each = channels_in_word(products), words = divide_up(kernels.c, each);
    for (std::int64_t c = first; c < last; ++c) {
        float taps[9] = {}, factors[kProducts];
        const bool there = o < kernels.o && c < kernels.c && !(mutant.is(kSecondOfAPairDropped) && c % each == 1);
        for (int t = 0; t < 9 && there; ++t)
            taps[t] = mutant.is(kKernelTransposed) ? kernels.at(o, c, t % 3, t / 3) : kernels.at(o, c, t / 3, t % 3);
        product_factors(taps, factors, mutant);
        for (int t = 0; t < kProducts; ++t) {
            float* word = panel + (t * words + c / each) * kPanel + lane;
            if (each == 1) {
                *word = factors[t];
                continue;
            }
            BFloat16 rounded;
            from_float(factors[t], rounded);
            // As one number, the first of a pair is the lower half: so it is in memory.
            std::memcpy(reinterpret_cast<char*>(word) + c % each * sizeof rounded, &rounded, sizeof rounded);
        }
    }
}

// One output by the definition; y and x count output pixels.
template <class T>
float by_definition(const View<T>& in, const Kernels& kernels, std::int64_t image, std::int64_t y, std::int64_t x,
                    std::int64_t o) {
    float total = 0.0f;
    for (int t = 0; t < 9; ++t) {
        const std::int64_t v = y + t / 3 - 1, u = x + t % 3 - 1;
        if (v < 0 || v >= 2 * in.h || u < 0 || u >= 2 * in.w) continue;
        const T* at = in.at(image, v / 2, u / 2);
        // A NaN stays one: a map full of them must not take a thousand times as long.
        for (std::int64_t c = 0; c < in.c && !std::isnan(total); ++c)
            total += to_float(at[c * in.stride_c]) * kernels.at(o, c, t / 3, t % 3);
    }
    return total;
}

// Whether any feature that the products of input pixel (y, x) see is as large as those that copy_pixels watches for.
template <class T>
bool sees_large(const View<T>& in, std::int64_t image, std::int64_t y, std::int64_t x) {
    for (std::int64_t v = std::max<std::int64_t>(y - 1, 0); v < std::min(y + 2, in.h); ++v) {
        for (std::int64_t u = std::max<std::int64_t>(x - 1, 0); u < std::min(x + 2, in.w); ++u) {
            const T* at = in.at(image, v, u);
            for (std::int64_t c = 0; c < in.c; ++c) {
                if (!std::isfinite(to_float(at[c * in.stride_c]) * kWatch)) return true;
            }
        }
    }
    return false;
}

}  // namespace
}  // namespace eamfmeg
