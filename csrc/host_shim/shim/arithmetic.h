// Device arithmetic by its CUDA names. Fast variants are computed exactly here: a device's own errors are not imitated.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define EAMFMEG_SHIM_MIN_MAX(T) \
    inline T min(T a, T b) {    \
        return b < a ? b : a;   \
    }                           \
    inline T max(T a, T b) {    \
        return a < b ? b : a;   \
    }
EAMFMEG_SHIM_MIN_MAX(int)
EAMFMEG_SHIM_MIN_MAX(unsigned)
EAMFMEG_SHIM_MIN_MAX(long)
EAMFMEG_SHIM_MIN_MAX(unsigned long)
EAMFMEG_SHIM_MIN_MAX(long long)
EAMFMEG_SHIM_MIN_MAX(unsigned long long)
#undef EAMFMEG_SHIM_MIN_MAX
inline float min(float a, float b) {
    return fminf(a, b);
}
inline float max(float a, float b) {
    return fmaxf(a, b);
}
inline double min(double a, double b) {
    return fmin(a, b);
}
inline double max(double a, double b) {
    return fmax(a, b);
}

namespace [[gnu::visibility("hidden")]] eamfmeg_shim {

template <class To, class From>
To same_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &value, sizeof(to));
    return to;
}

template <class T>
T exchange(T* at, T value) {
    const T before = *at;
    *at = value;
    return before;
}

}  // namespace eamfmeg_shim

inline int __float_as_int(float v) {
    return eamfmeg_shim::same_bits<int>(v);
}
inline unsigned __float_as_uint(float v) {
    return eamfmeg_shim::same_bits<unsigned>(v);
}
inline float __int_as_float(int v) {
    return eamfmeg_shim::same_bits<float>(v);
}
inline float __uint_as_float(unsigned v) {
    return eamfmeg_shim::same_bits<float>(v);
}

inline float rsqrtf(float v) {
    return static_cast<float>(1 / std::sqrt(double(v)));
}
inline float __frsqrt_rn(float v) {
    return rsqrtf(v);
}
inline float __fsqrt_rn(float v) {
    return std::sqrt(v);
}
inline float __frcp_rn(float v) {
    return 1 / v;
}
inline float __fdividef(float a, float b) {
    return a / b;
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}
inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fsub_rn(float a, float b) {
    return a - b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}
inline float __saturatef(float v) {
    return v > 0 ? (v < 1 ? v : 1.0f) : 0.0f;
}
inline float __expf(float v) {
    return expf(v);
}
inline float __exp10f(float v) {
    return powf(10.0f, v);
}
inline float __logf(float v) {
    return logf(v);
}
inline float __log2f(float v) {
    return log2f(v);
}
inline float __powf(float a, float b) {
    return powf(a, b);
}
inline float __tanhf(float v) {
    return tanhf(v);
}

// Out of range: the nearest end; not a number: 0.
inline int __float2int_toward(float v) {
    if (!(v == v)) return 0;
    if (v >= 2147483648.0f) return 2147483647;
    return v <= -2147483648.0f ? -2147483647 - 1 : static_cast<int>(v);
}
inline int __float2int_rn(float v) {
    return __float2int_toward(nearbyintf(v));
}
inline int __float2int_rz(float v) {
    return __float2int_toward(truncf(v));
}
inline int __float2int_rd(float v) {
    return __float2int_toward(floorf(v));
}
inline int __float2int_ru(float v) {
    return __float2int_toward(ceilf(v));
}
inline float __int2float_rn(int v) {
    return static_cast<float>(v);
}
inline float __uint2float_rn(unsigned v) {
    return static_cast<float>(v);
}

inline int __popc(unsigned v) {
    return __builtin_popcount(v);
}
inline int __clz(int v) {
    return v ? __builtin_clz(static_cast<unsigned>(v)) : 32;
}
inline int __ffs(int v) {
    return __builtin_ffs(v);
}

template <class T>
T __ldg(const T* at) {
    return *at;
}

// Threads run one at a time, so that plain arithmetic is atomic.
template <class T>
T atomicAdd(T* at, T value) {
    return eamfmeg_shim::exchange(at, static_cast<T>(*at + value));
}
template <class T>
T atomicSub(T* at, T value) {
    return eamfmeg_shim::exchange(at, static_cast<T>(*at - value));
}
template <class T>
T atomicMax(T* at, T value) {
    return eamfmeg_shim::exchange(at, *at < value ? value : *at);
}
template <class T>
T atomicMin(T* at, T value) {
    return eamfmeg_shim::exchange(at, value < *at ? value : *at);
}
template <class T>
T atomicExch(T* at, T value) {
    return eamfmeg_shim::exchange(at, value);
}
template <class T>
T atomicOr(T* at, T value) {
    return eamfmeg_shim::exchange(at, static_cast<T>(*at | value));
}
template <class T>
T atomicCAS(T* at, T expected, T value) {
    return eamfmeg_shim::exchange(at, *at == expected ? value : *at);
}
