// The inner loops of conv3x3, compiled once for each instruction set (common/every_isa.h), and for AVX-512 once more with
// the processor's own products of bfloat16 (EAMFMEG_PAIRS).
namespace eamfmeg {
namespace EAMFMEG_ISA {
// Other operators may use the same names.
namespace {

// Output channels are taken two vectors at a time.
constexpr int kVectors = 2;

// A word of a tile's transform in every lane, words of kernels, and the sum with their products.
inline Vf repeat(const float* x) {
    return set(*x);
}
inline Vf words(const float* u) {
    return load(u);
}
inline Vf multiply_add(Vf a, Vf b, Vf sum) {
    return fma(a, b, sum);
}

#ifdef EAMFMEG_PAIRS
struct Pair {
    __m512i words;
};
inline Pair repeat(const BFloat16* x) {
    std::int32_t word;
    std::memcpy(&word, x, sizeof word);
    return {_mm512_set1_epi32(word)};
}
inline Pair words(const BFloat16* u) {
    return {_mm512_loadu_si512(u)};
}
inline Vf multiply_add(Pair a, Pair b, Vf sum) {
    return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(a.words), reinterpret_cast<__m512bh>(b.words))};
}
inline void put(BFloat16* p, Vf x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.v)));
}
#else
// Both channels of each word as floats: the first lies in the lower half.
struct Pair {
    Vf even, odd;
};
typedef std::uint32_t Words __attribute__((vector_size(4 * Vf::kLanes)));
inline Pair split(Words both) {
    const Words even = both << 16, odd = both & 0xffff0000u;
    Pair pair;
    std::memcpy(&pair.even.v, &even, sizeof even);
    std::memcpy(&pair.odd.v, &odd, sizeof odd);
    return pair;
}
inline Pair repeat(const BFloat16* x) {
    return {set(to_float(x[0])), set(to_float(x[1]))};
}
inline Pair words(const BFloat16* u) {
    Words both;
    std::memcpy(&both, u, sizeof both);
    return split(both);
}
inline Vf multiply_add(Pair a, Pair b, Vf sum) {
    return fma(a.odd, b.odd, fma(a.even, b.even, sum));
}
inline void put(BFloat16* p, Vf x) {
    store(p, x);
}
#endif
inline void put(float* p, Vf x) {
    store(p, x);
}

// Tiles by two vectors are summed in registers: as many as there are beside what is multiplied.
template <class T>
constexpr int tiles_of_a_strip() {
    constexpr bool kOwn = sizeof(Pair) == sizeof(Vf);
    if (Vf::kLanes == 16) return sizeof(T) == 4 || kOwn ? 14 : 12;
    return Vf::kLanes == 8 ? (sizeof(T) == 4 ? 6 : 4) : (sizeof(T) == 4 ? 4 : 3);
}

// m = sum over channels of v * u for P tiles and V vectors of output channels. `v` is [line][tile of the strip][16 words],
// `u` is [word][32], `m` is [tile][32].
template <class T, int P, int V>
void strip(float* m, const T* v, const T* u, std::int64_t count) {
    constexpr std::int64_t kPer = sizeof(float) / sizeof(T), kLanes = Vf::kLanes;
    Vf sum[P][V];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
        for (int i = 0; i < V; ++i) sum[p][i] = set(0.0f);
    }
    for (; count > 0; count -= kWords, v += tiles_of_a_strip<T>() * kWords * kPer) {
        const std::int64_t end = count < kWords ? count : kWords;
        for (std::int64_t k = 0; k < end; ++k, u += kConvPanel * kPer) {
            decltype(words(u)) right[V];
#pragma GCC unroll 2
            for (int i = 0; i < V; ++i) right[i] = words(u + i * kLanes * kPer);
#pragma GCC unroll 16
            for (int p = 0; p < P; ++p) {
                const auto left = repeat(v + (p * kWords + k) * kPer);
#pragma GCC unroll 2
                for (int i = 0; i < V; ++i) sum[p][i] = multiply_add(left, right[i], sum[p][i]);
            }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
        for (int i = 0; i < V; ++i) store(m + p * kConvPanel + i * kLanes, sum[p][i]);
    }
}

template <class T>
using Strip = void (*)(float*, const T*, const T*, std::int64_t);

template <class T, int P>
Strip<T> strip_of(std::int64_t tiles, int vectors) {
    if constexpr (P > 1) {
        if (tiles < P) return strip_of<T, P - 1>(tiles, vectors);
    }
    return vectors == 1 ? strip<T, P, 1> : strip<T, P, 2>;
}

