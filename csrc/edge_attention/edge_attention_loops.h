// One strip at a time: places, scores, weights, and their product with the values, a chunk of kChunk keys or queries at
// once.
#include "edge_attention/edge_attention_gather.h"
#include "edge_attention/edge_attention_product.h"

namespace eamfmeg {
namespace EAMFMEG_ISA {

constexpr std::int64_t kPanel = (kChunk + 1) * Vf::kLanes;

// One strip of one picture.
template <class T>
struct Strip {
    const EdgeAttentionCall& call;
    const Workspace& work;
    Mutant mutant;
    std::int64_t batch, from_batch, first, pixels, channels;

    Strip(const EdgeAttentionCall& given, const Workspace& memory, std::int64_t unit, Mutant fault)
        : call(given), work(memory), mutant(fault) {
        batch = unit / call.strips();
        from_batch = mutant.is(kAttentionBatchStrideIgnored) ? 0 : batch;
        pixels = call.pixels();
        first = unit * pixels;
        channels = call.channels - (mutant.is(kAttentionLastChannelDropped) ? 1 : 0);
    }

    Map<T> map(const void* data, int number, std::int64_t length) const {
        const std::int64_t* strides = call.strides + 3 * number;
        const T* at = static_cast<const T*>(data) + from_batch * strides[0];
        return {at, strides, length, reinterpret_cast<const T*>(work.zeros)};
    }
    Map<T> query() const { return map(call.query, 0, call.dim); }
    Map<T> key() const { return map(call.key, 1, call.dim); }
    Map<T> value() const { return map(call.value, 2, channels); }
    Map<T> features() const { return map(call.features, 3, channels); }
    const float* occlusion() const { return call.occlusion + first; }
    T* out() const { return static_cast<T*>(call.out) + first * call.channels; }
    // The sums of weighted values, pixels x channels: float32 adds up in the output's own memory.
    float* sums() const { return sizeof(T) == sizeof(float) ? reinterpret_cast<float*>(out()) : work.sums; }
    // How many of the `count` positions from `from` on are summed.
    std::int64_t summed(std::int64_t from, std::int64_t count) const {
        return count - (mutant.is(kLastPositionNotSummed) && from + count == pixels ? 1 : 0);
    }
    float score_scale() const { return mutant.is(kScoresScaled) ? 1.0f / std::sqrt(static_cast<float>(call.dim)) : 1.0f; }
};

// Where each pixel gathers, and the edge there.
template <class T>
void find_places(const Strip<T>& strip) {
    const EdgeAttentionCall& call = strip.call;
    const float* map = call.edge + strip.from_batch * call.from_h * call.from_w;
    const float* flow = call.flow + 2 * strip.first;
    for (std::int64_t i = 0; i < strip.pixels; ++i) {
        const Taps taps = taps_at(flow[2 * i], flow[2 * i + 1], call.from_h, call.from_w, call.align_corners, strip.mutant);
        float edge = 0.0f;
        for (int t = 0; t < 4; ++t) {
            if (taps.inside(t)) edge += taps.weight[t] * map[(taps.y + t / 2) * call.from_w + taps.x + t % 2];
        }
        strip.work.taps[i] = taps;
        strip.work.edge[i] = strip.mutant.is(kOcclusionOnTheEdge) ? edge * strip.occlusion()[i] : edge;
    }
    for (std::int64_t i = strip.pixels; i < rounded(strip.pixels); ++i) strip.work.edge[i] = 0.0f;
}

// All queries or keys, kLanes pixels side by side in each panel; those beyond the last pixel are 0.
template <class T>
void gather_lanes(const Strip<T>& strip, const Map<T>& map, const float* bias, const float* weight, float scale,
                  float* out) {
    const Workspace& work = strip.work;
    const std::int64_t step = rounded(map.channels);
    for (std::int64_t first = 0; first < strip.pixels; first += Vf::kLanes, out += map.channels * Vf::kLanes) {
        const int count = lanes_from(first, strip.pixels);
        for (int i = 0; i < count; ++i) {
            const std::int64_t at = first + i;
            gather_row(map, work.taps[at], strip.occlusion()[at], bias, work.edge[at], weight, work.row + i * step,
                       strip.mutant);
        }
        for (std::int64_t d = 0; d < map.channels; ++d) {
            for (int i = 0; i < count; ++i) out[d * Vf::kLanes + i] = work.row[i * step + d] * scale;
            for (int i = count; i < Vf::kLanes; ++i) out[d * Vf::kLanes + i] = 0.0f;
        }
    }
}

// The scores of `count` queries from `first` on with all keys, into the panels of `weights`: one panel for kLanes keys.
template <class T>
void score_chunk(const Strip<T>& strip, std::int64_t first, std::int64_t count) {
    const Workspace& work = strip.work;
    const std::int64_t dim = strip.call.dim, panel = dim * Vf::kLanes, keys = strip.pixels;
    const std::int64_t panels = (keys + Vf::kLanes - 1) / Vf::kLanes;
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) {
        const Target out{work.weights + i * Vf::kLanes, Vf::kLanes, kPanel};
        product(work.query + (first + i) * dim, work.key, panel, dim, out, Vf::kLanes, panels * Vf::kLanes, false);
    }
    if (keys % Vf::kLanes == 0) return;
    float beyond[kWidest];
    for (int i = 0; i < Vf::kLanes; ++i) beyond[i] = i < keys % Vf::kLanes ? 0.0f : -HUGE_VALF;
    float* last = work.weights + (panels - 1) * kPanel;
    for (std::int64_t i = 0; i < count; ++i) store(last + i * Vf::kLanes, load(last + i * Vf::kLanes) + load(beyond));
}

// Scores to exponentials, each query's largest at 1; `total` becomes gamma over each query's sum.
template <class T>
void exponentials(const Strip<T>& strip, std::int64_t count) {
    const Workspace& work = strip.work;
    const std::int64_t panels = (strip.pixels + Vf::kLanes - 1) / Vf::kLanes;
    float* lanes = work.row;
    for (std::int64_t p = 0; p < panels; ++p) {
        const float* scores = work.weights + p * kPanel;
        for (std::int64_t at = 0; at < count * Vf::kLanes; at += Vf::kLanes) {
            store(lanes + at, p == 0 ? load(scores + at) : max(load(lanes + at), load(scores + at)));
        }
    }
    for (std::int64_t i = 0; i < count; ++i) {
        work.largest[i] = strip.mutant.is(kLargestNotSubtracted) ? 0.0f : largest(load(lanes + i * Vf::kLanes));
    }
    for (std::int64_t p = 0; p < panels; ++p) {
        float* scores = work.weights + p * kPanel;
        for (std::int64_t i = 0, at = 0; i < count; ++i, at += Vf::kLanes) {
            const Vf weight = exp(load(scores + at) - set(work.largest[i]));
            store(scores + at, weight);
            store(lanes + at, p == 0 ? weight : load(lanes + at) + weight);
        }
    }
    const float* last = work.weights + (panels - 1) * kPanel + (strip.pixels - 1) % Vf::kLanes;
    for (std::int64_t i = 0; i < count; ++i) {
        const float missing = strip.mutant.is(kLastKeyNotNormalised) ? last[i * Vf::kLanes] : 0.0f;
        work.total[i] = strip.call.gamma[0] / (sum(load(lanes + i * Vf::kLanes)) - missing);
    }
}

// sums (+)= the weights of the chunk times its values.
template <class T>
void add_chunk(const Strip<T>& strip, std::int64_t count, bool add) {
    const Workspace& work = strip.work;
    const std::int64_t row_step = strip.call.channels;
    for (std::int64_t i = 0; i < strip.pixels; i += Vf::kLanes) {
        const Target out{strip.sums() + i * row_step, row_step, Vf::kLanes};
        product(work.weights + i / Vf::kLanes * kPanel, work.values, kPanel, count, out, lanes_from(i, strip.pixels),
                strip.channels, add);
    }
}

// Sums over the queries: a chunk of queries is done with before the next begins.
template <class T>
void released(const Strip<T>& strip) {
    const EdgeAttentionCall& call = strip.call;
    const Workspace& work = strip.work;
    gather_lanes(strip, strip.query(), call.query_bias, nullptr, strip.score_scale(), work.query);
    gather_lanes(strip, strip.key(), call.key_bias, call.edge_weight, 1.0f, work.key);
    const float* shown = strip.mutant.is(kResidualNotOccluded) ? nullptr : strip.occlusion();
    gather_out<T, float>(strip.features(), work.taps, shown, nullptr, nullptr, strip.pixels, strip.sums(), call.channels);
    for (std::int64_t first = 0; first < strip.pixels; first += kChunk) {
        const std::int64_t count = std::min(kChunk, strip.pixels - first);
        score_chunk(strip, first, count);
        exponentials(strip, count);
        gather_panels(strip.value(), work.taps + first, strip.occlusion() + first, call.value_bias, work.total, count,
                      work.values, kPanel, strip.mutant);
        add_chunk(strip, strip.summed(first, count), true);
    }
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg

#include "edge_attention/edge_attention_rank_one.h"

namespace eamfmeg {
namespace EAMFMEG_ISA {

template <class T>
void attend_strip(const Strip<T>& strip) {
    find_places(strip);
    if (!strip.call.released) {
        edge_query(strip);
        return;
    }
    released(strip);
    if (sizeof(T) == sizeof(float)) return;
    for (std::int64_t i = 0; i < strip.pixels; ++i) {
        for (std::int64_t c = 0; c < strip.channels; c += Vf::kLanes) {
            const std::int64_t at = i * strip.call.channels + c;
            const int n = lanes_from(c, strip.channels);
            store(strip.out() + at, load(strip.sums() + at, n), n);
        }
    }
}

template <class T>
void attend(const EdgeAttentionCall& call, float* memory, std::size_t each, int threads, Mutant mutant) {
    const bool wide = sizeof(T) == sizeof(float);
    const std::int64_t units = call.n * call.strips();
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t unit = 0; unit < units; ++unit) {
#ifdef _OPENMP
        const Workspace work(call, memory + each * static_cast<std::size_t>(omp_get_thread_num()), wide);
#else
        const Workspace work(call, memory, wide);
        static_cast<void>(each);
#endif
        std::fill_n(work.zeros, std::max(rounded(call.dim), rounded(call.channels)), 0.0f);
        attend_strip(Strip<T>(call, work, unit, mutant));
    }
    if (mutant.is(kAttentionOneBeyondTheEnd)) static_cast<T*>(call.out)[call.n * call.h * call.w * call.channels] = T{};
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
