// narrow_conv on the CPU. Versions: 1. lanes are pixels of planes that are copied a piece of the map at a time.
#include <memory>
#include <new>

#include "common/half.h"
#include "common/threads.h"
#include "narrow_conv/narrow_conv.h"

namespace eamfmeg {

// Units that are summed one after the other, for each column of the kernel.
constexpr std::int64_t kNarrowChain = 64;

// Output pixels that are computed together.
struct NarrowRegion {
    std::int64_t image, y, x, rows, columns;
};

// What a region sees, as planes: see copy_planes.
struct NarrowPlanes {
    float* at;
    std::int64_t units, pitch;
};

// Weights [k][unit][k][o], `o` floats of bias.
struct NarrowKernel {
    const float *weights, *bias;
    std::int64_t k, o;
};

}  // namespace eamfmeg

#define EAMFMEG_LOOPS_WITH_PAIRS
#define EAMFMEG_LOOPS "narrow_conv/narrow_conv_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

// The largest region, where it has room: what it sees should stay in a core's second cache.
constexpr std::int64_t kRegionRows = 32, kRegionColumns = 64, kRegionFloats = 5 << 15;
// A multiple of every block's pixels and of every vector.
constexpr std::int64_t kWidest = 32;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// How the work is cut: squares of height x width pixels, each of them `down` times `across` regions.
struct NarrowCut {
    const std::int32_t* tiles;
    std::int64_t squares, height, width, rows, columns, down, across, units, pitch;
};

NarrowCut cut_narrow(const View<char>& in, const std::int32_t* tiles, std::int64_t count, std::int64_t tile, std::int64_t k,
                     std::int64_t units) {
    NarrowCut cut{};
    cut.tiles = tiles;
    cut.squares = count < 0 ? in.n : count;
    cut.height = count < 0 ? in.h : tile;
    cut.width = count < 0 ? in.w : tile;
    cut.units = units;
    cut.columns = std::min(cut.width, kRegionColumns);
    cut.pitch = divide_up(divide_up(cut.columns, kWidest) * kWidest + k - 1, 16) * 16;
    const std::int64_t most = std::max<std::int64_t>(kRegionFloats / (units * cut.pitch) - (k - 1), 4) / 4 * 4;
    cut.rows = std::min({cut.height, kRegionRows, most});
    cut.down = divide_up(cut.height, cut.rows);
    cut.across = divide_up(cut.width, cut.columns);
    return cut;
}

NarrowRegion region_at(const NarrowCut& cut, std::int64_t h, std::int64_t w, std::int64_t item) {
    const std::int64_t across = item % cut.across, down = item / cut.across % cut.down;
    const std::int64_t square = item / cut.across / cut.down;
    NarrowRegion region{square, down * cut.rows, across * cut.columns, 0, 0};
    region.rows = std::min(cut.rows, cut.height - region.y);
    region.columns = std::min(cut.columns, cut.width - region.x);
    if (cut.tiles != nullptr) {
        const std::int64_t number = cut.tiles[square], columns = w / cut.width, rows = h / cut.height;
        region.image = number / columns / rows;
        region.y += number / columns % rows * cut.height;
        region.x += number % columns * cut.width;
    }
    return region;
}

// The kernels as floats, [k][c][k][o], from pairs; or with a planted fault. `of` channels stand together.
template <class W>
void rewrite(float* to, const W* packed, std::int64_t k, std::int64_t c, std::int64_t o, std::int64_t of, Mutant mutant) {
    const std::int64_t groups = divide_up(c, of);
    for (std::int64_t i = 0; i < k * c * k * o; ++i) {
        const std::int64_t x = i / o % k, channel = i / o / k % c, y = i / o / k / c;
        std::int64_t row = mutant.is(kNarrowKernelTransposed) ? x : y, column = mutant.is(kNarrowKernelTransposed) ? y : x;
        if (mutant.is(kNarrowKernelReversed)) row = k - 1 - row, column = k - 1 - column;
        to[i] = to_float(packed[(((row * groups + channel / of) * k + column) * o + i % o) * of + channel % of]);
    }
}

