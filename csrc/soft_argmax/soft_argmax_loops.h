// The loops of soft_argmax_cpu.cpp over one chunk; lanes are keypoints. Versions: 1. maximum of the chunk, then weights and
// sums, a stretch of one row at a time.
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

constexpr std::int64_t kStretch = 64;
// So many pixels are added up in single precision before they join the sums in double.
constexpr std::int64_t kGroup = 4;

// Rows `first` to `last` of picture b, keypoints k0 to k0 + lanes.
struct Chunk {
    std::int64_t b, first, last, k0;
    int lanes;
};

inline const float* logits_at(const SoftArgmaxCall& call, const Chunk& c, std::int64_t y, std::int64_t x) {
    return call.logits + c.b * call.logits_n + y * call.logits_h + x * call.logits_w + c.k0;
}

inline Vf largest_logit(const SoftArgmaxCall& call, const Chunk& c) {
    // Not minus infinity: a chunk of nothing but that would subtract it from itself.
    Vf top = set(-FLT_MAX), other = top;
    for (std::int64_t y = c.first; y < c.last; ++y) {
        const float* row = logits_at(call, c, y, 0);
        std::int64_t x = 0;
        for (; x + 1 < call.w; x += 2) {
            top = max(load(row + x * call.logits_w, c.lanes), top);
            other = max(load(row + (x + 1) * call.logits_w, c.lanes), other);
        }
        if (x < call.w) top = max(load(row + x * call.logits_w, c.lanes), top);
    }
    return max(top, other);
}

inline Vf weight(Vf logit, Vf top, Vf inverse, Vf rest) {
    // Bounded, for infinity times zero would be NaN; a NaN comes through.
    const Vf below = max(set(-FLT_MAX), logit - top);
    return exp(fma(below, inverse, below * rest));
}

// A weighted sum of `count` pixels, at most kGroup of them: `from` and `weights` are those of the first.
template <class Load>
inline Vf group(const float* weights, std::int64_t count, int quarter, Load load_map) {
    Vf sum = repeat4(load(weights), quarter) * load_map(0);
    for (std::int64_t i = 1; i < count; ++i) sum = fma(repeat4(load(weights + i * Vf::kLanes), quarter), load_map(i), sum);
    return sum;
}

template <class Load>
inline Wide groups(Wide sum, const float* weights, std::int64_t count, int quarter, Load load_map) {
    std::int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup)
        sum = add(sum, group(weights + i * Vf::kLanes, kGroup, quarter, [&](std::int64_t j) { return load_map(i + j); }));
    if (i < count)
        sum =
            add(sum, group(weights + i * Vf::kLanes, count - i, quarter, [&](std::int64_t j) { return load_map(i + j); }));
    return sum;
}

// Adds `count` pixels' weighted maps to the sums of all keypoints.
inline void add_maps(Wide* sums, const float* weights, const float* maps, std::int64_t stride, std::int64_t count,
                     int lanes) {
    for (int part = 0; part < 4; ++part) {
        const int here = 4 * lanes - part * Vf::kLanes;
        if (here <= 0) return;
        const float* from = maps + part * Vf::kLanes;
        if (here >= Vf::kLanes)
            sums[part] = groups(sums[part], weights, count, part, [=](std::int64_t i) { return load(from + i * stride); });
        else
            sums[part] =
                groups(sums[part], weights, count, part, [=](std::int64_t i) { return load(from + i * stride, here); });
    }
}

struct Sums {
    Wide weight, column;
    Wide maps[4];
};

inline void add_row(Sums& sums, const SoftArgmaxCall& call, const Chunk& c, std::int64_t y, Vf top, Mutant mutant) {
    const bool multiplied = mutant.is(SoftArgmaxMutant::kTemperatureMultiplied);
    const Vf inverse = set(multiplied ? 1.0f / call.inverse : call.inverse),
             rest = set(multiplied ? 0.0f : call.inverse_rest);
    Vf column = set(-0.5f * static_cast<float>(call.w - 1));
    const bool shorter = mutant.is(SoftArgmaxMutant::kLastPixelDropped) && y == call.h - 1;
    const std::int64_t width = call.w - (shorter ? 1 : 0);
    const float* logits = logits_at(call, c, y, 0);
    const float* maps = call.maps + c.b * call.maps_n + y * call.maps_h + 4 * c.k0;
    alignas(64) float weights[kStretch * Vf::kLanes];
    for (std::int64_t x0 = 0; x0 < width; x0 += kStretch) {
        const std::int64_t count = std::min(kStretch, width - x0);
        for (std::int64_t i = 0; i < count; i += kGroup) {
            Vf weight_sum = set(0.0f), column_sum = set(0.0f);
            for (std::int64_t j = i; j < std::min(i + kGroup, count); ++j) {
                const Vf w = weight(load(logits + (x0 + j) * call.logits_w, c.lanes), top, inverse, rest);
                store(weights + j * Vf::kLanes, w);
                weight_sum = weight_sum + w;
                column_sum = fma(w, column, column_sum);
                column = column + set(1.0f);
            }
            sums.weight = add(sums.weight, weight_sum);
            sums.column = add(sums.column, column_sum);
        }
        add_maps(sums.maps, weights, maps + x0 * call.maps_w, call.maps_w, count, c.lanes);
    }
}

// The partial result of one chunk; `width` doubles between its rows.
inline void sum_chunk(double* partial, const SoftArgmaxCall& call, const Chunk& c, Mutant mutant) {
    const std::int64_t width = call.width();
    double* at = partial + c.k0;
    const Vf top = mutant.is(SoftArgmaxMutant::kMaximumNotSubtracted) ? set(0.0f) : largest_logit(call, c);
    Sums sums{wide_zero(), wide_zero(), {wide_zero(), wide_zero(), wide_zero(), wide_zero()}};
    const double middle = 0.5 * static_cast<double>(call.h - 1);
    double total[Vf::kLanes] = {}, row[Vf::kLanes], rows[Vf::kLanes] = {};
    for (std::int64_t y = c.first; y < c.last; ++y) {
        sums.weight = wide_zero();
        add_row(sums, call, c, y, top, mutant);
        store(row, sums.weight);
        for (int i = 0; i < Vf::kLanes; ++i) total[i] += row[i];
        for (int i = 0; i < Vf::kLanes; ++i) rows[i] += (static_cast<double>(y) - middle) * row[i];
    }
    float tops[Vf::kLanes];
    store(tops, top);
    store(at + 2 * width, sums.column);
    for (int i = 0; i < Vf::kLanes; ++i) {
        at[i] = tops[i];
        at[width + i] = total[i];
        at[3 * width + i] = rows[i];
    }
    for (int part = 0; part < 4; ++part) store(partial + 4 * width + 4 * c.k0 + part * Vf::kLanes, sums.maps[part]);
}

inline void sum_chunks(double* partials, const SoftArgmaxCall& call, Mutant mutant) {
    const std::int64_t chunks = call.chunks(), rows = call.chunk_rows(), all = call.n * chunks;
#pragma omp parallel for schedule(static) if (call.n * call.h * call.w * call.k >= kWorthATeam / 4)
    for (std::int64_t i = 0; i < all; ++i) {
        const std::int64_t b = i / chunks, first = i % chunks * rows;
        double* partial = partials + i * kPartialRows * call.width();
        for (std::int64_t k0 = 0; k0 < call.k; k0 += Vf::kLanes) {
            const int lanes = static_cast<int>(std::min<std::int64_t>(Vf::kLanes, call.k - k0));
            sum_chunk(partial, call, {b, first, std::min(first + rows, call.h), k0, lanes}, mutant);
        }
    }
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
