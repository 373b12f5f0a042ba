// The inner loops of narrow_conv, compiled once for each instruction set (common/every_isa.h), and once more with
// EAMFMEG_PAIRS for processors that multiply pairs of bfloat16. A unit is what one lane multiplies: a float, or such a
// pair.
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

#ifdef EAMFMEG_PAIRS
constexpr std::int64_t kChannels = 2;

inline Vf multiply_add(Vf a, Vf b, Vf sum) {
    const __m512i left = _mm512_castps_si512(a.v), right = _mm512_castps_si512(b.v);
    return {_mm512_dpbf16_ps(sum.v, (__m512bh)left, (__m512bh)right)};
}

// The units of `n` channels, at most a vector of them, `stride` apart; zero beyond.
inline Vf units_at(const BFloat16* at, std::int64_t stride, std::int64_t n) {
    std::uint16_t values[32] = {};
    if (stride == 1) {
        const __mmask32 there = n >= 32 ? 0xffffffffu : (1u << n) - 1u;
        return {_mm512_castsi512_ps(_mm512_maskz_loadu_epi16(there, at))};
    }
    for (std::int64_t i = 0; i < n && i < 32; ++i) values[i] = at[i * stride].bits;
    return {_mm512_castsi512_ps(_mm512_loadu_si512(values))};
}
#else
constexpr std::int64_t kChannels = 1;

inline Vf multiply_add(Vf a, Vf b, Vf sum) {
    return fma(a, b, sum);
}

template <class T>
Vf units_at(const T* at, std::int64_t stride, std::int64_t n) {
    if (stride == 1) return n >= Vf::kLanes ? load(at) : load(at, static_cast<int>(n));
    float values[Vf::kLanes] = {};
    for (std::int64_t i = 0; i < n && i < Vf::kLanes; ++i) values[i] = to_float(at[i * stride]);
    return load(static_cast<const float*>(values));
}
#endif

// What is summed in registers for O output channels: as many sums as there are beside the operands.
template <int O>
struct NarrowBlock {
    static constexpr int kSums = Vf::kLanes == 16 ? 24 : 12;
    static constexpr int kVectors = 2 * O <= kSums ? 2 : 1;
    static constexpr int kMostRows = kSums / (kVectors * O);
    static constexpr int kRows = kMostRows > 4 ? 4 : kMostRows;
    static constexpr int kPixels = kVectors * Vf::kLanes;
};

// totals[row][o][pixel] += one row of the input times the kernels, for R output rows. The first of them sees the kernel row
// at `kernel`, each further one the row before: `above` floats earlier.
template <int O, int R>
void chain(float* totals, const float* x, std::int64_t pitch, const float* kernel, std::int64_t above, std::int64_t units,
           std::int64_t columns) {
    constexpr int V = NarrowBlock<O>::kVectors;
    Vf sum[R * O][V];
#pragma GCC unroll 24
    for (int i = 0; i < R * O; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[i][v] = set(0.0f);
    }
    for (std::int64_t u = 0; u < units; ++u, x += pitch) {
        for (std::int64_t k = 0; k < columns; ++k, kernel += O) {
            Vf left[V];
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) left[v] = load(x + k + v * Vf::kLanes);
#pragma GCC unroll 24
            for (int i = 0; i < R * O; ++i) {
                const Vf right = set(kernel[i % O - i / O * above]);
#pragma GCC unroll 2
                for (int v = 0; v < V; ++v) sum[i][v] = multiply_add(left[v], right, sum[i][v]);
            }
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < R * O; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            float* at = totals + (i * V + v) * Vf::kLanes;
            store(at, load(at) + sum[i][v]);
        }
    }
}

using Chain = void (*)(float*, const float*, std::int64_t, const float*, std::int64_t, std::int64_t, std::int64_t);

template <int O, int R>
Chain chain_of(std::int64_t rows) {
    if constexpr (R > 1) {
        if (rows < R) return chain_of<O, R - 1>(rows);
    }
    return chain<O, R>;
}

