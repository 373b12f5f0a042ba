// The inner loops of upsample_conv, compiled once for each instruction set (common/every_isa.h).
namespace eamfmeg {
namespace EAMFMEG_ISA {
// Other operators may use the same names.
namespace {

// Pixels by two vectors of output channels are summed in registers: as many as there are beside two vectors of kernels.
constexpr int kPixels = Vf::kLanes == 16 ? 14 : Vf::kLanes == 8 ? 6 : 4;
constexpr int kVectors = 2;
// Channels summed one after the other.
constexpr std::int64_t kLongest = 64;
constexpr std::int64_t kSums = kPixels * kVectors * Vf::kLanes;

// sums = first + second + (sum over channels of x * kernels), for P pixels and V vectors of output channels. `x` is
// [16-channel block, `x_step` apart][pixel][16]; `kernels` is one product of a panel.
template <int P, int V>
void chain(float* sums, const float* first, const float* second, const float* x, std::int64_t x_step, const float* kernels,
           std::int64_t channels) {
    constexpr int kLanes = Vf::kLanes;
    Vf sum[P][V];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[p][v] = set(0.0f);
    }
    for (; channels > 0; channels -= kBlock, x += x_step) {
        const std::int64_t end = channels < kBlock ? channels : kBlock;
        for (std::int64_t k = 0; k < end; ++k, kernels += kPanel) {
            Vf right[V];
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) right[v] = load(kernels + v * kLanes);
#pragma GCC unroll 16
            for (int p = 0; p < P; ++p) {
                const Vf left = set(x[p * kBlock + k]);
#pragma GCC unroll 2
                for (int v = 0; v < V; ++v) sum[p][v] = fma(left, right[v], sum[p][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            const int at = (p * kVectors + v) * kLanes;
            store(sums + at, load(first + at) + (load(second + at) + sum[p][v]));
        }
    }
}

using Chain = void (*)(float*, const float*, const float*, const float*, std::int64_t, const float*, std::int64_t);

template <int P>
Chain chain_of(std::int64_t pixels, int vectors) {
    if constexpr (P > 1) {
        if (pixels < P) return chain_of<P - 1>(pixels, vectors);
    }
    return vectors == 1 ? chain<P, 1> : chain<P, 2>;
}

// The same for any number of channels: a long sum is put together from short ones, which keeps its rounding error small.
inline void chains(Chain run, const UpsampleScratch& scratch, float* sums, const float* first, const float* second,
                   const float* x, const float* kernels, std::int64_t channels) {
    for (std::int64_t k = 0; k < channels; k += kLongest) {
        const float* from = x + k / kBlock * scratch.step;
        run(sums, first, second, from, scratch.step, kernels + k * kPanel, std::min(channels - k, kLongest));
        first = sums;
        second = scratch.zeros;
    }
}

// `n` channels, at most a vector of them, `stride` apart; zero beyond.
template <class T>
Vf channels_at(const T* at, std::int64_t stride, std::int64_t n) {
    if (stride == 1) return n >= Vf::kLanes ? load(at) : load(at, static_cast<int>(n));
    float values[Vf::kLanes] = {};
    for (std::int64_t i = 0; i < n && i < Vf::kLanes; ++i) values[i] = to_float(at[i * stride]);
    return load(static_cast<const float*>(values));
}

// What is 2^67 or more times this is no float. Differences of smaller features stay below 2^69, far enough from the largest
// float for products with any sensible kernels and for their sums.
constexpr float kWatch = 0x1p62f;

// Copies the tile's pixels and a border of one, zero outside the picture, to scratch.pixels; whether all of them are below
// 2^67. Several that are add up to a no, which costs time only.
template <class T>
bool copy_pixels(const UpsampleTile& tile, const UpsampleScratch& scratch, const View<T>& in, Mutant mutant) {
    const std::int64_t image = mutant.is(kUpsampleBatchStrideIgnored) ? 0 : tile.image;
    const std::int64_t channels = in.c - (mutant.is(kLastInputChannelDropped) ? 1 : 0);
    Vf watch = set(0.0f);
    for (std::int64_t r = 0; r < tile.rows + 2; ++r) {
        for (std::int64_t i = 0; i < tile.columns + 2; ++i) {
            std::int64_t y = tile.y + r - 1, x = tile.x + i - 1;
            if (mutant.is(kFirstRowRepeatedAbove) && y < 0) y = 0;
            if (mutant.is(kRightBorderWraps) && x == in.w) x = 0;
            const bool inside = y >= 0 && y < in.h && x >= 0 && x < in.w;
            const T* from = inside ? in.at(image, y, x) : nullptr;
            float* to = scratch.pixels + r * scratch.row + i * kBlock;
            for (std::int64_t k = 0; k < scratch.channels; k += Vf::kLanes) {
                const bool there = inside && k < channels;
                const Vf value = there ? channels_at(from + k * in.stride_c, in.stride_c, channels - k) : set(0.0f);
                store(to + k / kBlock * scratch.step + k % kBlock, value);
                watch = fma(value, set(kWatch), watch);
            }
        }
    }
    return std::isfinite(sum(watch));
}

// to = a - b for `count` floats.
inline void subtract(float* to, const float* a, const float* b, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) store(to + i, load(a + i) - load(b + i));
}

// Differences to the left and upper neighbour.
inline void differences(const UpsampleTile& tile, const UpsampleScratch& scratch) {
    // A row's last pixel has none to its right: what is written there is never used.
    const std::int64_t shifted = scratch.row - kBlock;
    for (std::int64_t r = 0; r < tile.rows; ++r) {
        const float* at = scratch.pixels + (r + 1) * scratch.row;
        subtract(scratch.across + r * scratch.row, at, at + kBlock, shifted);
    }
    for (std::int64_t r = 0; r < tile.rows + 1; ++r) {
        float* down = scratch.down + r * scratch.row;
        const float* at = scratch.pixels + r * scratch.row;
        subtract(down, at, at + scratch.row, scratch.row);
        subtract(scratch.both + r * scratch.row, down, down + kBlock, shifted);
    }
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
void emit(T* out, std::int64_t step, const float* sums, std::int64_t pixels, std::int64_t channels) {
    for (std::int64_t p = 0; p < pixels; ++p) {
        for (std::int64_t k = 0, v = 0; k < channels; k += Vf::kLanes, ++v) {
            const Vf value = load(sums + (p * kVectors + v) * Vf::kLanes);
            T* at = out + p * step + k;
            channels - k >= Vf::kLanes ? store(at, value) : store(at, value, static_cast<int>(channels - k));
        }
    }
}

// The 2 x 2 outputs of `pixels` neighbours, for at most two vectors of output channels.
template <class T>
void nine_products(const UpsampleTile& tile, const UpsampleScratch& scratch, const UpsampleStrip& strip, T* out,
                   Mutant mutant) {
    const Chain run = chain_of<kPixels>(strip.pixels, strip.channels > Vf::kLanes ? 2 : 1);
    float *start = scratch.sums, *column = start + kSums, *row = column + 2 * kSums, *total = row + kSums;
    const std::int64_t in_row = strip.row * scratch.row + strip.x * kBlock, c = tile.c, product = c * kPanel;
    for (std::int64_t p = 0; p < strip.pixels; ++p) {
        for (int v = 0; v < kVectors; ++v)
            store(start + (p * kVectors + v) * Vf::kLanes, load(strip.bias + v * Vf::kLanes));
    }
    const float* kernels = strip.kernels;
    chains(run, scratch, start, start, scratch.zeros, scratch.pixels + in_row + scratch.row + kBlock, kernels, c);
    for (int b = 0; b < 2; ++b) {
        const float* at = scratch.across + in_row + b * kBlock;
        chains(run, scratch, column + b * kSums, start, scratch.zeros, at, kernels + (1 + b) * product, c);
    }
    for (int a = 0; a < 2; ++a) {
        const float* above = scratch.down + in_row + a * scratch.row + kBlock;
        chains(run, scratch, row, scratch.zeros, scratch.zeros, above, kernels + (3 + a) * product, c);
        for (int b = 0; b < 2; ++b) {
            const std::int64_t y = 2 * (tile.y + strip.row) + (mutant.is(kRowPhasesExchanged) ? 1 - a : a);
            const std::int64_t x = 2 * (tile.x + strip.x) + (mutant.is(kColumnPhasesExchanged) ? 1 - b : b);
            const std::int64_t pixel = (tile.image * 2 * tile.h + y) * 2 * tile.w + x;
            T* to = out + pixel * tile.o + strip.channel;
            expect(to, 2 * tile.o, strip.pixels, strip.channels);
            const float* at = scratch.both + in_row + a * scratch.row + b * kBlock;
            chains(run, scratch, total, column + b * kSums, row, at, kernels + (5 + 2 * a + b) * product, c);
            emit(to, 2 * tile.o, total, strip.pixels, strip.channels);
        }
    }
}

// All strips of a tile for the panels of output channels from `tile.panel` to `tile.last_panel`; false where outputs that
// are not finite have to be computed again.
template <class T>
bool upsample_tile(T* out, const View<T>& in, const float* packed, const float* bias, const UpsampleTile& tile,
                   const UpsampleScratch& scratch, Mutant mutant) {
    const bool small = copy_pixels(tile, scratch, in, mutant);
    differences(tile, scratch);
    const std::int64_t strips = (tile.columns + kPixels - 1) / kPixels;
    const std::int64_t written = tile.o - (mutant.is(kLastOutputChannelDropped) ? 1 : 0);
    for (std::int64_t first = tile.panel * kPanel; first < tile.last_panel * kPanel && first < tile.o;
         first += kVectors * Vf::kLanes) {
        UpsampleStrip strip{};
        strip.channel = first;
        strip.channels = std::min<std::int64_t>(written - first, kVectors * Vf::kLanes);
        strip.bias = bias + first;
        strip.kernels = packed + first / kPanel * kProducts * tile.c * kPanel + first % kPanel;
        for (strip.row = 0; strip.row < tile.rows; ++strip.row) {
            for (std::int64_t i = 0; i < strips; ++i) {
                strip.x = tile.columns * i / strips;
                strip.pixels = tile.columns * (i + 1) / strips - strip.x;
                nine_products(tile, scratch, strip, out, mutant);
            }
        }
    }
    return small;
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
