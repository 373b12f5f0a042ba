// upsample_conv on the CPU. Versions: 1. four 2x2 kernels' worth of work in nine products of register-blocked strips.
// 2. products of bfloat16 pairs; strips share the kernels of a few channels while these are in the first cache.
//
// The map is cut into tiles whose pixels and differences stay in a core's second cache while all kernels stream past them.
// A strip of pixels then takes nine chains of fused multiply-adds for its 2 x 2 outputs.
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "upsample_conv/upsample_conv_kernels.h"

namespace eamfmeg {

// Words, of input channels, that lie side by side in the private copies: a multiple of every vector.
constexpr std::int64_t kBlock = 16;
// Strips that meet the same kernels one after the other, and the sets of sums of each.
constexpr std::int64_t kTogether = 4, kSets = 6;

// What one thread does at a time: rows x columns input pixels from (x, y) of one image, panels of output channels. Output
// pixels are `stride` apart.
struct UpsampleTile {
    std::int64_t image, y, x, rows, columns, panel, last_panel;
    std::int64_t h, w, c, o, stride;
    bool relu;
};

// Neighbouring pixels from (x, row) of a tile, which is position `at` of it, and `channels` output channels from
// `channel` on.
struct UpsampleStrip {
    std::int64_t at, row, x, pixels, channel, channels;
    const float *bias, *kernels;
};

// One thread's memory. Beside the sums, each is [block][position][16], blocks `step` apart: the positions are row by row
// those of the tile and a border of one. The pixels, the same as the products take them, and here minus right, here minus
// below, both.
struct UpsampleScratch {
    float *sums, *pixels, *centre, *across, *down, *both;
    std::int64_t step, channels;
};

}  // namespace eamfmeg

#define EAMFMEG_LOOPS_WITH_PAIRS
#define EAMFMEG_LOOPS "upsample_conv/upsample_conv_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

// Floats of a tile's pixels.
constexpr std::int64_t kTileFloats = 1 << 15;
// Three of the widest strips; a tile is then about square, which keeps its border small.
constexpr std::int64_t kTileColumns = 42;
// One set of sums.
constexpr std::int64_t kMostSums = 28 * 16;
// With fewer tiles than this the output channels are shared out too.
constexpr std::int64_t kEnoughTiles = 8;

// Everything a call was given.
struct Call {
    void* out;
    std::int64_t out_stride, out_type;
    Kernels kernels;
    const float *packed, *bias;
    std::int64_t products;
    bool relu;
    const std::int32_t* squares;
    std::int64_t count, side;
};

// How the work is cut: the same for any number of threads. Without a list of squares the whole map is one.
struct Cut {
    std::int64_t rows, columns, down, across, groups, panels, height, width, items;
};

template <class T>
Cut cut_map(const View<T>& in, const Call& call) {
    const std::int64_t pixels = std::max<std::int64_t>(kTileFloats / (divide_up(in.c, kBlock) * kBlock), 14);
    Cut cut{};
    cut.height = call.side > 0 ? call.side : in.h;
    cut.width = call.side > 0 ? call.side : in.w;
    // Where strips are twice as wide, one of them.
    const std::int64_t columns = call.kernels.o <= kPanel / 2 ? kTileColumns * 2 / 3 : kTileColumns;
    cut.across = divide_up(cut.width, std::min(pixels, columns));
    cut.columns = divide_up(cut.width, cut.across);
    cut.down = divide_up(cut.height, std::max<std::int64_t>(pixels / cut.columns, 1));
    cut.rows = divide_up(cut.height, cut.down);
    cut.panels = divide_up(call.kernels.o, kPanel);
    const std::int64_t tiles = (call.side > 0 ? call.count : in.n) * cut.down * cut.across;
    cut.groups = tiles > 0 ? std::min(cut.panels, divide_up(kEnoughTiles, tiles)) : 1;
    cut.items = tiles * cut.groups;
    return cut;
}

template <class T>
UpsampleTile tile_at(const View<T>& in, const Call& call, const Cut& cut, std::int64_t item) {
    UpsampleTile tile{};
    const std::int64_t group = item % cut.groups, x = item / cut.groups % cut.across * cut.columns;
    const std::int64_t row = item / cut.groups / cut.across, y = row % cut.down * cut.rows;
    tile.image = row / cut.down;
    // Rounding up may leave nothing for the last ones.
    tile.rows = std::max<std::int64_t>(std::min(cut.rows, cut.height - y), 0);
    tile.columns = std::max<std::int64_t>(std::min(cut.columns, cut.width - x), 0);
    if (call.side > 0) {
        const std::int64_t square = call.squares[row / cut.down], across = in.w / call.side, down = in.h / call.side;
        tile.image = square / across / down;
        tile.y = square / across % down * call.side;
        tile.x = current_mutant().is(kTileColumnForgotten) ? 0 : square % across * call.side;
    }
    tile.y += y, tile.x += x;
    tile.panel = cut.panels * group / cut.groups;
    tile.last_panel = cut.panels * (group + 1) / cut.groups;
    tile.h = in.h, tile.w = in.w, tile.c = in.c, tile.o = call.kernels.o, tile.stride = call.out_stride;
    if (current_mutant().is(kOutStrideIgnored)) tile.stride = tile.o;
    tile.relu = call.relu;
    return tile;
}

