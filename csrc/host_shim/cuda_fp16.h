// Takes the place of CUDA's header of this name.
#pragma once

#include <cuda_runtime.h>

#include "shim/rounding.h"

EAMFMEG_SHIM_NUMBER(__half, half_to_float, float_to_half)
EAMFMEG_SHIM_PAIR(__half2, __half)
using half = __half;
using half2 = __half2;

inline __half __float2half(float v) {
    return __half(v);
}
inline __half __float2half_rn(float v) {
    return __half(v);
}
inline __half __double2half(double v) {
    return __half(v);
}
inline __half __int2half_rn(int v) {
    return __half(v);
}
inline float __half2float(__half v) {
    return v;
}
inline unsigned short __half_as_ushort(__half v) {
    return v.bits;
}
inline __half __ushort_as_half(unsigned short v) {
    return __half::of_bits(v);
}
inline __half2 make_half2(__half a, __half b) {
    return __half2(a, b);
}
inline __half2 __halves2half2(__half a, __half b) {
    return __half2(a, b);
}
inline __half2 __half2half2(__half v) {
    return __half2(v, v);
}
inline __half2 __float2half2_rn(float v) {
    return __half2(v, v);
}
inline __half2 __floats2half2_rn(float a, float b) {
    return __half2(a, b);
}
inline __half2 __float22half2_rn(float2 v) {
    return __half2(v.x, v.y);
}
inline float2 __half22float2(__half2 v) {
    return float2{v.x, v.y};
}
inline __half __low2half(__half2 v) {
    return v.x;
}
inline __half __high2half(__half2 v) {
    return v.y;
}
