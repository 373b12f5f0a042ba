// The loops of compose_cpu.cpp, compiled once for each instruction set (common/every_isa.h).
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

// Where the pixels of a part of a row sample the picture, and how much of it shows.
struct ComposeSpan {
    // Whole pixels from each pixel to its sample, and the four taps' weights.
    float x[kComposeSpan], y[kComposeSpan], across[4][kComposeSpan], down[4][kComposeSpan];
    // For each pixel and colour.
    float visible[3 * kComposeSpan], deformed[3 * kComposeSpan + 4];
};

inline float between(float a, float b, float share) {
    return a * (1.0f - share) + b * share;
}

// Displacements and visibility of `count` pixels from (x, y) on: the cells, enlarged bilinearly, first down, then across.
inline void enlarge(const ComposeMap& map, std::int64_t y, std::int64_t x, std::int64_t count, ComposeSpan& span,
                    Mutant mutant) {
    const ComposePlace* places = map.across.places + x;
    const ComposePlace row = map.down.places[y];
    const std::int64_t first = places[0].cell, cells = places[count - 1].next - first + 1;
    float dx[kComposeSpan + 1], dy[kComposeSpan + 1], seen[kComposeSpan + 1];
    const bool exchanged = mutant.is(kComposeFlowExchanged);
    for (std::int64_t k = 0; k < cells; ++k) {
        const std::int64_t above = row.cell * map.across.cells + first + k, below = row.next * map.across.cells + first + k;
        const float *a = map.flow + 2 * above, *b = map.flow + 2 * below;
        const std::int64_t column = first + k;
        dx[k] =
            between(map.across.pixels_off(a[exchanged], column), map.across.pixels_off(b[exchanged], column), row.share);
        dy[k] =
            between(map.down.pixels_off(a[!exchanged], row.cell), map.down.pixels_off(b[!exchanged], row.next), row.share);
        seen[k] = between(map.occlusion[above], map.occlusion[below], row.share);
    }
    for (std::int64_t i = 0; i < count; ++i) {
        const ComposePlace at = places[i];
        const std::int64_t a = at.cell - first, b = at.next - first;
        span.x[i] = between(dx[a], dx[b], at.share) + at.offset;
        span.y[i] = between(dy[a], dy[b], at.share) + row.offset;
        const float nearest = mutant.is(kComposeOcclusionOfTheNearest) ? seen[a] : between(seen[a], seen[b], at.share);
        const float visible = mutant.is(kComposeOcclusionReversed) ? 1.0f - nearest : nearest;
        span.visible[3 * i] = span.visible[3 * i + 1] = span.visible[3 * i + 2] = visible;
    }
}

// Splits displacements into whole pixels, which replace them, and weights. What is no number lies far to the right or
// below.
inline void weigh(float* off, float (&weights)[4][kComposeSpan], std::int64_t count, float far, Mutant mutant) {
    const float a = mutant.is(kComposeSofterKernel) ? -0.5f : -0.75f;
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) {
        const Vf moved = max(min(load(off + i), set(far)), set(-far));
        const Vf whole = floor(moved), t = moved - whole, s = set(1.0f) - t;
        store(off + i, whole);
        store(weights[0] + i, set(a) * t * (s * s));
        store(weights[1] + i, fma(fma(set(a + 2.0f), t, set(-a - 3.0f)), t * t, set(1.0f)));
        store(weights[2] + i, fma(fma(set(a + 2.0f), s, set(-a - 3.0f)), s * s, set(1.0f)));
        store(weights[3] + i, set(a) * s * (t * t));
    }
}

inline std::int64_t within(std::int64_t i, std::int64_t length) {
    return i < 0 ? 0 : i < length ? i : length - 1;
}

