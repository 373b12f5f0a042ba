// conv3x3 on the CPU. Versions: 1. three phases over a chunk of tiles: inputs, 36 matrix products, outputs.
//
// Kernels stream past once for each chunk, so a chunk is as large as the scratch allows. A frequency's tiles, kernels and
// products stay in a core's second cache while they are multiplied. Every sum is taken by one thread, over the channels in
// order.
#include "common/half.h"
#include "common/threads.h"
#include "conv3x3/conv3x3.h"

namespace eamfmeg {

// One call; `lines` of 16 words hold a tile's channels, `panels` of 32 the output channels. `across` and `down` count the
// tiles of 4 x 4 outputs; `square` is the tiles along a square of the list.
struct Conv3x3 {
    const float *features, *bias, *scale, *shift, *residual;
    float* out;
    const void* packed;
    std::int64_t n, h, w, c, o, lines, panels, across, down, square;
    const std::int32_t* tiles;
    bool relu;
    Mutant mutant;
};

// The upper left output of a tile.
struct Conv3x3Tile {
    std::int64_t image, y, x;
};

// Tiles taken together. `v` is [36, `v_step` apart][strip][line][tile][16 words], `m` is [36, `m_step`
// apart][panel][tile][32].
struct Conv3x3Chunk {
    std::int64_t first, tiles, v_step, m_step;
    void* v;
    float* m;
};

inline Conv3x3Tile tile_at(const Conv3x3& call, std::int64_t t) {
    if (call.tiles == nullptr) return {t / call.across / call.down, t / call.across % call.down * 4, t % call.across * 4};
    const std::int64_t side = 4 * call.square, of = call.square * call.square;
    const std::int64_t square = call.tiles[t / of], columns = call.w / side, rows = call.h / side;
    const std::int64_t y = square / columns % rows * call.square + t % of / call.square;
    return {square / columns / rows, 4 * y, 4 * (square % columns * call.square + t % call.square)};
}

}  // namespace eamfmeg

#define EAMFMEG_LOOPS_WITH_PAIRS
#define EAMFMEG_LOOPS "conv3x3/conv3x3_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// Floats from one frequency to the next: an odd number of lines, so that the 36 of a tile spread over a cache.
std::int64_t step_of(std::int64_t floats) {
    return (floats / kWords | 1) * kWords;
}

template <class T>
int pack(T* packed, const float* weight, std::int64_t o, std::int64_t c, Mutant mutant) {
    constexpr std::int64_t kPer = sizeof(float) / sizeof(T);
    const std::int64_t panels = divide_up(o, kConvPanel), channels = divide_up(c, kWords * kPer) * kWords * kPer;
#pragma omp parallel for schedule(static) if (o * c * kFrequencies >= kWorthATeam)
    for (std::int64_t item = 0; item < panels * channels; ++item) {
        const std::int64_t panel = item / channels, k = item % channels;
        for (std::int64_t lane = 0; lane < kConvPanel; ++lane) {
            const std::int64_t i = panel * kConvPanel + lane;
            double g[9] = {}, u[kFrequencies];
            for (int tap = 0; tap < 9 && i < o && k < c; ++tap) {
                const int at = mutant.is(kConvKernelTransposed) ? tap % 3 * 3 + tap / 3 : tap;
                g[at] = weight[(i * c + k) * 9 + tap];
            }
            transform_kernel(g, u);
            for (std::int64_t f = 0; f < kFrequencies; ++f) {
                T* to = packed + (f * panels + panel) * channels * kConvPanel;
                from_float(static_cast<float>(u[f]), to[(k / kPer * kConvPanel + lane) * kPer + k % kPer]);
            }
        }
    }
    return kOk;
}

// With so many tiles for each, threads take tiles of their own and wait for nobody. With fewer, they share every phase, so
// that each reads only its part of the kernels.
constexpr std::int64_t kOwnTiles = 48;

template <class T>
void run_chunk(const Conv3x3& call, const Conv3x3Chunk& chunk, bool pairs, bool apart) {
    const int me = apart ? 0 : member(), of = apart ? 1 : team();
    for (int phase = 0; phase < 3; ++phase) {
        EAMFMEG_RUN_PAIRS(pairs, conv3x3_phase<T>(call, chunk, phase, me, of));
        if (!apart) {
#pragma omp barrier
        }
    }
}