// All tiles of a chunk at one frequency and one panel of output channels.
template <class T>
void multiply(const Conv3x3& call, const Conv3x3Chunk& chunk, std::int64_t item) {
    constexpr std::int64_t kPer = sizeof(float) / sizeof(T), kStep = kVectors * Vf::kLanes;
    constexpr int kTiles = tiles_of_a_strip<T>();
    const std::int64_t f = item / call.panels, panel = item % call.panels;
    const std::int64_t channels = call.mutant.is(kConvLastInputChannelDropped) ? call.c - 1 : call.c;
    const T* u = static_cast<const T*>(call.packed) + item * call.lines * kWords * kConvPanel * kPer;
    const T* v = static_cast<const T*>(chunk.v) + f * chunk.v_step;
    float* m = chunk.m + f * chunk.m_step + panel * chunk.tiles * kConvPanel;
    const std::int64_t outer = std::min(call.o - panel * kConvPanel, kConvPanel);
    for (std::int64_t o = 0; o < outer; o += kStep) {
        const int vectors = outer - o > Vf::kLanes ? 2 : 1;
        for (std::int64_t t = 0; t < chunk.tiles; t += kTiles) {
            const Strip<T> run = strip_of<T, kTiles>(chunk.tiles - t, vectors);
            run(m + t * kConvPanel + o, v + t * call.lines * kWords * kPer, u + o * kPer, (channels + kPer - 1) / kPer);
        }
    }
}

// B^T d: r[i], every `step`th, from d.
inline void transform_inputs(const Vf* d, Vf* r, int step) {
    const Vf p2 = set(-kP2), q2 = set(-kQ2), both = set(-(kP2 + kQ2)), product = set(kP2 * kQ2);
    r[0] = fma(product, d[0], fma(both, d[2], d[4]));
    r[5 * step] = fma(product, d[1], fma(both, d[3], d[5]));
    const Vf even = fma(q2, d[2], d[4]), odd = fma(q2, d[1], d[3]);
    r[1 * step] = fma(set(kP), odd, even);
    r[2 * step] = fma(set(-kP), odd, even);
    const Vf even_q = fma(p2, d[2], d[4]), odd_q = fma(p2, d[1], d[3]);
    r[3 * step] = fma(set(kQ), odd_q, even_q);
    r[4 * step] = fma(set(-kQ), odd_q, even_q);
}

// A^T m: four y from six m.
inline void transform_products(const Vf* m, Vf* y, int step) {
    const Vf sum_p = m[1] + m[2], odd_p = m[1] - m[2], sum_q = m[3] + m[4], odd_q = m[3] - m[4];
    y[0] = m[0] + (sum_p + sum_q);
    y[1 * step] = fma(set(kP), odd_p, set(kQ) * odd_q);
    y[2 * step] = fma(set(kP2), sum_p, set(kQ2) * sum_q);
    y[3 * step] = fma(set(kP3), odd_p, fma(set(kQ3), odd_q, m[5]));
}

inline Vf channels_at(const float* at, std::int64_t n) {
    return n >= Vf::kLanes ? load(at) : load(at, static_cast<int>(n));
}

// Where the 36 pixels of a tile lie; null outside the picture.
inline void find_pixels(const Conv3x3& call, const Conv3x3Tile& tile, const float** pixels) {
    for (int i = 0; i < kFrequencies; ++i) {
        std::int64_t y = tile.y + i / 6 - 1, x = tile.x + i % 6 - 1;
        if (call.mutant.is(kConvFirstRowRepeatedAbove) && y < 0) y = 0;
        if (call.mutant.is(kConvRightBorderWraps) && x == call.w) x = 0;
        const bool inside = y >= 0 && y < call.h && x >= 0 && x < call.w;
        const std::int64_t image = call.mutant.is(kConvBatchStrideIgnored) ? 0 : tile.image;
        pixels[i] = inside ? call.features + ((image * call.h + y) * call.w + x) * call.c : nullptr;
    }
}