// Four numbers from memory, three of them a pixel.
inline ComposePixel pixel_at(const float* at) {
    ComposePixel value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// Samples the picture at the 4 x 4 taps of each of `count` pixels from (x, y) on.
inline void sample(const ComposeMap& map, std::int64_t y, std::int64_t x, std::int64_t count, ComposeSpan& span,
                   Mutant mutant) {
    const std::int64_t width = map.across.length, height = map.down.length;
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t column = x + i + static_cast<std::int64_t>(span.x[i]) - 1;
        const std::int64_t row = y + static_cast<std::int64_t>(span.y[i]) - 1;
        const float* rows[4];
        for (int r = 0; r < 4; ++r) rows[r] = map.picture + within(row + r, height) * width * 3;
        // One number beyond the last tap's pixel is read.
        const bool inside = column >= 0 && column + 3 <= width - 2;
        ComposePixel sum = {};
        for (int c = 0; c < 4; ++c) {
            ComposePixel taps = {};
            std::int64_t at = column + c;
            if (!inside) at = mutant.is(kComposeBorderWraps) ? (at % width + width) % width : within(at, width);
            for (int r = 0; r < 4; ++r) {
                const float* from = rows[r] + 3 * at;
                const ComposePixel value = inside ? pixel_at(from) : ComposePixel{from[0], from[1], from[2], 0.0f};
                taps += value * span.down[r][i];
            }
            sum += taps * span.across[c][i];
        }
        // The fourth number is overwritten by the next pixel.
        std::memcpy(span.deformed + 3 * i, &sum, sizeof sum);
    }
}

// The levels of numbers in [0, 1], one half higher: storing them cuts their fractions off. A NaN is 0.
inline Vf composed_levels(Vf x, Mutant mutant) {
    x = min(max(x, set(0.0f)), set(1.0f));
    if (mutant.is(kComposeTimes256)) return min(fma(x, set(256.0f), set(0.5f)), set(255.0f));
    const Vf level = x * set(255.0f);
    return mutant.is(kComposeCutOff) ? level : level + set(0.5f);
}

// `lanes` numbers at `i` of a span whose arrays in memory begin at `first`.
inline Vf composed(const ComposeMap& map, std::int64_t first, std::int64_t i, int lanes, const ComposeSpan& span,
                   Mutant mutant) {
    const bool whole = lanes == Vf::kLanes;
    const auto from = [&](const float* p) { return whole ? load(p + first + i) : load(p + first + i, lanes); };
    const Vf given = from(map.logits);
    // Of a NaN alone, without a picture, nothing may be left either: composed_levels() sees to it.
    Vf value = mutant.is(kComposeLogitsTakenForLevels) ? given : sigmoid(given);
    if (map.picture != nullptr) value = fma(load(span.visible + i), load(span.deformed + i) - value, value);
    if (map.grain != nullptr && !mutant.is(kComposeGrainDropped)) value = value + from(map.grain);
    return composed_levels(value, mutant);
}

// `count` pixels from (x, y) on, at most kComposeSpan.
inline void compose_span(std::uint8_t* out, const ComposeMap& map, std::int64_t y, std::int64_t x, std::int64_t count,
                         Mutant mutant) {
    ComposeSpan span;
    if (map.picture != nullptr) {
        enlarge(map, y, x, count, span, mutant);
        weigh(span.x, span.across, count, static_cast<float>(2 * map.across.length + 8), mutant);
        weigh(span.y, span.down, count, static_cast<float>(2 * map.down.length + 8), mutant);
        sample(map, y, x, count, span, mutant);
    }
    const std::int64_t first = 3 * (y * map.across.length + x);
    if (mutant.is(kComposeLastPixelMissed) && x + count == map.across.length) --count;
    for (std::int64_t i = 0; i < 3 * count; i += Vf::kLanes) {
        const int lanes = static_cast<int>(std::min<std::int64_t>(3 * count - i, Vf::kLanes));
        const Vf levels = composed(map, first, i, lanes, span, mutant);
        lanes == Vf::kLanes ? store(out + first + i, levels) : store(out + first + i, levels, lanes);
    }
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
