// upsample_conv on the CPU. Versions: 1. four 2x2 kernels' worth of work in nine products of register-blocked strips.
//
// The map is cut into tiles whose pixels and differences, as float32, stay in a core's second cache while all kernels
// stream past them. A strip of pixels then takes nine chains of fused multiply-adds for its 2 x 2 outputs.
#include <memory>
#include <new>

#include "common/half.h"
#include "common/threads.h"
#include "upsample_conv/upsample_conv.h"

namespace eamfmeg {

// Input channels that lie side by side in the private copy: a multiple of every vector.
constexpr std::int64_t kBlock = 16;

// What one thread does at a time: rows x columns input pixels from (x, y) of one image, panels of output channels.
struct UpsampleTile {
    std::int64_t image, y, x, rows, columns, panel, last_panel;
    std::int64_t h, w, c, o;
};

// Neighbouring pixels from (x, row) of a tile, and `channels` output channels from `channel` on.
struct UpsampleStrip {
    std::int64_t row, x, pixels, channel, channels;
    const float *bias, *kernels;
};

// One thread's memory. The first four are [row][16-channel block][column][16], with strides `row` and `step`: the pixels
// from one above and left of the tile to one below and right of it, and left minus right, upper minus lower, both. The
// strides are the tile's own, so that no loop reads what was not written.
struct UpsampleScratch {
    float *pixels, *across, *down, *both, *sums, *zeros;
    std::int64_t row, step, channels;
};

}  // namespace eamfmeg

#define EAMFMEG_LOOPS "upsample_conv/upsample_conv_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

// Floats of a tile's pixels.
constexpr std::int64_t kTileFloats = 1 << 15;
// Three of the widest strips; a tile is then about square, which keeps its border small.
constexpr std::int64_t kTileColumns = 42;
// Six sets of sums and one of zeros, each at most 14 x 2 x 16.
constexpr std::int64_t kMostSums = 14 * 2 * 16;
// With fewer tiles than this the output channels are shared out too.
constexpr std::int64_t kEnoughTiles = 8;

struct Kernels {
    const void* data;
    std::int64_t o, c, stride_o, stride_c, stride_y, stride_x;
};

template <class T>
float kernel_at(const Kernels& k, std::int64_t o, std::int64_t c, int y, int x) {
    return to_float(static_cast<const T*>(k.data)[o * k.stride_o + c * k.stride_c + y * k.stride_y + x * k.stride_x]);
}

// Sums the kernels from input channels `first` to `last` of output channel `o` into lane `lane` of a panel.
template <class T>
void pack_lane(float* panel, const Kernels& kernels, std::int64_t o, std::int64_t lane, std::int64_t first,
               std::int64_t last, Mutant mutant) {
    for (std::int64_t c = first; c < last; ++c) {
        float taps[9] = {}, factors[kProducts];
        for (int t = 0; t < 9 && o < kernels.o; ++t)
            taps[t] = mutant.is(kKernelTransposed) ? kernel_at<T>(kernels, o, c, t % 3, t / 3)
                                                   : kernel_at<T>(kernels, o, c, t / 3, t % 3);
        product_factors(taps, factors, mutant);
        for (int t = 0; t < kProducts; ++t) panel[(t * kernels.c + c) * kPanel + lane] = factors[t];
    }
}

template <class T>
int pack(float* packed, const Kernels& kernels, Mutant mutant) {
    const std::int64_t panels = (kernels.o + kPanel - 1) / kPanel;
#pragma omp parallel for schedule(static) if (kernels.o * kernels.c * kProducts >= kWorthATeam)
    for (std::int64_t panel = 0; panel < panels; ++panel) {
        float* to = packed + panel * kProducts * kernels.c * kPanel;
        // A block of channels at a time: what 32 lanes write between them, in turns, then stays in the first cache.
        for (std::int64_t c = 0; c < kernels.c; c += kBlock) {
            const std::int64_t last = std::min(c + kBlock, kernels.c);
            for (std::int64_t i = 0; i < kPanel; ++i) pack_lane<T>(to, kernels, panel * kPanel + i, i, c, last, mutant);
        }
    }
    return kOk;
}

// How the work is cut: the same for any number of threads.
struct Cut {
    std::int64_t rows, columns, down, across, groups, panels;
};

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

