// Four floats in plain C++: what runs where neither AVX2 nor AVX-512 is, and the meaning of the other two.
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
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vf min(Vf a, Vf b) {
    return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
// To the nearest whole number, ties to even.
inline Vf round(Vf a) {
    return each([&](int i) { return std::nearbyint(a.v[i]); });
}
// 2^n for whole n up to 128, which is infinity; 0 below -126.
inline Vf power_of_two(Vf n) {
    return each([&](int i) { return n.v[i] < -126.0f ? 0.0f : std::ldexp(1.0f, static_cast<int>(n.v[i])); });
}
inline float sum(Vf a) {
    return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
}
inline float largest(Vf a) {
    return std::max(std::max(a.v[0], a.v[1]), std::max(a.v[2], a.v[3]));
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
