// The products of upsample_conv, for its loops: compiled for each instruction set, like these.
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

// Vectors summed in registers, of pixels and of at most two vectors of output channels: as many as there are beside two
// vectors of kernels.
constexpr int kSums = Vf::kLanes == 16 ? 28 : Vf::kLanes == 8 ? 12 : 8;
constexpr int kVectors = 2;

// How products are made: a word of kernels holds kChannels input channels and meets kFloats floats of the private copies.
// `put` writes a vector of a block of channels to one of these.
struct Singles {
    static constexpr std::int64_t kFloats = 1, kChannels = 1;
    static constexpr bool kCopies = false;
    struct Right {
        Vf all;
    };
    static Right right(const float* words) { return {load(words)}; }
    static Vf add(const float* x, Right right, Vf sum) { return fma(set(*x), right.all, sum); }
    static void put(float* array, const UpsampleScratch& s, std::int64_t block, std::int64_t at, Vf x) {
        store(array + block * s.step + at, x);
    }
};

#ifdef EAMFMEG_PAIRS
struct Paired {
    static constexpr std::int64_t kFloats = 1, kChannels = 2;
    static constexpr bool kCopies = true;
    struct Right {
        Vf pairs;
    };
    static Right right(const float* words) { return {load(words)}; }
    static Vf add(const float* x, Right right, Vf sum) {
        const __m512bh left = reinterpret_cast<__m512bh>(_mm512_set1_ps(*x));
        return {_mm512_dpbf16_ps(sum.v, left, reinterpret_cast<__m512bh>(right.pairs.v))};
    }
    // Two blocks of channels share one of words.
    static void put(float* array, const UpsampleScratch& s, std::int64_t block, std::int64_t at, Vf x) {
        float* words = array + block / 2 * s.step + at + block % 2 * (kBlock / 2);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.v)));
    }
};
#else
// The same numbers, multiplied as floats.
struct Paired {
    static constexpr std::int64_t kFloats = 2, kChannels = 2;
    static constexpr bool kCopies = true;
    struct Right {
        Vf even, odd;
    };
    static Right right(const float* words) {
        std::uint32_t pairs[Vf::kLanes], odd[Vf::kLanes];
        std::memcpy(pairs, words, sizeof pairs);
        for (int i = 0; i < Vf::kLanes; ++i) odd[i] = pairs[i] & 0xffff0000u;
        for (int i = 0; i < Vf::kLanes; ++i) pairs[i] <<= 16;
        Right right;
        std::memcpy(&right.even, pairs, sizeof pairs);
        std::memcpy(&right.odd, odd, sizeof odd);
        return right;
    }
    static Vf add(const float* x, Right right, Vf sum) {
        return fma(set(x[1]), right.odd, fma(set(x[0]), right.even, sum));
    }
    static void put(float* array, const UpsampleScratch& s, std::int64_t block, std::int64_t at, Vf x) {
        BFloat16 rounded[Vf::kLanes];
        store(rounded, x);
        store(array + block * s.step + at, load(static_cast<const BFloat16*>(rounded)));
    }
};
#endif

// One sum for each of a strip's pixels and output channels: sums = first + (second + products). Either may be null; `first`
// has its pixels `first_step` apart.
struct UpsampleChain {
    float* sums;
    const float *first, *second, *x, *kernels;
    std::int64_t first_step, step, words;
};

// For P pixels and V vectors of output channels. `x` is [block, `step` apart][pixel][16]; `kernels` is one product of a
// panel.
template <class M, int P, int V>
void chain(const UpsampleChain& c) {
    constexpr int kLanes = Vf::kLanes;
    Vf sum[P][V];
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[p][v] = set(0.0f);
    }
    const float *x = c.x, *kernels = c.kernels;
    for (std::int64_t words = c.words; words > 0; words -= kBlock / M::kFloats, x += c.step) {
        const std::int64_t end = std::min(words * M::kFloats, kBlock);
        for (std::int64_t k = 0; k < end; k += M::kFloats, kernels += kPanel) {
            typename M::Right right[V];
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) right[v] = M::right(kernels + v * kLanes);
#pragma GCC unroll 32
            for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
                for (int v = 0; v < V; ++v) sum[p][v] = M::add(x + p * kBlock + k, right[v], sum[p][v]);
            }
        }
    }
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            const int at = (p * V + v) * kLanes;
            if (c.second != nullptr) sum[p][v] = load(c.second + at) + sum[p][v];
            if (c.first != nullptr) sum[p][v] = load(c.first + p * c.first_step + v * kLanes) + sum[p][v];
            store(c.sums + at, sum[p][v]);
        }
    }
}

using Chain = void (*)(const UpsampleChain&);

template <class M, int V, int... P>
Chain chain_among(std::int64_t pixels, std::integer_sequence<int, P...>) {
    static constexpr Chain all[] = {chain<M, P + 1, V>...};
    return all[pixels - 1];
}

// For up to `most_pixels(vectors)` pixels.
template <class M>
Chain chain_of(std::int64_t pixels, int vectors) {
    return vectors == 1 ? chain_among<M, 1>(pixels, std::make_integer_sequence<int, kSums>())
                        : chain_among<M, 2>(pixels, std::make_integer_sequence<int, kSums / 2>());
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