// The sums of at most kRows x kPixels outputs; `x` is the first row and column that they see.
template <int O>
void narrow_block(float* totals, const float* x, const NarrowPlanes& planes, const NarrowKernel& kernel, std::int64_t rows,
                  Mutant mutant) {
    using Block = NarrowBlock<O>;
    const std::int64_t row = planes.units * planes.pitch, above = planes.units * kernel.k * O;
    const std::int64_t last_of_kernel = kernel.k - (mutant.is(kNarrowLastKernelRowForgotten) ? 2 : 1);
    for (std::int64_t i = 0; i < rows * O * Block::kPixels; ++i) totals[i] = kernel.bias[i / Block::kPixels % O];
    for (std::int64_t r = 0; r < rows + kernel.k - 1; ++r) {
        const std::int64_t first = r > last_of_kernel ? r - last_of_kernel : 0, last = r < rows ? r : rows - 1;
        if (first > last) continue;
        const Chain run = chain_of<O, Block::kRows>(last - first + 1);
        // A long sum is put together from short ones, which keeps its rounding error small.
        for (std::int64_t u = 0; u < planes.units; u += kNarrowChain)
            run(totals + first * O * Block::kPixels, x + r * row + u * planes.pitch, planes.pitch,
                kernel.weights + (r - first) * above + u * kernel.k * O, above, std::min(planes.units - u, kNarrowChain),
                kernel.k);
    }
}

// Copies what the outputs of `region` see to planes.at, [row][unit][column, `pitch` of them], zero outside the picture.
template <class T>
void copy_planes(const View<T>& in, const NarrowRegion& region, const NarrowPlanes& planes, std::int64_t k, Mutant mutant) {
    const std::int64_t channels = in.c - (mutant.is(kNarrowLastInputChannelDropped) ? 1 : 0);
    const std::int64_t left = region.x - k / 2 + (mutant.is(kNarrowShiftedByAPixel) ? 1 : 0);
    for (std::int64_t r = 0; r < region.rows + k - 1; ++r) {
        std::int64_t y = region.y - k / 2 + r;
        if (mutant.is(kNarrowFirstRowRepeatedAbove) && y < 0) y = 0;
        for (std::int64_t i = 0; i < planes.pitch; i += Vf::kLanes) {
            for (std::int64_t u = 0; u < planes.units; u += Vf::kLanes) {
                Vf pixels[Vf::kLanes];
                for (int j = 0; j < Vf::kLanes; ++j) {
                    std::int64_t x = left + i + j;
                    if (mutant.is(kNarrowRightBorderWraps) && x == in.w) x = 0;
                    const std::int64_t first = u * kChannels;
                    const bool inside = y >= 0 && y < in.h && x >= 0 && x < in.w && first < channels;
                    pixels[j] =
                        inside ? units_at(in.at(region.image, y, x) + first * in.stride_c, in.stride_c, channels - first)
                               : set(0.0f);
                }
                transpose(pixels);
                float* to = planes.at + (r * planes.units + u) * planes.pitch + i;
                for (int j = 0; j < Vf::kLanes && u + j < planes.units; ++j) store(to + j * planes.pitch, pixels[j]);
            }
        }
    }
}

// All outputs of a region of a map of h x w pixels.
template <int O>
void narrow_region(float* out, std::int64_t h, std::int64_t w, const NarrowKernel& kernel, const NarrowRegion& region,
                   const NarrowPlanes& planes, Mutant mutant) {
    using Block = NarrowBlock<O>;
    float totals[Block::kRows * O * Block::kPixels];
    const int written = O - (mutant.is(kNarrowLastOutputChannelDropped) ? 1 : 0);
    for (std::int64_t y = 0; y < region.rows; y += Block::kRows) {
        const std::int64_t rows = std::min<std::int64_t>(region.rows - y, Block::kRows);
        for (std::int64_t x = 0; x < region.columns; x += Block::kPixels) {
            narrow_block<O>(totals, planes.at + y * planes.units * planes.pitch + x, planes, kernel, rows, mutant);
            const std::int64_t columns = std::min<std::int64_t>(region.columns - x, Block::kPixels);
            for (std::int64_t r = 0; r < rows; ++r) {
                float* to = out + ((region.image * h + region.y + y + r) * w + region.x + x) * O;
                const float* from = totals + r * O * Block::kPixels;
                for (std::int64_t i = 0; i < columns; ++i) {
                    for (int o = 0; o < written; ++o) to[i * O + o] = from[o * Block::kPixels + i];
                }
            }
        }
    }
}

// The same for any number of channels from 1 to O.
template <int O>
void narrow_any(float* out, std::int64_t h, std::int64_t w, const NarrowKernel& kernel, const NarrowRegion& region,
                const NarrowPlanes& planes, Mutant mutant) {
    if constexpr (O > 1) {
        if (kernel.o < O) return narrow_any<O - 1>(out, h, w, kernel, region, planes, mutant);
    }
    narrow_region<O>(out, h, w, kernel, region, planes, mutant);
}

template <class T>
void narrow_piece(float* out, const View<T>& in, const NarrowKernel& kernel, const NarrowRegion& region,
                  const NarrowPlanes& planes, Mutant mutant) {
    copy_planes(in, region, planes, kernel.k, mutant);
    narrow_any<kMostNarrowChannels>(out, in.h, in.w, kernel, region, planes, mutant);
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