template <class T>
Cut cut_map(const View<T>& in, std::int64_t o) {
    const std::int64_t pixels = std::max<std::int64_t>(kTileFloats / (divide_up(in.c, kBlock) * kBlock), 14);
    Cut cut{};
    cut.across = divide_up(in.w, std::min(pixels, kTileColumns));
    cut.columns = divide_up(in.w, cut.across);
    cut.down = divide_up(in.h, std::max<std::int64_t>(pixels / cut.columns, 1));
    cut.rows = divide_up(in.h, cut.down);
    cut.panels = divide_up(o, kPanel);
    const std::int64_t tiles = in.n * cut.down * cut.across;
    cut.groups = std::min(cut.panels, divide_up(kEnoughTiles, tiles));
    return cut;
}

template <class T>
UpsampleTile tile_at(const View<T>& in, std::int64_t o, const Cut& cut, std::int64_t item) {
    UpsampleTile tile{};
    const std::int64_t group = item % cut.groups, x = item / cut.groups % cut.across;
    const std::int64_t row = item / cut.groups / cut.across;
    tile.image = row / cut.down;
    tile.y = row % cut.down * cut.rows;
    tile.x = x * cut.columns;
    // Rounding up may leave nothing for the last ones.
    tile.rows = std::max<std::int64_t>(std::min(cut.rows, in.h - tile.y), 0);
    tile.columns = std::max<std::int64_t>(std::min(cut.columns, in.w - tile.x), 0);
    tile.panel = cut.panels * group / cut.groups;
    tile.last_panel = cut.panels * (group + 1) / cut.groups;
    tile.h = in.h, tile.w = in.w, tile.c = in.c, tile.o = o;
    return tile;
}

// What the largest tile needs: a multiple of 64 bytes.
std::int64_t scratch_floats(const Cut& cut, std::int64_t c) {
    const std::int64_t row = divide_up(c, kBlock) * (cut.columns + 2) * kBlock;
    return (4 * cut.rows + 4) * row + 6 * kMostSums;
}

// The scratch of one tile in the memory of its thread.
UpsampleScratch scratch_at(float* memory, const UpsampleTile& tile) {
    UpsampleScratch s{};
    s.step = (tile.columns + 2) * kBlock;
    s.row = divide_up(tile.c, kBlock) * s.step;
    s.channels = divide_up(tile.c, kBlock) * kBlock;
    s.sums = memory;
    s.zeros = s.sums + 5 * kMostSums;
    s.pixels = s.zeros + kMostSums;
    s.across = s.pixels + (tile.rows + 2) * s.row;
    s.down = s.across + tile.rows * s.row;
    s.both = s.down + (tile.rows + 1) * s.row;
    std::fill(s.zeros, s.zeros + kMostSums, 0.0f);
    return s;
}

// One output by the definition; y and x count output pixels.
template <class T>
float by_definition(const View<T>& in, const Kernels& kernels, std::int64_t image, std::int64_t y, std::int64_t x,
                    std::int64_t o) {
    float total = 0.0f;
    for (int t = 0; t < 9; ++t) {
        const std::int64_t v = y + t / 3 - 1, u = x + t % 3 - 1;
        if (v < 0 || v >= 2 * in.h || u < 0 || u >= 2 * in.w) continue;
        const T* at = in.at(image, v / 2, u / 2);
        // A NaN stays one: a map full of them must not take a thousand times as long.
        for (std::int64_t c = 0; c < in.c && !std::isnan(total); ++c)
            total += to_float(at[c * in.stride_c]) * kernel_at<T>(kernels, o, c, t / 3, t % 3);
    }
    return total;
}

// Infinite and huge features make differences that are not numbers: what came of them is computed again.
template <class T>
void repair(T* out, const View<T>& in, const Kernels& kernels, const float* bias, const UpsampleTile& tile) {
    for (std::int64_t y = 2 * tile.y; y < 2 * (tile.y + tile.rows); ++y) {
        for (std::int64_t x = 2 * tile.x; x < 2 * (tile.x + tile.columns); ++x) {
            T* at = out + ((tile.image * 2 * in.h + y) * 2 * in.w + x) * tile.o;
            for (std::int64_t o = tile.panel * kPanel; o < std::min(tile.last_panel * kPanel, tile.o); ++o) {
                if (!std::isfinite(to_float(at[o])))
                    from_float(by_definition(in, kernels, tile.image, y, x, o) + bias[o], at[o]);
            }
        }
    }
}