// What the largest tile needs: a multiple of 64 bytes.
std::int64_t scratch_floats(const Cut& cut, std::int64_t c) {
    return 5 * divide_up(c, kBlock) * (cut.rows + 2) * (cut.columns + 2) * kBlock + kTogether * kSets * kMostSums;
}

// The scratch of one tile in the memory of its thread.
UpsampleScratch scratch_at(float* memory, const UpsampleTile& tile, std::int64_t products) {
    UpsampleScratch s{};
    s.step = (tile.rows + 2) * (tile.columns + 2) * kBlock;
    s.channels = divide_up(tile.c, kBlock) * kBlock;
    const std::int64_t all = s.channels / kBlock * s.step;
    s.sums = memory;
    s.pixels = s.sums + kTogether * kSets * kMostSums;
    s.across = s.pixels + all;
    s.down = s.across + all;
    s.both = s.down + all;
    s.centre = products == kFloat32 ? s.pixels : s.both + all;
    return s;
}

// Infinite and huge features make differences that are not numbers: what came of them is computed again.
template <class T, class O>
void repair(O* out, const View<T>& in, const Call& call, const UpsampleTile& tile) {
    const std::int64_t first = tile.panel * kPanel, last = std::min(tile.last_panel * kPanel, tile.o);
    for (std::int64_t i = 0; i < 4 * tile.rows * tile.columns; ++i) {
        const std::int64_t y = 2 * tile.y + i / (2 * tile.columns), x = 2 * tile.x + i % (2 * tile.columns);
        O* at = out + ((tile.image * 2 * in.h + y) * 2 * in.w + x) * tile.stride;
        const bool all_finite = std::all_of(at + first, at + last, [](O value) { return std::isfinite(to_float(value)); });
        // Only what an output sees may decide: the same in any tile.
        const bool again = !all_finite && sees_large(in, tile.image, y / 2, x / 2);
        for (std::int64_t o = first; o < last; ++o) {
            if (again && !std::isfinite(to_float(at[o])))
                from_float(by_definition(in, call.kernels, tile.image, y, x, o) + call.bias[o], at[o]);
            if (call.relu && to_float(at[o]) < 0.0f) at[o] = O{};
        }
    }
}

template <class T, class O>
void run_tile(O* out, const View<T>& in, const Call& call, UpsampleTile tile, float* memory) {
    const Mutant mutant = current_mutant();
    const UpsampleScratch scratch = scratch_at(memory, tile, call.products);
    const bool pairs = call.products == kBFloat16, own = has_pairs();
    const bool small = pairs ? EAMFMEG_RUN_PAIRS(own, prepare<true>(tile, scratch, in, mutant))
                             : EAMFMEG_RUN(prepare<false>(tile, scratch, in, mutant));
    // Without the kernels themselves nothing can be computed again. Minus infinity must be seen.
    const bool again = !small && call.kernels.data != nullptr;
    tile.relu = tile.relu && !again;
    pairs ? EAMFMEG_RUN_PAIRS(own, multiply_tile<true>(out, call.packed, call.bias, tile, scratch, mutant))
          : EAMFMEG_RUN(multiply_tile<false>(out, call.packed, call.bias, tile, scratch, mutant));
    if (again) repair(out, in, call, tile);
}

