// Eight floats: AVX2, FMA and F16C. The meaning of each function stands in simd_portable.h.
namespace eamfmeg {
namespace EAMFMEG_ISA {

struct Vf {
    static constexpr int kLanes = 8;
    __m256 v;
};

inline __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vf widen(__m128i x, BFloat16) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16))};
}
inline Vf widen(__m128i x, Half) {
    return {_mm256_cvtph_ps(x)};
}
inline __m128i narrow(Vf x, Half) {
    return _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline __m128i narrow(Vf x, BFloat16) {
    const __m256i bits = _mm256_castps_si256(x.v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
    const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

inline Vf set(float x) {
    return {_mm256_set1_ps(x)};
}
inline Vf load(const float* p) {
    return {_mm256_loadu_ps(p)};
}
inline Vf load(const float* p, int n) {
    return {_mm256_maskload_ps(p, first_lanes(n))};
}
inline void store(float* p, Vf x) {
    _mm256_storeu_ps(p, x.v);
}
inline void store(float* p, Vf x, int n) {
    _mm256_maskstore_ps(p, first_lanes(n), x.v);
}
inline Vf load(const std::uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
template <class T>
inline Vf load(const T* p) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), T{});
}
template <class T>
inline Vf load(const T* p, int n) {
    T part[8] = {};
    std::memcpy(part, p, static_cast<std::size_t>(n < 8 ? n : 8) * sizeof(T));
    return load(static_cast<const T*>(part));
}
template <class T>
inline void store(T* p, Vf x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(x, T{}));
}
template <class T>
inline void store(T* p, Vf x, int n) {
    T part[8];
    store(part, x);
    std::memcpy(p, part, static_cast<std::size_t>(n < 8 ? n : 8) * sizeof(T));
}

inline Vf operator+(Vf a, Vf b) {
    return {_mm256_add_ps(a.v, b.v)};
}
inline Vf operator-(Vf a, Vf b) {
    return {_mm256_sub_ps(a.v, b.v)};
}
inline Vf operator*(Vf a, Vf b) {
    return {_mm256_mul_ps(a.v, b.v)};
}
inline Vf operator/(Vf a, Vf b) {
    return {_mm256_div_ps(a.v, b.v)};
}
inline Vf fma(Vf a, Vf b, Vf c) {
    return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
inline Vf max(Vf a, Vf b) {
    return {_mm256_max_ps(a.v, b.v)};
}
inline Vf min(Vf a, Vf b) {
    return {_mm256_min_ps(a.v, b.v)};
}
inline Vf round(Vf a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vf power_of_two(Vf n) {
    const __m256i shifted = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23);
    return {_mm256_and_ps(_mm256_castsi256_ps(shifted), _mm256_cmp_ps(n.v, _mm256_set1_ps(-126.0f), _CMP_GE_OQ))};
}
inline float sum(Vf a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float largest(Vf a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline Vf floor(Vf a) {
    return {_mm256_floor_ps(a.v)};
}
inline Vf repeat4(Vf a, int quarter) {
    const __m256i lane = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    return {_mm256_permutevar8x32_ps(a.v, _mm256_add_epi32(lane, _mm256_set1_epi32(2 * quarter)))};
}
inline void store(std::uint8_t* p, Vf x) {
    const __m256i whole = _mm256_cvttps_epi32(x.v);
    const __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(half, half));
}
inline void store(std::uint8_t* p, Vf x, int n) {
    std::uint8_t part[8];
    store(part, x);
    std::memcpy(p, part, static_cast<std::size_t>(n < 8 ? n : 8));
}
inline void store_pixels(std::uint8_t* p, Vf red, Vf green, Vf blue) {
    const __m256i middle = _mm256_slli_epi32(_mm256_cvttps_epi32(green.v), 8);
    const __m256i last = _mm256_slli_epi32(_mm256_cvttps_epi32(blue.v), 16);
    const __m256i pixels = _mm256_or_si256(_mm256_cvttps_epi32(red.v), _mm256_or_si256(middle, last));
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    const __m256i packed = _mm256_shuffle_epi8(pixels, order);
    const __m256i joined = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(joined));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p + 16), _mm256_extracti128_si256(joined, 1));
}

inline void transpose(Vf (&x)[8]) {
    __m256 pairs[8], fours[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(x[i].v, x[i + 1].v);
        pairs[i + 1] = _mm256_unpackhi_ps(x[i].v, x[i + 1].v);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int j = 0; j < 2; ++j) {
            fours[i + 2 * j] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0x44);
            fours[i + 2 * j + 1] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0xee);
        }
    }
    for (int i = 0; i < 4; ++i) {
        x[i].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        x[i + 4].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}

struct Wide {
    __m256d low, high;
};
inline Wide wide_zero() {
    return {_mm256_setzero_pd(), _mm256_setzero_pd()};
}
inline __m256d low_half(Vf a) {
    return _mm256_cvtps_pd(_mm256_castps256_ps128(a.v));
}
inline __m256d high_half(Vf a) {
    return _mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1));
}
inline Wide add(Wide sum, Vf a) {
    return {_mm256_add_pd(sum.low, low_half(a)), _mm256_add_pd(sum.high, high_half(a))};
}
inline Wide fma(Vf a, Vf b, Wide sum) {
    return {_mm256_fmadd_pd(low_half(a), low_half(b), sum.low), _mm256_fmadd_pd(high_half(a), high_half(b), sum.high)};
}
inline void store(double* p, Wide sum) {
    _mm256_storeu_pd(p, sum.low);
    _mm256_storeu_pd(p + 4, sum.high);
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
