// edge_attention on the CPU. Versions: 1. a strip for each thread, its maps gathered into the panels of a matrix product;
// 2. edge-query between Chebyshev nodes.
//
// This file holds what is asked for, the memory it takes and the threads. edge_attention_loops.h does one strip.
#include "edge_attention/edge_attention.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <new>

namespace eamfmeg {

// The arguments of a call, named as in edge_attention.h.
struct EdgeAttentionCall {
    void* out;
    const void *query, *key, *value, *features;
    const float *edge, *flow, *occlusion, *edge_weight, *query_bias, *key_bias, *value_bias, *gamma;
    std::int64_t n, from_h, from_w, h, w, dim, channels;
    const std::int64_t* strides;
    std::int64_t strip_rows;
    bool released, align_corners;

    std::int64_t pixels() const { return strip_rows * w; }
    std::int64_t strips() const { return h / strip_rows; }
};

// Keys or queries whose weights and values are held at once.
constexpr std::int64_t kChunk = 64;
// The most nodes that the attention of a strip is interpolated between.
constexpr std::int64_t kMostNodes = 96;
// The widest vector, which all sizes are rounded up to.
constexpr std::int64_t kWidest = 16;

inline std::int64_t rounded(std::int64_t size) {
    return (size + kWidest - 1) / kWidest * kWidest;
}

// The memory of one thread, whatever the number of strips. Panels of `weights` and `values` are a little longer than
// kChunk: with a power of two between them they would all fall into the same few lines of the cache.
struct Workspace {
    float *edge, *slope, *offset, *largest, *total, *query, *key, *row, *weights, *values, *sums, *zeros;
    float *basis, *table, *node_sums;
    Taps* taps;
    std::size_t size = 0;

    Workspace(const EdgeAttentionCall& call, float* base, bool wide) : base_(base) {
        const std::int64_t pixels = rounded(call.pixels()), dim = rounded(call.dim), channels = rounded(call.channels);
        for (float** part : {&edge, &slope, &offset, &largest, &total}) *part = take(pixels);
        query = take(call.released ? pixels * call.dim : 0);
        key = take(call.released ? pixels * call.dim : 0);
        row = take(std::max(kWidest * dim, kChunk * kWidest));
        weights = take(pixels * (kChunk + 1));
        values = take(channels * (kChunk + 1));
        sums = take(wide ? 0 : call.pixels() * call.channels);
        zeros = take(std::max(dim, channels));
        basis = take(call.released ? 0 : kWidest * kMostNodes);
        table = take(call.released ? 0 : kMostNodes * kMostNodes);
        node_sums = take(call.released ? 0 : channels * (kMostNodes + 1));
        taps = reinterpret_cast<Taps*>(take(pixels * static_cast<std::int64_t>(sizeof(Taps) / sizeof(float))));
    }

  private:
    float* base_;

    float* take(std::int64_t count) {
        float* part = base_ ? base_ + size : nullptr;
        size += static_cast<std::size_t>(rounded(count));
        return part;
    }
};

}  // namespace eamfmeg

#define EAMFMEG_LOOPS "edge_attention/edge_attention_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

int threads_of(const EdgeAttentionCall& call) {
#ifdef _OPENMP
    const std::int64_t units = call.n * call.strips();
    const bool worth = units * call.pixels() * (call.pixels() + call.channels) >= kWorthATeam;
    return worth ? static_cast<int>(std::min<std::int64_t>(units, omp_get_max_threads())) : 1;
#else
    static_cast<void>(call);
    return 1;
#endif
}

template <class T>
int run(const EdgeAttentionCall& call) {
    const bool wide = sizeof(T) == sizeof(float);
    const int threads = threads_of(call);
    const std::size_t each = Workspace(call, nullptr, wide).size;
    const std::unique_ptr<float[]> memory(new (std::nothrow) float[each * static_cast<std::size_t>(threads) + kWidest]);
    if (!memory) return kTooLarge;
    float* base = memory.get();
    while (reinterpret_cast<std::uintptr_t>(base) % (kWidest * sizeof(float))) ++base;
    EAMFMEG_RUN(attend<T>(call, base, each, threads, current_mutant()));
    return kOk;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_edge_attention_cpu(void* out, const void* query, const void* key, const void* value,
                                          const void* features, const float* edge, const float* flow,
                                          const float* occlusion, const float* edge_weight, const float* query_bias,
                                          const float* key_bias, const float* value_bias, const float* gamma,
                                          std::int64_t n, std::int64_t from_h, std::int64_t from_w, std::int64_t h,
                                          std::int64_t w, std::int64_t dim, std::int64_t channels,
                                          const std::int64_t* strides, std::int64_t strip_rows, std::int64_t mode,
                                          std::int64_t align_corners, std::int64_t dtype) {
    using namespace eamfmeg;
    if (n * h * w * channels == 0) return kOk;
    const EdgeAttentionCall call{out,
                                 query,
                                 key,
                                 value,
                                 features,
                                 edge,
                                 flow,
                                 occlusion,
                                 edge_weight,
                                 query_bias,
                                 key_bias,
                                 value_bias,
                                 gamma,
                                 n,
                                 from_h,
                                 from_w,
                                 h,
                                 w,
                                 dim,
                                 channels,
                                 strides,
                                 strip_rows,
                                 mode == kReleased,
                                 align_corners != 0};
    switch (dtype) {
        case kFloat32: return run<float>(call);
        case kFloat16: return run<Half>(call);
        case kBFloat16: return run<BFloat16>(call);
        default: return kBadType;
    }
}
