// The mode "edge-query" with fewer queries than pixels. All queries of a strip lie on one line, so that the attention is a
// smooth function of one number, the edge; it is computed at Chebyshev nodes, and interpolated to the pixels.
//
// For a complex edge x + iy the terms of the normaliser lie within y A / 2 of one phase, A the spread of the slopes, and
// the attention is at most 1 / cos(y A / 2) of what it can be at x. With h half the range of the edges and r = h A / 2, n
// nodes leave an error of at most 4 M p^(1 - n) / (p - 1) for every ellipse p whose height b = (p - 1/p) / 2 keeps b r
// below pi / 2, M = 1 / cos(b r). The table holds the largest r for which the best ellipse leaves 2^-26: an eighth of an
// ulp.
namespace eamfmeg {
namespace EAMFMEG_ISA {

// Nodes enough for the strip's edges and slopes, or 0: then the pixels are better done one by one.
inline std::int64_t nodes_for(float half_range, const float* slope, std::int64_t pixels) {
    constexpr float kReach[] = {0.197f, 0.794f, 1.384f, 1.943f, 2.483f, 3.010f,
                                3.529f, 4.041f, 4.547f, 5.050f, 5.550f, 6.047f};
    static_assert(sizeof(kReach) / sizeof(float) == kMostNodes / 8, "a reach for every eight nodes");
    float low = slope[0], high = slope[0];
    // A slope that is no number must not be lost: so it is added to both.
    for (std::int64_t j = 1; j < pixels; ++j) low = std::min(low, slope[j]), high = std::max(high, slope[j]);
    for (std::int64_t j = 0; j < pixels; ++j) low += slope[j] - slope[j];
    const float reach = half_range * (0.5f * (high - low));
    for (std::int64_t n = 8; n <= kMostNodes && 3 * n <= pixels; n += 8) {
        if (reach < kReach[n / 8 - 1]) return n;
    }
    return 0;
}

// cos(pi m / (2 n)) for m below 4 n.
inline void cosines(std::int64_t n, float* out) {
    for (std::int64_t m = 0; m < 4 * n; ++m) {
        const double turn = 3.14159265358979323846 / static_cast<double>(2 * n);
        out[m] = static_cast<float>(std::cos(turn * static_cast<double>(m)));
    }
}

// The Chebyshev polynomials 0 ... n - 1 at x, which is within rounding of [-1, 1].
inline void polynomials(Vf x, std::int64_t n, float* out) {
    Vf before = set(1.0f), now = x;
    for (std::int64_t k = 0; k < n; ++k) {
        store(out + k * Vf::kLanes, before);
        const Vf next = (x + x) * now - before;
        before = now;
        now = next;
    }
}

// What turns the polynomials at a pixel into the shares of the nodes, with each node's gamma / total in it.
inline void node_table(const float* cosine, const float* total, float gamma, std::int64_t n, float* out) {
    for (std::int64_t t = 0; t < rounded(n); ++t) {
        float* at = out + t / Vf::kLanes * n * Vf::kLanes + t % Vf::kLanes;
        const float share = t < n ? gamma / total[t] : 0.0f;
        for (std::int64_t k = 0; k < n; ++k) {
            const float weight = (k == 0 ? 1.0f : 2.0f) / static_cast<float>(n);
            at[k * Vf::kLanes] = weight * cosine[k * (2 * t + 1) % (4 * n)] * share;
        }
    }
}

// The unnormalised sums of the values at each node, into panels of channels `panel` apart; whether all are finite.
template <class T>
bool attend_nodes(const Strip<T>& strip, const float* nodes, std::int64_t n, std::int64_t panel) {
    const Workspace& work = strip.work;
    const std::int64_t columns = (strip.channels + Vf::kLanes - 1) / Vf::kLanes * Vf::kLanes;
    find_largest(strip, nodes, rounded(n));
    for (std::int64_t first = 0; first < strip.pixels; first += kChunk) {
        const std::int64_t count = std::min(kChunk, strip.pixels - first);
        weigh_chunk(strip, nodes, rounded(n), first, count);
        gather_values(strip, first, count, nullptr);
        for (std::int64_t t = 0; t < n; t += Vf::kLanes) {
            const Target out{work.node_sums + t * Vf::kLanes, Vf::kLanes, panel};
            product(work.weights + t / Vf::kLanes * kPanel, work.values, kPanel, strip.summed(first, count), out,
                    lanes_from(t, n), columns, first > 0);
        }
    }
    Vf unsound = set(0.0f);
    for (std::int64_t c = 0; c < strip.channels; c += Vf::kLanes) {
        const float* at = work.node_sums + c / Vf::kLanes * panel;
        for (std::int64_t t = 0; t < n; ++t) unsound = fma(set(0.0f), load(at + t * Vf::kLanes), unsound);
    }
    return sum(unsound) == 0.0f;
}

// Attend by `n` nodes between the edges -half_range and half_range. False, and nothing is done, where a value is not
// finite.
template <class T>
bool interpolated(const Strip<T>& strip, float half_range, std::int64_t n) {
    const EdgeAttentionCall& call = strip.call;
    const Workspace& work = strip.work;
    float cosine[4 * kMostNodes], nodes[kMostNodes + kWidest] = {};
    cosines(n, cosine);
    for (std::int64_t t = 0; t < n; ++t) nodes[t] = half_range * cosine[2 * t + 1];
    const std::int64_t panel = (n + 1) * Vf::kLanes;
    if (!attend_nodes(strip, nodes, n, panel)) return false;
    node_table(cosine, work.total, call.gamma[0], n, work.table);
    gather_residual(strip, nullptr, nullptr, strip.sums());
    const Vf inverse = set(half_range > 0.0f ? 1.0f / half_range : 0.0f);
    for (std::int64_t i = 0; i < strip.pixels; i += Vf::kLanes) {
        polynomials(max(set(-1.0f), min(set(1.0f), load(work.edge + i) * inverse)), n, work.basis);
        for (std::int64_t t = 0; t < n; t += Vf::kLanes) {
            const Target shares{work.weights + t * Vf::kLanes, Vf::kLanes, 0};
            product(work.table + t * n, work.basis, 0, n, shares, lanes_from(t, n), Vf::kLanes, false);
        }
        const Target out{strip.sums() + i * call.channels, call.channels, Vf::kLanes};
        product(work.weights, work.node_sums, panel, n, out, lanes_from(i, strip.pixels), strip.channels, true);
    }
    return true;
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