// B^T d B of tile `t` of a chunk.
template <class T>
void transform_input(const Conv3x3& call, const Conv3x3Chunk& chunk, std::int64_t t) {
    constexpr std::int64_t kPer = sizeof(float) / sizeof(T), kTiles = tiles_of_a_strip<T>(), kLine = kWords * kPer;
    const float* pixels[kFrequencies];
    find_pixels(call, tile_at(call, chunk.first + t), pixels);
    T* to = static_cast<T*>(chunk.v) + (t / kTiles * kTiles * call.lines + t % kTiles) * kLine;
    const Vf zero = set(0.0f);
    for (std::int64_t k = 0; k < call.c; k += Vf::kLanes) {
        const std::int64_t n = call.c - k;
        const bool scaled = call.scale != nullptr;
        Vf scale = scaled ? channels_at(call.scale + k, n) : zero, shift = scaled ? channels_at(call.shift + k, n) : zero;
        if (call.mutant.is(kConvScaleDropped)) scale = set(1.0f);
        if (call.mutant.is(kConvShiftDropped)) shift = zero;
        const Vf outside = scaled && call.mutant.is(kConvPaddingActivated) ? max(zero, shift) : zero;
        Vf rows[kFrequencies], d[6];
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) {
#pragma GCC unroll 6
            for (int i = 0; i < 6; ++i) {
                const float* at = pixels[6 * i + j];
                d[i] = at != nullptr ? channels_at(at + k, n) : outside;
                if (scaled && at != nullptr) d[i] = max(zero, fma(d[i], scale, shift));
            }
            transform_inputs(d, rows + j, 6);
        }
        T* line = to + k / kLine * kTiles * kLine + k % kLine;
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) {
            Vf r[6];
            transform_inputs(rows + 6 * i, r, 1);
#pragma GCC unroll 6
            for (int j = 0; j < 6; ++j) put(line + (6 * i + j) * chunk.v_step, r[j]);
        }
    }
}

// What is written for `n` sums at element `at`.
inline void finish(const Conv3x3& call, Vf sum, Vf bias, std::int64_t at, std::int64_t n) {
    const Vf zero = set(0.0f);
    const bool residual = call.residual != nullptr && !call.mutant.is(kConvResidualDropped);
    const Vf added = residual ? channels_at(call.residual + at, n) : zero;
    Vf value = sum + bias;
    if (call.mutant.is(kConvReluAfterTheResidual)) {
        value = call.relu ? max(zero, value + added) : value + added;
    } else {
        value = call.relu ? max(zero, value) : value;
        value = residual ? value + added : value;
    }
    n >= Vf::kLanes ? store(call.out + at, value) : store(call.out + at, value, static_cast<int>(n));
}

// A^T m A of one tile and one panel of output channels, and what comes after it.
inline void transform_output(const Conv3x3& call, const Conv3x3Chunk& chunk, std::int64_t item) {
    const std::int64_t panel = item / chunk.tiles, t = item % chunk.tiles;
    const Conv3x3Tile tile = tile_at(call, chunk.first + t);
    const std::int64_t outer = call.mutant.is(kConvLastOutputChannelDropped) ? call.o - 1 : call.o;
    for (std::int64_t lane = 0; lane < kConvPanel && panel * kConvPanel + lane < outer; lane += Vf::kLanes) {
        const std::int64_t o = panel * kConvPanel + lane, n = outer - o;
        const float* m = chunk.m + item * kConvPanel + lane;
        const Vf bias = call.bias != nullptr ? channels_at(call.bias + o, n) : set(0.0f);
        Vf rows[4 * 6], d[6];
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) {
#pragma GCC unroll 6
            for (int i = 0; i < 6; ++i) d[i] = load(m + (6 * i + j) * chunk.m_step);
            if (call.mutant.is(kConvLastFrequencyForgotten) && j == 5) d[5] = set(0.0f);
            if (call.mutant.is(kConvPointsExchanged)) std::swap(d[1], d[2]);
            transform_products(d, rows + j, 6);
        }
        for (std::int64_t k = 0; k < 4 && tile.y + k < call.h; ++k) {
            Vf y[4];
            transform_products(rows + 6 * k, y, 1);
            const std::int64_t at = ((tile.image * call.h + tile.y + k) * call.w + tile.x) * call.o + o;
#pragma GCC unroll 4
            for (int l = 0; l < 4; ++l) {
                if (tile.x + l < call.w) finish(call, y[l], bias, at + l * call.o, n);
            }
        }
    }
}

// The share of thread `me` of `of` in one of three phases: inputs, products, outputs.
template <class T>
void conv3x3_phase(const Conv3x3& call, const Conv3x3Chunk& chunk, int phase, std::int64_t me, std::int64_t of) {
    const std::int64_t items = phase == 0 ? chunk.tiles : call.panels * (phase == 1 ? kFrequencies : chunk.tiles);
    for (std::int64_t i = items * me / of; i < items * (me + 1) / of; ++i) {
        if (phase == 0) transform_input<T>(call, chunk, i);
        if (phase == 1) multiply<T>(call, chunk, i);
        if (phase == 2) transform_output(call, chunk, i);
    }
}

template <class T>
std::int64_t conv3x3_strip() {
    return tiles_of_a_strip<T>();
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