template <class T, class O>
int run_typed(const View<char>& in, const Call& call) {
    const View<T> typed{
        reinterpret_cast<const T*>(in.data), in.n, in.h, in.w, in.c, in.stride_n, in.stride_h, in.stride_w, in.stride_c};
    const Cut cut = cut_map(typed, call);
    const std::int64_t each = scratch_floats(cut, in.c);
    const std::int64_t pixels = cut.items / cut.groups * cut.rows * cut.columns;
    const int threads =
        static_cast<int>(std::min<std::int64_t>(team_for(pixels * in.c * call.kernels.o * kProducts), cut.items));
    // An exception has no way out of a parallel region, nor out of a C function.
    const std::unique_ptr<float[]> memory(new (std::nothrow) float[each * threads + kBlock]);
    if (!memory) return kTooLarge;
    const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(memory.get()) % 64;
    float* first = memory.get() + (past ? (64 - past) / sizeof(float) : 0);
    O* out = static_cast<O*>(call.out);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t item = 0; item < cut.items; ++item) {
        const UpsampleTile tile = tile_at(typed, call, cut, item);
        if (tile.rows > 0 && tile.columns > 0) run_tile(out, typed, call, tile, first + member() * each);
    }
    if (current_mutant().is(kUpsampleOneBeyondTheEnd))
        out[(4 * in.n * in.h * in.w - 1) * call.out_stride + call.kernels.o] = O{};
    return kOk;
}

template <class T>
int run_features(const View<char>& in, const Call& call) {
    if constexpr (!std::is_same_v<T, Half>) {
        switch (call.out_type) {
            case kFloat32: return run_typed<T, float>(in, call);
            case kBFloat16: return run_typed<T, BFloat16>(in, call);
            default: return kBadType;
        }
    } else {
        return call.out_type == kFloat16 ? run_typed<Half, Half>(in, call) : kBadType;
    }
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_upsample_conv_pack_cpu(float* packed, const void* weight, std::int64_t o, std::int64_t c,
                                              std::int64_t stride_o, std::int64_t stride_c, std::int64_t stride_y,
                                              std::int64_t stride_x, std::int64_t dtype, std::int64_t products) {
    using namespace eamfmeg;
    if (!is_float(dtype)) return kBadType;
    const Kernels kernels{weight, o, c, stride_o, stride_c, stride_y, stride_x, dtype};
    const Mutant mutant = current_mutant();
    const std::int64_t panels = divide_up(o, kPanel), each = channels_in_word(products), words = divide_up(c, each);
#pragma omp parallel for schedule(static) if (o * c * kProducts >= kWorthATeam)
    for (std::int64_t panel = 0; panel < panels; ++panel) {
        float* to = packed + panel * kProducts * words * kPanel;
        // A block of channels at a time: what 32 lanes write between them, in turns, then stays in the first cache.
        for (std::int64_t k = 0; k < words * each; k += kBlock) {
            const std::int64_t last = std::min(k + kBlock, words * each);
            for (std::int64_t i = 0; i < kPanel; ++i)
                pack_lane(to, kernels, products, panel * kPanel + i, i, k, last, mutant);
        }
    }
    return kOk;
}

extern "C" int eamfmeg_upsample_conv_cpu(void* out, std::int64_t out_stride, std::int64_t out_type, const void* features,
                                         std::int64_t feature_type, std::int64_t n, std::int64_t h, std::int64_t w,
                                         std::int64_t c, std::int64_t stride_n, std::int64_t stride_h,
                                         std::int64_t stride_w, std::int64_t stride_c, const float* packed,
                                         std::int64_t products, const void* weight, std::int64_t weight_type,
                                         std::int64_t o, std::int64_t weight_stride_o, std::int64_t weight_stride_c,
                                         std::int64_t weight_stride_y, std::int64_t weight_stride_x, const void* bias,
                                         std::int64_t bias_type, std::int64_t stride_bias, std::int64_t relu,
                                         const std::int32_t* tiles, std::int64_t count, std::int64_t tile) {
    using namespace eamfmeg;
    const View<char> in{static_cast<const char*>(features), n, h, w, c, stride_n, stride_h, stride_w, stride_c};
    const Kernels kernels{weight, o, c, weight_stride_o, weight_stride_c, weight_stride_y, weight_stride_x, weight_type};
    if (!is_float(weight_type) || (products != kFloat32 && products != kBFloat16)) return kBadType;
    if (in.elements() == 0 || o == 0 || count == 0) return kOk;
    const std::int64_t starts = divide_up(o, kPanel) * kPanel;
    const std::unique_ptr<float[]> start(new (std::nothrow) float[starts]());
    if (!start) return kTooLarge;
    for (std::int64_t i = 0; bias != nullptr && i < o && !current_mutant().is(kBiasDropped); ++i)
        start[i] = element(bias, i * stride_bias, bias_type);
    const bool rectified = relu != 0 && !current_mutant().is(kReluDropped);
    const std::int64_t side = count < 0 ? 0 : tile;
    const Call call{out, out_stride, out_type, kernels, packed, start.get(), products, rectified, tiles, count, side};
    switch (feature_type) {
        case kFloat32: return run_features<float>(in, call);
        case kFloat16: return run_features<Half>(in, call);
        case kBFloat16: return run_features<BFloat16>(in, call);
        default: return kBadType;
    }
}
