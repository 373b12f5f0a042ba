// The vector functions of csrc/common/ over arrays, for test_vector.py: included once for each level by common/every_isa.h.
namespace eamfmeg {
namespace EAMFMEG_ISA {

inline int lanes() {
    return Vf::kLanes;
}

inline void map(int what, float* out, const float* a, const float* b, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) {
        const Vf x = load(a + i), y = load(b + i);
        switch (what) {
            case 0: store(out + i, exp(x)); break;
            case 1: store(out + i, sigmoid(x)); break;
            case 2: store(out + i, round(x)); break;
            case 3: store(out + i, power_of_two(x)); break;
            case 4: store(out + i, max(x, y)); break;
            case 5: store(out + i, min(x, y)); break;
            case 6: store(out + i, x + y); break;
            case 7: store(out + i, x - y); break;
            case 8: store(out + i, x * y); break;
            case 9: store(out + i, x / y); break;
            case 10: store(out + i, fma(x, y, set(-1.0f))); break;
            case 11: std::fill_n(out + i, Vf::kLanes, sum(x)); break;
            default: std::fill_n(out + i, Vf::kLanes, largest(x));
        }
    }
}

// `count` is a multiple of the square of the lanes.
inline void transposed(float* out, const float* in, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += Vf::kLanes * Vf::kLanes) {
        Vf rows[Vf::kLanes];
        for (int j = 0; j < Vf::kLanes; ++j) rows[j] = load(in + i + j * Vf::kLanes);
        transpose(rows);
        for (int j = 0; j < Vf::kLanes; ++j) store(out + i + j * Vf::kLanes, rows[j]);
    }
}

template <class T>
inline void widened(float* out, const T* in, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) store(out + i, load(in + i));
}

template <class T>
inline void narrowed(T* out, const float* in, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) store(out + i, load(in + i));
}

// The whole of a vector is at hand, only n elements may change: those before and after are checked.
template <class T>
inline int written_wrongly(T* edge, int n) {
    float values[Vf::kLanes];
    for (int i = 0; i < Vf::kLanes; ++i) values[i] = static_cast<float>(i + 2);
    const Vf x = load(static_cast<const float*>(values));
    store(edge, x, n);
    T inside[3 * Vf::kLanes];
    for (T& value : inside) value = numbered<T>(99);
    store(inside + Vf::kLanes, x, n);
    int faults = 0;
    for (int i = 0; i < n; ++i) faults += to_float(edge[i]) != values[i];
    for (int i = 0; i < 3 * Vf::kLanes; ++i) {
        const bool changed = i >= Vf::kLanes && i < Vf::kLanes + n;
        faults += to_float(inside[i]) != (changed ? values[i - Vf::kLanes] : 100.0f);
    }
    return faults;
}

// Reads and writes the first n elements, which end where memory ends. Returns how often a lane was wrong.
template <class T>
inline int at_the_edge(unsigned char* end, bool may_write) {
    int faults = 0;
    for (int n = 1; n <= Vf::kLanes; ++n) {
        T* const first = reinterpret_cast<T*>(end) - n;
        for (int i = 0; i < n; ++i) first[i] = numbered<T>(i);
        float seen[Vf::kLanes];
        store(seen, load(static_cast<const T*>(first), n));
        for (int i = 0; i < Vf::kLanes; ++i) faults += seen[i] != (i < n ? static_cast<float>(i + 1) : 0.0f);
        if constexpr (!std::is_same_v<T, std::uint8_t>) {
            if (may_write) faults += written_wrongly(first, n);
        }
    }
    return faults;
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
