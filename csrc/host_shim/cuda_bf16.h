// Takes the place of CUDA's header of this name.
#pragma once

#include <cuda_runtime.h>

#include "shim/rounding.h"

EAMFMEG_SHIM_NUMBER(__nv_bfloat16, bfloat16_to_float, float_to_bfloat16)
EAMFMEG_SHIM_PAIR(__nv_bfloat162, __nv_bfloat16)
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __nv_bfloat16 __float2bfloat16(float v) {
    return __nv_bfloat16(v);
}
inline __nv_bfloat16 __float2bfloat16_rn(float v) {
    return __nv_bfloat16(v);
}
inline __nv_bfloat16 __double2bfloat16(double v) {
    return __nv_bfloat16(v);
}
inline __nv_bfloat16 __int2bfloat16_rn(int v) {
    return __nv_bfloat16(v);
}
inline float __bfloat162float(__nv_bfloat16 v) {
    return v;
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) {
    return v.bits;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short v) {
    return __nv_bfloat16::of_bits(v);
}
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) {
    return __nv_bfloat162(a, b);
}
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) {
    return __nv_bfloat162(a, b);
}
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 v) {
    return __nv_bfloat162(v, v);
}
inline __nv_bfloat162 __float2bfloat162_rn(float v) {
    return __nv_bfloat162(v, v);
}
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
    return __nv_bfloat162(a, b);
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) {
    return __nv_bfloat162(v.x, v.y);
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
    return float2{v.x, v.y};
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) {
    return v.x;
}
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) {
    return v.y;
}