// Tiles from `first` to `last`, at most `most` at a time.
template <class T>
void run_tiles(const Conv3x3& call, std::int64_t first, std::int64_t last, float* memory, std::int64_t most, bool pairs,
               bool apart) {
    constexpr std::int64_t kPer = sizeof(float) / sizeof(T);
    const std::int64_t each = EAMFMEG_RUN_PAIRS(pairs, conv3x3_strip<T>());
    const std::int64_t tiles = last - first, chunks = divide_up(tiles, most);
    const std::int64_t v_step = step_of(divide_up(most, each) * each * call.lines * kWords);
    for (std::int64_t i = 0; i < chunks; ++i) {
        Conv3x3Chunk chunk{};
        chunk.first = first + tiles * i / chunks;
        chunk.tiles = first + tiles * (i + 1) / chunks - chunk.first;
        chunk.v_step = v_step * kPer;
        chunk.m_step = step_of(most * call.panels * kConvPanel);
        chunk.v = memory;
        chunk.m = memory + kFrequencies * v_step;
        run_chunk<T>(call, chunk, pairs, apart);
    }
}

template <class T>
int run(const Conv3x3& call, std::int64_t tiles, float* scratch, std::int64_t floats, bool pairs) {
    const std::int64_t each = EAMFMEG_RUN_PAIRS(pairs, conv3x3_strip<T>());
    const std::int64_t strip = each * (call.lines * kWords + call.panels * kConvPanel);
    const int threads = team_for(tiles * kFrequencies * call.c * call.o);
    // A whole number of strips fits; what is left over is the two odd lines of each frequency.
    const auto strips_in = [&](std::int64_t share) { return (share / kFrequencies - 2 * kWords) / strip; };
    const std::int64_t share = floats / threads / kWords * kWords;
    const bool apart = tiles >= threads * kOwnTiles && strips_in(share) > 0;
    const std::int64_t most = std::min(strips_in(apart ? share : floats) * each, tiles);
    if (most < 1) return kTooLarge;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const std::int64_t me = apart ? member() : 0, of = apart ? team() : 1;
        run_tiles<T>(call, tiles * me / of, tiles * (me + 1) / of, scratch + me * share, most, pairs, apart);
    }
    if (call.mutant.is(kConvOneBeyondTheEnd)) call.out[call.n * call.h * call.w * call.o] = 0.0f;
    return kOk;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_conv3x3_pack_cpu(void* packed, const float* weight, std::int64_t o, std::int64_t c,
                                        std::int64_t products) {
    using namespace eamfmeg;
    switch (products) {
        case kFloat32: return pack(static_cast<float*>(packed), weight, o, c, current_mutant());
        case kBFloat16: return pack(static_cast<BFloat16*>(packed), weight, o, c, current_mutant());
        default: return kBadType;
    }
}

extern "C" int eamfmeg_conv3x3_cpu(float* out, const float* features, std::int64_t n, std::int64_t h, std::int64_t w,
                                   std::int64_t c, const void* packed, std::int64_t o, const float* bias,
                                   const float* scale, const float* shift, const float* residual, std::int64_t relu,
                                   std::int64_t products, const std::int32_t* tiles, std::int64_t count, std::int64_t side,
                                   float* scratch, std::int64_t floats, std::int64_t plain) {
    using namespace eamfmeg;
    if (products != kFloat32 && products != kBFloat16) return kBadType;
    const std::int64_t down = divide_up(h, 4), across = divide_up(w, 4), square = side / 4;
    const std::int64_t all = count < 0 ? n * down * across : count * square * square;
    if (all == 0) return kOk;
    // The list is sorted.
    if (count > 0 && (tiles[0] < 0 || tiles[count - 1] >= n * (h / side) * (w / side))) return kTooLarge;
    Conv3x3 call{};
    call.features = features, call.scale = scale, call.shift = shift, call.residual = residual, call.out = out;
    call.mutant = current_mutant();
    call.bias = call.mutant.is(kConvBiasDropped) ? nullptr : bias;
    call.packed = packed, call.n = n, call.h = h, call.w = w, call.c = c, call.o = o;
    call.lines = divide_up(c, kWords * channels_of_a_word(products));
    call.panels = divide_up(o, kConvPanel), call.across = across, call.down = down;
    call.square = square, call.tiles = tiles, call.relu = relu != 0;
    const bool own = has_pairs() && plain == 0;
    if (products == kFloat32) return run<float>(call, all, scratch, floats, false);
    return run<BFloat16>(call, all, scratch, floats, own);
}
