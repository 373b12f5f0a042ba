// The mode "edge-query", whose scores are e_i slope_j + offset_j.
namespace eamfmeg {
namespace EAMFMEG_ISA {

// The middle of the edges' range, so that nothing cancels in e_i slope_j + offset_j that would not in q_i . k_j.
inline float middle(const float* edge, std::int64_t count) {
    float low = edge[0], high = edge[0];
    for (std::int64_t i = 1; i < count; ++i) low = std::min(low, edge[i]), high = std::max(high, edge[i]);
    const float centre = 0.5f * low + 0.5f * high;
    return centre - centre == 0.0f ? centre : 0.0f;
}

// slope_j = edge_weight . k_j and offset_j = (centre edge_weight + query_bias) . k_j of every key.
template <class T>
void find_lines(const Strip<T>& strip, float centre) {
    const EdgeAttentionCall& call = strip.call;
    const Workspace& work = strip.work;
    const Map<T> key = strip.key();
    const Vf scale = set(strip.score_scale() + strip.key_bias_poison());
    for (std::int64_t j = 0; j < strip.pixels; ++j) {
        gather_row(key, work.taps[j], strip.occlusion()[j], strip.key_bias(), 0.0f, nullptr, work.row, strip.mutant);
        Vf slope = set(0.0f), offset = set(0.0f);
        for (std::int64_t d = 0; d < call.dim; d += Vf::kLanes) {
            const int n = lanes_from(d, call.dim);
            const Vf k = load(work.row + d, n), weight = load(call.edge_weight + d, n);
            slope = fma(weight, k, slope);
            offset = fma(fma(set(centre), weight, load(call.query_bias + d, n)), k, offset);
        }
        work.slope[j] = sum(slope * scale);
        work.offset[j] = sum(offset * scale);
    }
}

// The largest score of each of `count` queries, whole vectors of them.
template <class T>
void find_largest(const Strip<T>& strip, const float* edge, std::int64_t count) {
    const Workspace& work = strip.work;
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) {
        const Vf e = load(edge + i);
        Vf most = set(-HUGE_VALF);
        for (std::int64_t j = 0; j < strip.pixels; ++j) most = max(most, fma(e, set(work.slope[j]), set(work.offset[j])));
        store(work.largest + i, strip.mutant.is(kLargestNotSubtracted) ? set(0.0f) : most);
        store(work.total + i, set(0.0f));
    }
}

// The weights of `count` keys from `first` on for the queries at `edge`, and their share of each query's sum.
template <class T>
void weigh_chunk(const Strip<T>& strip, const float* edge, std::int64_t queries, std::int64_t first, std::int64_t count) {
    const Workspace& work = strip.work;
    const Vf share = set(share_of(strip.pixels));
    for (std::int64_t i = 0; i < queries; i += Vf::kLanes) {
        const Vf e = load(edge + i), most = load(work.largest + i);
        Vf total = set(0.0f);
        float* weights = work.weights + i / Vf::kLanes * kPanel;
        for (std::int64_t j = 0; j < count; ++j) {
            const Vf weight = share * exp(fma(e, set(work.slope[first + j]), set(work.offset[first + j])) - most);
            store(weights + j * Vf::kLanes, weight);
            if (strip.mutant.is(kLastKeyNotNormalised) && first + j + 1 == strip.pixels) continue;
            total = total + weight;
        }
        store(work.total + i, load(work.total + i) + total);
    }
}

// Every pixel's own query.
template <class T>
void attend_pixels(const Strip<T>& strip) {
    const Workspace& work = strip.work;
    const std::int64_t queries = (strip.pixels + Vf::kLanes - 1) / Vf::kLanes * Vf::kLanes;
    find_largest(strip, work.edge, queries);
    for (std::int64_t first = 0; first < strip.pixels; first += kChunk) {
        const std::int64_t count = std::min(kChunk, strip.pixels - first);
        weigh_chunk(strip, work.edge, queries, first, count);
        gather_values(strip, first, count, nullptr);
        add_chunk(strip, strip.summed(first, count), first > 0);
    }
    for (std::int64_t i = 0; i < strip.pixels; ++i) work.total[i] = strip.call.gamma[0] / work.total[i];
    gather_residual(strip, strip.sums(), work.total, strip.out());
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
