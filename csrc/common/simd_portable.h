// Four floats in C++ alone, no intrinsics: what runs where neither AVX2 nor AVX-512 is, and the meaning of the other two.
namespace eamfmeg {
namespace EAMFMEG_ISA {

struct Vf {
    static constexpr int kLanes = 4;
    // Compilers make vector instructions of this, and rarely of an array.
    typedef float Four __attribute__((vector_size(16)));
    Four v;
};

template <class F>
inline Vf each(F f) {
    Vf out;
    for (int i = 0; i < Vf::kLanes; ++i) out.v[i] = f(i);
    return out;
}

inline Vf set(float x) {
    return {Vf::Four{x, x, x, x}};
}
template <class T>
inline Vf load(const T* p) {
    return each([&](int i) { return to_float(p[i]); });
}
// The first n lanes from memory, zero in the others; nothing beyond them is read.
template <class T>
inline Vf load(const T* p, int n) {
    return each([&](int i) { return i < n ? to_float(p[i]) : 0.0f; });
}
template <class T>
inline void store(T* p, Vf x) {
    for (int i = 0; i < Vf::kLanes; ++i) from_float(x.v[i], p[i]);
}
template <class T>
inline void store(T* p, Vf x, int n) {
    for (int i = 0; i < n; ++i) from_float(x.v[i], p[i]);
}

inline Vf operator+(Vf a, Vf b) {
    return {a.v + b.v};
}
inline Vf operator-(Vf a, Vf b) {
    return {a.v - b.v};
}
inline Vf operator*(Vf a, Vf b) {
    return {a.v * b.v};
}
inline Vf operator/(Vf a, Vf b) {
    return {a.v / b.v};
}
// a * b + c
inline Vf fma(Vf a, Vf b, Vf c) {
    return {a.v * b.v + c.v};
}
// Of max and min: b where either is NaN.
inline Vf max(Vf a, Vf b) {
    return {a.v > b.v ? a.v : b.v};
}
inline Vf min(Vf a, Vf b) {
    return {a.v < b.v ? a.v : b.v};
}
// To the nearest whole number, ties to even: from 2^23 on there are no fractions, so adding it rounds.
inline Vf round(Vf a) {
    constexpr float kNoFractions = 8388608.0f;
    return each([&](int i) {
        const float size = std::fabs(a.v[i]), whole = (size + kNoFractions) - kNoFractions;
        return std::copysign(size < kNoFractions ? whole : size, a.v[i]);
    });
}
// 2^n for whole n up to 128, which is infinity; 0 below -126.
inline Vf power_of_two(Vf n) {
    return each([&](int i) {
        // Not a number and too small: neither is converted.
        const float normal = n.v[i] >= -126.0f ? n.v[i] : -127.0f;
        return float_of(static_cast<std::uint32_t>(static_cast<std::int32_t>(normal) + 127) << 23);
    });
}
inline float sum(Vf a) {
    return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
}
inline float largest(Vf a) {
    return std::max(std::max(a.v[0], a.v[1]), std::max(a.v[2], a.v[3]));
}
// The largest whole number that is not above.
inline Vf floor(Vf a) {
    return each([&](int i) { return std::floor(a.v[i]); });
}
// Each lane of one quarter (0 to 3) of the vector, four times over.
inline Vf repeat4(Vf a, int quarter) {
    return each([&](int i) { return a.v[quarter * (Vf::kLanes / 4) + i / 4]; });
}
// Numbers from 0 to below 256 as bytes, their fractions cut off.
inline void store(std::uint8_t* p, Vf x, int n) {
    for (int i = 0; i < n; ++i) p[i] = static_cast<std::uint8_t>(x.v[i]);
}
inline void store(std::uint8_t* p, Vf x) {
    store(p, x, Vf::kLanes);
}
// Three planes of such numbers as pixels of three bytes.
inline void store_pixels(std::uint8_t* p, Vf red, Vf green, Vf blue) {
    for (int i = 0; i < Vf::kLanes; ++i) {
        p[3 * i] = static_cast<std::uint8_t>(red.v[i]);
        p[3 * i + 1] = static_cast<std::uint8_t>(green.v[i]);
        p[3 * i + 2] = static_cast<std::uint8_t>(blue.v[i]);
    }
}

// Rows become columns.
inline void transpose(Vf (&x)[Vf::kLanes]) {
    for (int i = 0; i < Vf::kLanes; ++i) {
        for (int j = 0; j < i; ++j) {
            const float kept = x[i].v[j];
            x[i].v[j] = x[j].v[i];
            x[j].v[i] = kept;
        }
    }
}

// As many sums in double precision as Vf has lanes. The product of two floats is exact there.
struct Wide {
    double v[Vf::kLanes];
};
inline Wide wide_zero() {
    return {};
}
inline Wide add(Wide sum, Vf a) {
    for (int i = 0; i < Vf::kLanes; ++i) sum.v[i] += a.v[i];
    return sum;
}
inline Wide fma(Vf a, Vf b, Wide sum) {
    for (int i = 0; i < Vf::kLanes; ++i) sum.v[i] += static_cast<double>(a.v[i]) * b.v[i];
    return sum;
}
inline void store(double* p, Wide sum) {
    for (int i = 0; i < Vf::kLanes; ++i) p[i] = sum.v[i];
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
