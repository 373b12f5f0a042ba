// Sixteen floats: AVX-512 F, BW, VL and DQ. The meaning of each function stands in simd_portable.h.
namespace eamfmeg {
namespace EAMFMEG_ISA {

struct Vf {
    static constexpr int kLanes = 16;
    __m512 v;
};

inline __mmask16 first_lanes(int n) {
    return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << n) - 1u);
}
inline Vf widen(__m256i x, BFloat16) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))};
}
inline Vf widen(__m256i x, Half) {
    return {_mm512_cvtph_ps(x)};
}
inline __m256i narrow(Vf x, Half) {
    return _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline __m256i narrow(Vf x, BFloat16) {
    const __m512i bits = _mm512_castps_si512(x.v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16));
}

inline Vf set(float x) {
    return {_mm512_set1_ps(x)};
}
inline Vf load(const float* p) {
    return {_mm512_loadu_ps(p)};
}
inline Vf load(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
inline void store(float* p, Vf x) {
    _mm512_storeu_ps(p, x.v);
}
inline void store(float* p, Vf x, int n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), x.v);
}
inline Vf load(const std::uint8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline Vf load(const std::uint8_t* p, int n) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_lanes(n), p)))};
}
template <class T>
inline Vf load(const T* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), T{});
}
template <class T>
inline Vf load(const T* p, int n) {
    return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p), T{});
}
template <class T>
inline void store(T* p, Vf x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x, T{}));
}
template <class T>
inline void store(T* p, Vf x, int n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), narrow(x, T{}));
}

inline Vf operator+(Vf a, Vf b) {
    return {_mm512_add_ps(a.v, b.v)};
}
inline Vf operator-(Vf a, Vf b) {
    return {_mm512_sub_ps(a.v, b.v)};
}
inline Vf operator*(Vf a, Vf b) {
    return {_mm512_mul_ps(a.v, b.v)};
}
inline Vf operator/(Vf a, Vf b) {
    return {_mm512_div_ps(a.v, b.v)};
}
inline Vf fma(Vf a, Vf b, Vf c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline Vf max(Vf a, Vf b) {
    return {_mm512_max_ps(a.v, b.v)};
}
inline Vf min(Vf a, Vf b) {
    return {_mm512_min_ps(a.v, b.v)};
}
inline Vf round(Vf a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vf power_of_two(Vf n) {
    const __m512i shifted = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
    const __mmask16 normal = _mm512_cmp_ps_mask(n.v, _mm512_set1_ps(-126.0f), _CMP_GE_OQ);
    return {_mm512_maskz_mov_ps(normal, _mm512_castsi512_ps(shifted))};
}
inline float sum(Vf a) {
    return _mm512_reduce_add_ps(a.v);
}
inline float largest(Vf a) {
    return _mm512_reduce_max_ps(a.v);
}
inline Vf floor(Vf a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
inline Vf repeat4(Vf a, int quarter) {
    const __m512i lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return {_mm512_permutexvar_ps(_mm512_add_epi32(lane, _mm512_set1_epi32(4 * quarter)), a.v)};
}
inline void store(std::uint8_t* p, Vf x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x.v)));
}
inline void store(std::uint8_t* p, Vf x, int n) {
    _mm_mask_storeu_epi8(p, first_lanes(n), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x.v)));
}
inline void store_pixels(std::uint8_t* p, Vf red, Vf green, Vf blue) {
    const __m512i middle = _mm512_slli_epi32(_mm512_cvttps_epi32(green.v), 8);
    const __m512i last = _mm512_slli_epi32(_mm512_cvttps_epi32(blue.v), 16);
    const __m512i pixels = _mm512_or_si512(_mm512_cvttps_epi32(red.v), _mm512_or_si512(middle, last));
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    const __m512i joined = _mm512_maskz_compress_epi32(0x7777, _mm512_shuffle_epi8(pixels, order));
    _mm512_mask_storeu_epi32(p, 0x0fff, joined);
}

inline void transpose(Vf (&x)[16]) {
    __m512 pairs[16], fours[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(x[i].v, x[i + 1].v);
        pairs[i + 1] = _mm512_unpackhi_ps(x[i].v, x[i + 1].v);
    }
    // Row 4 i + j of the quarters holds lanes j, j + 4, j + 8 and j + 12 of rows 4 i to 4 i + 3.
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; ++j) {
            fours[i + 2 * j] = _mm512_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0x44);
            fours[i + 2 * j + 1] = _mm512_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0xee);
        }
    }
    for (int j = 0; j < 4; ++j) {
        const __m512 a = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0x88);
        const __m512 b = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0x88);
        const __m512 c = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0xdd);
        const __m512 d = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0xdd);
        x[j].v = _mm512_shuffle_f32x4(a, b, 0x88);
        x[8 + j].v = _mm512_shuffle_f32x4(a, b, 0xdd);
        x[4 + j].v = _mm512_shuffle_f32x4(c, d, 0x88);
        x[12 + j].v = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

struct Wide {
    __m512d low, high;
};
inline Wide wide_zero() {
    return {_mm512_setzero_pd(), _mm512_setzero_pd()};
}
inline __m512d low_half(Vf a) {
    return _mm512_cvtps_pd(_mm512_castps512_ps256(a.v));
}
inline __m512d high_half(Vf a) {
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1));
}
inline Wide add(Wide sum, Vf a) {
    return {_mm512_add_pd(sum.low, low_half(a)), _mm512_add_pd(sum.high, high_half(a))};
}
inline Wide fma(Vf a, Vf b, Wide sum) {
    return {_mm512_fmadd_pd(low_half(a), low_half(b), sum.low), _mm512_fmadd_pd(high_half(a), high_half(b), sum.high)};
}
inline void store(double* p, Wide sum) {
    _mm512_storeu_pd(p, sum.low);
    _mm512_storeu_pd(p + 8, sum.high);
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
