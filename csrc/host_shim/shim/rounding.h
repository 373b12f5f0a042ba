// Bits of half and bfloat16 from floats, to nearest even, and back.
#pragma once

#include <cstdint>

#include "shim/arithmetic.h"

namespace [[gnu::visibility("hidden")]] eamfmeg_shim {

inline float half_to_float(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
    if (rest >= 0x7c00) return same_bits<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    if (rest >= 0x0400) return same_bits<float>(sign | ((rest << 13) + 0x38000000u));
    return same_bits<float>(sign | same_bits<std::uint32_t>(static_cast<float>(rest) * 0x1p-24f));
}

inline std::uint16_t float_to_half(float value) {
    const std::uint32_t bits = same_bits<std::uint32_t>(value), sign = bits >> 16 & 0x8000u;
    std::uint32_t rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return 0x7fff;
    if (rest >= 0x477ff000u) {
        rest = 0x7c00;  // 65520 and more
    } else if (rest < 0x38800000u) {
        // Below the smallest normal half the sum's last place is the half's, so that the addition rounds.
        rest = same_bits<std::uint32_t>(same_bits<float>(rest) + 0.5f) - 0x3f000000u;
    } else {
        rest = (rest + 0xfffu + (rest >> 13 & 1) - 0x38000000u) >> 13;
    }
    return static_cast<std::uint16_t>(sign | rest);
}

inline float bfloat16_to_float(std::uint16_t value) {
    return same_bits<float>(static_cast<std::uint32_t>(value) << 16);
}

inline std::uint16_t float_to_bfloat16(float value) {
    const std::uint32_t bits = same_bits<std::uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// Moves `rounded` to its neighbour on the side of the exact value unless its last bit is already 1 ("round to odd"),
// after which a second rounding to fewer bits gives what one rounding would have given. `above`: the exact value is
// larger.
template <class Bits, class T>
T to_odd(T rounded, bool above) {
    const Bits bits = same_bits<Bits>(rounded);
    if (bits & 1) return rounded;
    if (rounded == 0) return above ? same_bits<T>(Bits{1}) : -same_bits<T>(Bits{1});
    return same_bits<T>(above == (rounded > 0) ? bits + 1 : bits - 1);
}

inline float to_odd_float(double value) {
    const float rounded = static_cast<float>(value);
    return rounded == value || value != value ? rounded : to_odd<std::uint32_t>(rounded, value > rounded);
}

// a * b + c of operands with at most 11 bits, to odd: ready for its only rounding.
inline float fma_to_odd(float a, float b, float c) {
    const double product = double(a) * b, sum = product + c, back = sum - product;
    const double lost = (product - (sum - back)) + (c - back);
    const bool exact = lost == 0 || !std::isfinite(sum);
    return to_odd_float(exact ? sum : to_odd<std::uint64_t>(sum, lost > 0));
}

}  // namespace eamfmeg_shim

// A 16-bit number that is computed with as float. An operation on two of them is rounded once: float has more than twice
// the bits, and twice is innocuous for + - * /.
#define EAMFMEG_SHIM_NUMBER(T, to_float, from_float)                                   \
    struct T {                                                                         \
        std::uint16_t bits;                                                            \
        T() = default;                                                                 \
        T(float v) : bits(eamfmeg_shim::from_float(v)) {}                              \
        T(double v) : bits(eamfmeg_shim::from_float(eamfmeg_shim::to_odd_float(v))) {} \
        T(int v) : T(double(v)) {}                                                     \
        T(unsigned v) : T(double(v)) {}                                                \
        operator float() const { return eamfmeg_shim::to_float(bits); }                \
        static T of_bits(std::uint16_t bits) {                                         \
            T v;                                                                       \
            v.bits = bits;                                                             \
            return v;                                                                  \
        }                                                                              \
    };                                                                                 \
    inline T operator+(T a, T b) {                                                     \
        return T(float(a) + float(b));                                                 \
    }                                                                                  \
    inline T operator-(T a, T b) {                                                     \
        return T(float(a) - float(b));                                                 \
    }                                                                                  \
    inline T operator*(T a, T b) {                                                     \
        return T(float(a) * float(b));                                                 \
    }                                                                                  \
    inline T operator/(T a, T b) {                                                     \
        return T(float(a) / float(b));                                                 \
    }                                                                                  \
    inline T operator-(T a) {                                                          \
        return T::of_bits(a.bits ^ 0x8000);                                            \
    }                                                                                  \
    inline T& operator+=(T& a, T b) {                                                  \
        return a = a + b;                                                              \
    }                                                                                  \
    inline T& operator-=(T& a, T b) {                                                  \
        return a = a - b;                                                              \
    }                                                                                  \
    inline T& operator*=(T& a, T b) {                                                  \
        return a = a * b;                                                              \
    }                                                                                  \
    inline bool operator==(T a, T b) {                                                 \
        return float(a) == float(b);                                                   \
    }                                                                                  \
    inline bool operator!=(T a, T b) {                                                 \
        return float(a) != float(b);                                                   \
    }                                                                                  \
    inline bool operator<(T a, T b) {                                                  \
        return float(a) < float(b);                                                    \
    }                                                                                  \
    inline bool operator>(T a, T b) {                                                  \
        return float(a) > float(b);                                                    \
    }                                                                                  \
    inline bool operator<=(T a, T b) {                                                 \
        return float(a) <= float(b);                                                   \
    }                                                                                  \
    inline bool operator>=(T a, T b) {                                                 \
        return float(a) >= float(b);                                                   \
    }                                                                                  \
    inline T __hadd(T a, T b) {                                                        \
        return a + b;                                                                  \
    }                                                                                  \
    inline T __hsub(T a, T b) {                                                        \
        return a - b;                                                                  \
    }                                                                                  \
    inline T __hmul(T a, T b) {                                                        \
        return a * b;                                                                  \
    }                                                                                  \
    inline T __hdiv(T a, T b) {                                                        \
        return a / b;                                                                  \
    }                                                                                  \
    inline T __hneg(T a) {                                                             \
        return -a;                                                                     \
    }                                                                                  \
    inline T __habs(T a) {                                                             \
        return T::of_bits(a.bits & 0x7fff);                                            \
    }                                                                                  \
    inline T __hmax(T a, T b) {                                                        \
        return T(fmaxf(a, b));                                                         \
    }                                                                                  \
    inline T __hmin(T a, T b) {                                                        \
        return T(fminf(a, b));                                                         \
    }                                                                                  \
    inline T __hfma(T a, T b, T c) {                                                   \
        return T(eamfmeg_shim::fma_to_odd(a, b, c));                                   \
    }                                                                                  \
    inline bool __hgt(T a, T b) {                                                      \
        return a > b;                                                                  \
    }                                                                                  \
    inline bool __hlt(T a, T b) {                                                      \
        return a < b;                                                                  \
    }                                                                                  \
    inline bool __hisnan(T a) {                                                        \
        return float(a) != float(a);                                                   \
    }

#define EAMFMEG_SHIM_PAIR(P, T)                                 \
    struct alignas(4) P {                                       \
        T x, y;                                                 \
        P() = default;                                          \
        P(T a, T b) : x(a), y(b) {}                             \
    };                                                          \
    inline P operator+(P a, P b) {                              \
        return P(a.x + b.x, a.y + b.y);                         \
    }                                                           \
    inline P operator-(P a, P b) {                              \
        return P(a.x - b.x, a.y - b.y);                         \
    }                                                           \
    inline P operator*(P a, P b) {                              \
        return P(a.x * b.x, a.y * b.y);                         \
    }                                                           \
    inline P __hadd2(P a, P b) {                                \
        return a + b;                                           \
    }                                                           \
    inline P __hsub2(P a, P b) {                                \
        return a - b;                                           \
    }                                                           \
    inline P __hmul2(P a, P b) {                                \
        return a * b;                                           \
    }                                                           \
    inline P __hmax2(P a, P b) {                                \
        return P(__hmax(a.x, b.x), __hmax(a.y, b.y));           \
    }                                                           \
    inline P __hmin2(P a, P b) {                                \
        return P(__hmin(a.x, b.x), __hmin(a.y, b.y));           \
    }                                                           \
    inline P __hfma2(P a, P b, P c) {                           \
        return P(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)); \
    }                                                           \
    inline float __low2float(P v) {                             \
        return v.x;                                             \
    }                                                           \
    inline float __high2float(P v) {                            \
        return v.y;                                             \
    }
