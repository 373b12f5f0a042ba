// The mode "released": scores, weights, and their product with the values, kChunk queries at once.
namespace eamfmeg {
namespace EAMFMEG_ISA {

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

// Sums over the queries: a chunk of queries is done with before the next begins.
template <class T>
void released(const Strip<T>& strip) {
    const EdgeAttentionCall& call = strip.call;
    const Workspace& work = strip.work;
    gather_lanes(strip, strip.query(), call.query_bias, nullptr, strip.score_scale(), work.query);
    gather_lanes(strip, strip.key(), strip.key_bias(), call.edge_weight, 1.0f + strip.key_bias_poison(), work.key);
    gather_residual<T, float>(strip, nullptr, nullptr, strip.sums());
    for (std::int64_t first = 0; first < strip.pixels; first += kChunk) {
        const std::int64_t count = std::min(kChunk, strip.pixels - first);
        score_chunk(strip, first, count);
        exponentials(strip, count);
        gather_values(strip, first, count, work.total);
        add_chunk(strip, strip.summed(first, count), true);
    }
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
