// The two 16-bit floating types on the CPU, by bits: they need no compiler support and no instruction set.
#pragma once

#include <cstdint>
#include <cstring>

namespace eamfmeg {

struct Half {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

inline float float_of(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float to_float(float x) {
    return x;
}
inline float to_float(std::uint8_t x) {
    return static_cast<float>(x);
}
inline float to_float(BFloat16 x) {
    return float_of(static_cast<std::uint32_t>(x.bits) << 16);
}
inline float to_float(Half x) {
    const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;
    if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // Multiplying by 2^112 rebiases the exponent, and makes subnormal numbers normal on the way.
    return float_of(sign | bits_of(float_of(rest << 13) * float_of(0x77800000u)));
}

// Both round to the nearest, ties to even; a NaN stays one.
inline void from_float(float x, float& out) {
    out = x;
}
inline void from_float(float x, BFloat16& out) {
    const std::uint32_t bits = bits_of(x);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    out.bits = static_cast<std::uint16_t>(nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline void from_float(float x, Half& out) {
    const std::uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    std::uint32_t half;
    if (rest > 0x7f800000u) {
        half = 0x7e00u;
    } else if (rest >= 0x477ff000u) {
        half = 0x7c00u;
    } else if (rest < 0x38800000u) {
        // Adding 0.5 leaves the subnormal half in the low bits, already rounded.
        half = bits_of(float_of(rest) + 0.5f) - 0x3f000000u;
    } else {
        half = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13;
    }
    out.bits = static_cast<std::uint16_t>(sign | half);
}

}  // namespace eamfmeg
