// The inner loops of upsample_conv, compiled once for each instruction set (common/every_isa.h), and once more where pairs
// of bfloat16 have an instruction of their own (EAMFMEG_PAIRS).
#include "upsample_conv/upsample_conv_products.h"

namespace eamfmeg {
namespace EAMFMEG_ISA {
// Other operators may use the same names.
namespace {

// Words of kernels summed one after the other.
constexpr std::int64_t kLongest = 64;
constexpr std::int64_t kSet = kSums * Vf::kLanes;

// `n` channels, at most a vector of them, `stride` apart; zero beyond.
template <class T>
Vf channels_at(const T* at, std::int64_t stride, std::int64_t n) {
    if (stride == 1) return n >= Vf::kLanes ? load(at) : load(at, static_cast<int>(n));
    float values[Vf::kLanes] = {};
    for (std::int64_t i = 0; i < n && i < Vf::kLanes; ++i) values[i] = to_float(at[i * stride]);
    return load(static_cast<const float*>(values));
}

// Copies the tile's pixels and a border of one, zero outside the picture, to scratch.pixels; whether all of them are below
// 2^67. Several that are add up to a no, which costs time only.
template <class T>
bool copy_pixels(const UpsampleTile& tile, const UpsampleScratch& scratch, const View<T>& in, Mutant mutant) {
    const std::int64_t image = mutant.is(kUpsampleBatchStrideIgnored) ? 0 : tile.image;
    const std::int64_t channels = in.c - (mutant.is(kLastInputChannelDropped) ? 1 : 0);
    const std::int64_t whole = in.stride_c == 1 ? channels / Vf::kLanes * Vf::kLanes : 0;
    // In turns: a single one would be waited for.
    Vf watch[2] = {set(0.0f), set(0.0f)};
    for (std::int64_t r = 0; r < tile.rows + 2; ++r) {
        for (std::int64_t i = 0; i < tile.columns + 2; ++i) {
            std::int64_t y = tile.y + r - 1, x = tile.x + i - 1;
            if (mutant.is(kFirstRowRepeatedAbove) && y < 0) y = 0;
            if (mutant.is(kRightBorderWraps) && x == in.w) x = 0;
            const bool inside = y >= 0 && y < in.h && x >= 0 && x < in.w;
            const T* from = inside ? in.at(image, y, x) : nullptr;
            float* to = scratch.pixels + (r * (tile.columns + 2) + i) * kBlock;
            std::int64_t k = 0;
            for (; inside && k < whole; k += Vf::kLanes) {
                const Vf value = load(from + k);
                store(to + k / kBlock * scratch.step + k % kBlock, value);
                Vf& seen = watch[k / Vf::kLanes % 2];
                seen = fma(value, set(kWatch), seen);
            }
            for (; k < scratch.channels; k += Vf::kLanes) {
                const bool there = inside && k < channels;
                const Vf value = there ? channels_at(from + k * in.stride_c, in.stride_c, channels - k) : set(0.0f);
                store(to + k / kBlock * scratch.step + k % kBlock, value);
                watch[0] = fma(value, set(kWatch), watch[0]);
            }
        }
    }
    return std::isfinite(sum(watch[0])) && std::isfinite(sum(watch[1]));
}

// The private copies of a tile; as copy_pixels. Every position gets its differences to the right and lower neighbour: at
// the border's, they are of no use and do no harm.
template <bool kPairs, class T>
bool prepare(const UpsampleTile& tile, const UpsampleScratch& s, const View<T>& in, Mutant mutant) {
    using M = std::conditional_t<kPairs, Paired, Singles>;
    const bool small = copy_pixels(tile, s, in, mutant);
    const std::int64_t row = (tile.columns + 2) * kBlock, count = (tile.rows + 1) * row - kBlock;
    for (std::int64_t block = 0; block < s.channels / kBlock; ++block) {
        const float* at = s.pixels + block * s.step;
        for (std::int64_t i = 0; i < count; i += Vf::kLanes) {
            const Vf here = load(at + i), right = load(at + i + kBlock);
            const Vf below = load(at + i + row), across = here - right, down = here - below;
            if (M::kCopies) M::put(s.centre, s, block, i, here);
            M::put(s.across, s, block, i, across);
            M::put(s.down, s, block, i, down);
            M::put(s.both, s, block, i, across - (below - load(at + i + row + kBlock)));
        }
    }
    return small;
}

// Fetches the lines that `emit` will write, while there is other work.
template <class T>
void expect(T* out, std::int64_t step, std::int64_t pixels, std::int64_t channels) {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    for (std::int64_t p = 0; p < pixels; ++p) {
        for (std::int64_t k = 0; k < channels; k += kLine) __builtin_prefetch(out + p * step + k, 1);
    }
}

// Writes `pixels` sums of `channels` output channels to every second output pixel from `out` on.
template <class T>
void emit(T* out, std::int64_t step, const float* sums, std::int64_t pixels, std::int64_t channels, bool relu) {
    for (std::int64_t p = 0; p < pixels; ++p) {
        for (std::int64_t k = 0; k < channels; k += Vf::kLanes, sums += Vf::kLanes) {
            Vf value = load(sums);
            // A NaN is the second operand: it comes through.
            if (relu) value = max(set(0.0f), value);
            T* at = out + p * step + k;
            channels - k >= Vf::kLanes ? store(at, value) : store(at, value, static_cast<int>(channels - k));
        }
    }
}

// The first output pixel of a strip in phase (a, b).
inline std::int64_t output_pixel(const UpsampleTile& tile, const UpsampleStrip& strip, int a, int b) {
    const std::int64_t row = (tile.image * tile.h + tile.y + strip.row) * 2 + a;
    return (row * tile.w + tile.x + strip.x) * 2 + b;
}

// One of the nine products for some strips. Sets of sums by their number, -1 for none; `bias` may be null.
struct UpsampleProduct {
    const float *array, *kernels, *bias;
    std::int64_t words;
    int sum, first, second;
};

// The same for any number of channels: a long sum is put together from short ones, which keeps its rounding error small,
// and the kernels of one stay in the first cache for all strips.
template <class M>
void multiply(const UpsampleProduct& product, const UpsampleScratch& scratch, const UpsampleStrip* strips, int count) {
    const int vectors = strips->channels > Vf::kLanes ? 2 : 1;
    for (std::int64_t k = 0; k < product.words; k += kLongest) {
        for (int i = 0; i < count; ++i) {
            float* sums = scratch.sums + i * kSets * kSet;
            UpsampleChain c{};
            c.sums = sums + product.sum * kSet;
            c.first = k > 0 ? c.sums : product.first < 0 ? product.bias : sums + product.first * kSet;
            c.first_step = c.first == product.bias ? 0 : vectors * Vf::kLanes;
            c.second = k > 0 || product.second < 0 ? nullptr : sums + product.second * kSet;
            c.x = product.array + k * M::kFloats / kBlock * scratch.step + strips[i].at * kBlock;
            c.kernels = product.kernels + k * kPanel;
            c.step = scratch.step;
            c.words = std::min(product.words - k, kLongest);
            chain_of<M>(strips[i].pixels, vectors)(c);
        }
    }
}

// The 2 x 2 outputs of `count` strips, for at most two vectors of output channels. Sets of sums: 0 what all share, 1 and 2
// what the columns' phases add to it, 3 and 4 what the rows' add, 5 an output.
template <class M, class T>
void nine_products(const UpsampleTile& tile, const UpsampleScratch& scratch, const UpsampleStrip* strips, int count, T* out,
                   Mutant mutant) {
    const std::int64_t words = (tile.c + M::kChannels - 1) / M::kChannels, width = (tile.columns + 2) * kBlock;
    const auto run = [&](const float* array, int t, int sum, int first, int second) {
        const float* bias = t == 0 ? strips->bias : nullptr;
        multiply<M>({array, strips->kernels + t * words * kPanel, bias, words, sum, first, second}, scratch, strips, count);
    };
    run(scratch.centre, 0, 0, -1, -1);
    for (int b = 0; b < 2; ++b) run(scratch.across + (b - 1) * kBlock, 1 + b, 1 + b, 0, -1);
    for (int a = 0; a < 2; ++a) {
        run(scratch.down + (a - 1) * width, 3 + a, 3 + a, -1, -1);
        for (int b = 0; b < 2; ++b) {
            const int row = mutant.is(kRowPhasesExchanged) ? 1 - a : a;
            const int column = mutant.is(kColumnPhasesExchanged) ? 1 - b : b;
            const std::int64_t step = 2 * tile.stride, channels = strips->channels;
            const auto to = [&](const UpsampleStrip& strip) {
                return out + output_pixel(tile, strip, row, column) * tile.stride + strip.channel;
            };
            for (int i = 0; i < count; ++i) expect(to(strips[i]), step, strips[i].pixels, channels);
            run(scratch.both + (a - 1) * width + (b - 1) * kBlock, 5 + 2 * a + b, 5, 1 + b, 3 + a);
            for (int i = 0; i < count; ++i) {
                const float* sums = scratch.sums + (i * kSets + 5) * kSet;
                emit(to(strips[i]), step, sums, strips[i].pixels, channels, tile.relu);
            }
        }
    }
}

// Strip `i` of a tile, at most `most` pixels of a row; none after the last.
inline UpsampleStrip strip_at(const UpsampleTile& tile, std::int64_t i, std::int64_t most) {
    const std::int64_t each = (tile.columns + most - 1) / most, part = i % each;
    UpsampleStrip strip{};
    strip.row = i / each;
    strip.x = tile.columns * part / each;
    strip.at = (strip.row + 1) * (tile.columns + 2) + strip.x + 1;
    strip.pixels = strip.row < tile.rows ? tile.columns * (part + 1) / each - strip.x : 0;
    return strip;
}

// All strips of a prepared tile for the panels of output channels from `tile.panel` to `tile.last_panel`.
template <bool kPairs, class T>
void multiply_tile(T* out, const float* packed, const float* bias, const UpsampleTile& tile, const UpsampleScratch& scratch,
                   Mutant mutant) {
    using M = std::conditional_t<kPairs, Paired, Singles>;
    const std::int64_t words = (tile.c + M::kChannels - 1) / M::kChannels;
    const std::int64_t written = tile.o - (mutant.is(kLastOutputChannelDropped) ? 1 : 0);
    for (std::int64_t first = tile.panel * kPanel; first < tile.last_panel * kPanel && first < tile.o;
         first += kVectors * Vf::kLanes) {
        const std::int64_t channels = std::min<std::int64_t>(written - first, kVectors * Vf::kLanes);
        const std::int64_t most = channels > Vf::kLanes ? kSums / 2 : kSums;
        UpsampleStrip strips[kTogether] = {};
        for (std::int64_t i = 0, count = 0;; ++i) {
            strips[count] = strip_at(tile, i, most);
            const bool last = strips[count].pixels == 0;
            strips[count].channel = first;
            strips[count].channels = channels;
            strips[count].bias = bias + first;
            strips[count].kernels = packed + first / kPanel * kProducts * words * kPanel + first % kPanel;
            count += last ? 0 : 1;
            if (count > 0 && (last || count == kTogether || words <= kLongest))
                nine_products<M>(tile, scratch, strips, static_cast<int>(std::exchange(count, 0)), out, mutant);
            if (last) break;
        }
    }
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