// All items, shared out among threads with `each` floats of `memory` for one.
template <class T>
void run_items(T* out, const View<T>& in, const Kernels& kernels, const float* packed, const float* bias, const Cut& cut,
               float* memory, std::int64_t each, int threads) {
    const Mutant mutant = current_mutant();
    const std::int64_t items = in.n * cut.down * cut.across * cut.groups;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t item = 0; item < items; ++item) {
        const UpsampleTile tile = tile_at(in, kernels.o, cut, item);
        const UpsampleScratch scratch = scratch_at(memory + member() * each, tile);
        const bool finite = EAMFMEG_RUN(upsample_tile(out, in, packed, bias, tile, scratch, mutant));
        if (!finite) repair(out, in, kernels, bias, tile);
    }
}

template <class T>
int run(void* out, const View<char>& in, const Kernels& kernels, const float* packed, const void* bias,
        std::int64_t stride) {
    const View<T> typed{
        reinterpret_cast<const T*>(in.data), in.n, in.h, in.w, in.c, in.stride_n, in.stride_h, in.stride_w, in.stride_c};
    if (typed.elements() == 0 || kernels.o == 0) return kOk;
    const Mutant mutant = current_mutant();
    const Cut cut = cut_map(typed, kernels.o);
    const std::int64_t items = in.n * cut.down * cut.across * cut.groups, each = scratch_floats(cut, in.c);
    const int team = team_for(in.elements() * kernels.o * kProducts);
    const int threads = static_cast<int>(std::min<std::int64_t>(team, items));
    // An exception has no way out of a parallel region, nor out of a C function.
    const std::unique_ptr<float[]> starts(new (std::nothrow) float[cut.panels * kPanel]());
    const std::unique_ptr<float[]> memory(new (std::nothrow) float[each * threads + kBlock]);
    if (!starts || !memory) return kTooLarge;
    const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(memory.get()) % 64;
    float* first = memory.get() + (past ? (64 - past) / sizeof(float) : 0);
    for (std::int64_t o = 0; bias != nullptr && o < kernels.o && !mutant.is(kBiasDropped); ++o)
        starts[o] = to_float(static_cast<const T*>(bias)[o * stride]);
    T* to = static_cast<T*>(out);
    run_items(to, typed, kernels, packed, starts.get(), cut, first, each, threads);
    if (mutant.is(kUpsampleOneBeyondTheEnd)) to[4 * in.n * in.h * in.w * kernels.o] = T{};
    return kOk;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_upsample_conv_pack_cpu(float* packed, const void* weight, std::int64_t o, std::int64_t c,
                                              std::int64_t stride_o, std::int64_t stride_c, std::int64_t stride_y,
                                              std::int64_t stride_x, std::int64_t dtype) {
    using namespace eamfmeg;
    const Kernels kernels{weight, o, c, stride_o, stride_c, stride_y, stride_x};
    switch (dtype) {
        case kFloat32: return pack<float>(packed, kernels, current_mutant());
        case kFloat16: return pack<Half>(packed, kernels, current_mutant());
        case kBFloat16: return pack<BFloat16>(packed, kernels, current_mutant());
        default: return kBadType;
    }
}

extern "C" int eamfmeg_upsample_conv_cpu(void* out, const void* features, std::int64_t n, std::int64_t h, std::int64_t w,
                                         std::int64_t c, std::int64_t stride_n, std::int64_t stride_h,
                                         std::int64_t stride_w, std::int64_t stride_c, const float* packed,
                                         const void* weight, std::int64_t o, std::int64_t weight_stride_o,
                                         std::int64_t weight_stride_c, std::int64_t weight_stride_y,
                                         std::int64_t weight_stride_x, const void* bias, std::int64_t stride_bias,
                                         std::int64_t dtype) {
    using namespace eamfmeg;
    const View<char> in{static_cast<const char*>(features), n, h, w, c, stride_n, stride_h, stride_w, stride_c};
    const Kernels kernels{weight, o, c, weight_stride_o, weight_stride_c, weight_stride_y, weight_stride_x};
    switch (dtype) {
        case kFloat32: return run<float>(out, in, kernels, packed, bias, stride_bias);
        case kFloat16: return run<Half>(out, in, kernels, packed, bias, stride_bias);
        case kBFloat16: return run<BFloat16>(out, in, kernels, packed, bias, stride_bias);
        default: return kBadType;
    }
}
