// What both modes begin and end with, one strip at a time.
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
    // The bias of the values where it must be summed with them. In edge-query a query's weights add up to 1, so that the
    // bias is better added once: it would be the largest part of every term.
    const float* bias_inside() const {
        return call.released || mutant.is(kBiasBeforeTheOcclusion) ? call.value_bias : nullptr;
    }
    // The bias of the keys adds the same to all scores of a query, which the softmax takes away again.
    const float* key_bias() const { return mutant.is(kBiasBeforeTheOcclusion) ? call.key_bias : nullptr; }
    // 0, or NaN where that bias is not finite: then so is every result.
    float key_bias_poison() const {
        float poison = 0.0f;
        for (std::int64_t d = 0; d < call.dim; ++d) poison += 0.0f * call.key_bias[d];
        return poison;
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

// The values of `count` positions from `first` on, times `scale` where it is given.
template <class T>
void gather_values(const Strip<T>& strip, std::int64_t first, std::int64_t count, const float* scale) {
    const Workspace& work = strip.work;
    gather_panels(strip.value(), work.taps + first, strip.occlusion() + first, strip.bias_inside(), scale, count,
                  work.values, kPanel, strip.mutant);
}

// The pixel's own o warp(features) into `out`, on top of `scale` times `sums` where they are given.
template <class T, class Out>
void gather_residual(const Strip<T>& strip, const float* sums, const float* scale, Out* out) {
    const float* shown = strip.mutant.is(kResidualNotOccluded) ? nullptr : strip.occlusion();
    const Beside beside{strip.bias_inside() ? nullptr : strip.call.value_bias, sums, scale, strip.call.gamma[0]};
    gather_out(strip.features(), strip.work.taps, shown, beside, strip.pixels, out, strip.call.channels);
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

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