// One region for each item, shared out among threads, each with its own planes.
template <class T>
int run_regions(float* out, const View<T>& in, const NarrowKernel& kernel, const NarrowCut& cut, bool pairs) {
    const Mutant mutant = current_mutant();
    const std::int64_t items = cut.squares * cut.down * cut.across;
    const std::int64_t each = (cut.rows + kernel.k - 1) * cut.units * cut.pitch;
    const int team = team_for(cut.squares * cut.height * cut.width * in.c * kernel.o * kernel.k * kernel.k);
    const int threads = static_cast<int>(std::min<std::int64_t>(team, items));
    // An exception has no way out of a parallel region, nor out of a C function.
    const std::unique_ptr<float[]> memory(new (std::nothrow) float[each * threads + 16]);
    if (!memory) return kTooLarge;
    const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(memory.get()) % 64;
    float* first = memory.get() + (past ? (64 - past) / sizeof(float) : 0);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t item = 0; item < items; ++item) {
        const NarrowRegion region = region_at(cut, in.h, in.w, item);
        const NarrowPlanes planes{first + member() * each, cut.units, cut.pitch};
#ifdef EAMFMEG_COMPILED_PAIRS
        if constexpr (std::is_same_v<T, BFloat16>) {
            if (pairs) {
                avx512_pairs::narrow_piece(out, in, kernel, region, planes, mutant);
                continue;
            }
        }
#endif
        EAMFMEG_RUN(narrow_piece(out, in, kernel, region, planes, mutant));
    }
    static_cast<void>(pairs);
    return kOk;
}

template <class T>
int run(float* out, const View<char>& in, const void* packed, NarrowKernel kernel, const std::int32_t* tiles,
        std::int64_t count, std::int64_t tile) {
    View<T> typed{
        reinterpret_cast<const T*>(in.data), in.n, in.h, in.w, in.c, in.stride_n, in.stride_h, in.stride_w, in.stride_c};
    const Mutant mutant = current_mutant();
    if (mutant.is(kNarrowBatchStrideIgnored)) typed.stride_n = 0;
    constexpr bool kHalves = std::is_same_v<T, BFloat16>;
    const bool faulty = mutant.is(kNarrowKernelTransposed) || mutant.is(kNarrowKernelReversed);
    const bool pairs = kHalves && has_pairs() && !faulty;
    std::unique_ptr<float[]> copy;
    kernel.weights = static_cast<const float*>(packed);
    if ((kHalves && !pairs) || faulty) {
        copy.reset(new (std::nothrow) float[kernel.k * in.c * kernel.k * kernel.o]);
        if (!copy) return kTooLarge;
        rewrite(copy.get(), static_cast<const T*>(packed), kernel.k, in.c, kernel.o, kHalves ? 2 : 1, mutant);
        kernel.weights = copy.get();
    }
    const NarrowCut cut = cut_narrow(in, tiles, count, tile, kernel.k, pairs ? divide_up(in.c, 2) : in.c);
    return run_regions(out, typed, kernel, cut, pairs);
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_narrow_conv_cpu(float* out, const void* features, std::int64_t n, std::int64_t h, std::int64_t w,
                                       std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                       std::int64_t stride_c, const void* packed, std::int64_t k, std::int64_t o,
                                       const float* bias, const std::int32_t* tiles, std::int64_t count, std::int64_t tile,
                                       std::int64_t dtype) {
    using namespace eamfmeg;
    const View<char> in{static_cast<const char*>(features), n, h, w, c, stride_n, stride_h, stride_w, stride_c};
    const Mutant mutant = current_mutant();
    float starts[kMostNarrowChannels] = {};
    if (o < 1 || o > kMostNarrowChannels) return kTooLarge;
    for (std::int64_t i = 0; bias != nullptr && i < o && !mutant.is(kNarrowBiasDropped); ++i)
        starts[i] = bias[mutant.is(kNarrowBiasOfTheFirst) ? 0 : i];
    if (in.elements() == 0 || count == 0) return kOk;
    const NarrowKernel kernel{nullptr, starts, k, o};
    int status = kBadType;
    if (dtype == kFloat32) status = run<float>(out, in, packed, kernel, tiles, count, tile);
    if (dtype == kBFloat16) status = run<BFloat16>(out, in, packed, kernel, tiles, count, tile);
    if (mutant.is(kNarrowOneBeyondTheEnd)) out[n * h * w * o] = 0.0f;
    return status;
}
