// The loops of sparse_motion_cpu.cpp. Lanes run along a row while coordinates, weights and heatmaps are computed; then each
// output pixel is four numbers of a motion: heatmap, red, green, blue.
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

// What one row of one motion samples of the framed thumbnail: the tap above on the left, and how near the others are.
struct Row {
    std::vector<float> right, below, heat;
    std::vector<std::int32_t> place;

    explicit Row(std::int64_t width) {
        const auto size = static_cast<std::size_t>(width + Vf::kLanes);
        for (std::vector<float>* line : {&right, &below, &heat}) line->resize(size);
        place.resize(size);
    }
};

// Normalised -> pixels; what lies outside the picture, or is not finite, comes no further than the frame, which is black.
inline Vf in_frame(Vf coordinate, std::int64_t length, const SparseCall& call, Mutant mutant) {
    const bool aligned = call.align_corners != mutant.is(SparseMotionMutant::kOtherAlignCorners);
    const float size = static_cast<float>(length), scale = 0.5f * (aligned ? size - 1.0f : size);
    Vf pixel = fma(coordinate, set(scale), set(0.5f * (size - 1.0f)));
    if (mutant.is(SparseMotionMutant::kNotFiniteIsInside)) {
        float each[Vf::kLanes];
        store(each, pixel);
        for (float& value : each) value = std::isfinite(value) ? value : 0.0f;
        pixel = load(each);
    }
    const bool repeated = mutant.is(SparseMotionMutant::kBorderRepeated);
    // Of a NaN the second operand stays.
    return min(max(pixel, set(repeated ? 0.0f : -2.0f)), set(repeated ? size - 1.0f : size));
}

// Motion `matrix` (2x3, row by row) of the pixels of a row.
inline void place_row(Row& row, const SparseCall& call, const float* matrix, const float* axis, float at_y, Mutant mutant) {
    const bool transposed = mutant.is(SparseMotionMutant::kMatrixTransposed);
    const bool forgotten = mutant.is(SparseMotionMutant::kOffsetForgotten);
    const Vf xx = set(matrix[0]), yx = set(matrix[transposed ? 1 : 3]);
    const Vf x_of_y = set(matrix[transposed ? 3 : 1]) * set(at_y), y_of_y = set(matrix[4]) * set(at_y);
    const Vf x0 = set(forgotten ? 0.0f : matrix[2]), y0 = set(forgotten ? 0.0f : matrix[5]);
    const auto width = static_cast<std::int32_t>(call.frame_w());
    for (std::int64_t x = 0; x < call.w; x += Vf::kLanes) {
        const Vf at = load(axis + x);
        const Vf px = in_frame(fma(xx, at, x_of_y) + x0, call.w, call, mutant);
        const Vf py = in_frame(fma(yx, at, y_of_y) + y0, call.h, call, mutant);
        const Vf left = floor(px), top = floor(py);
        store(row.right.data() + x, px - left);
        store(row.below.data() + x, py - top);
        float lefts[Vf::kLanes], tops[Vf::kLanes];
        store(lefts, left);
        store(tops, top);
        std::int32_t* place = row.place.data() + x;
        for (int i = 0; i < Vf::kLanes; ++i)
            place[i] = (static_cast<std::int32_t>(tops[i]) + kFrame) * width + static_cast<std::int32_t>(lefts[i]) + kFrame;
    }
}

// `count` numbers e^(rate (axis - centre)^2).
inline void bell(float* to, const float* axis, std::int64_t count, float centre, float rate) {
    for (std::int64_t i = 0; i < count; i += Vf::kLanes) {
        const Vf distance = load(axis + i) - set(centre);
        store(to + i, exp(distance * distance * set(rate)));
    }
}

// The Gaussians are products of what bell() gave for columns and rows.
inline void heat_row(Row& row, const SparseCall& call, const Bells& bells, std::int64_t m, std::int64_t y) {
    const float* driving_x = bells.driving_x.data() + m * bells.columns;
    const float* target_x = bells.target_x.data() + m * bells.columns;
    const Vf driving_y = set(bells.driving_y[static_cast<std::size_t>(m * bells.rows + y)]);
    const Vf target_y = set(bells.target_y[static_cast<std::size_t>(m * bells.rows + y)]);
    for (std::int64_t x = 0; x < call.w; x += Vf::kLanes) {
        // The maximum changes nothing, but keeps the compiler from fusing one product with the difference: two equal
        // Gaussians must leave nothing.
        const Vf driving = max(set(0.0f), load(driving_x + x) * driving_y);
        const Vf target = max(set(0.0f), load(target_x + x) * target_y);
        store(row.heat.data() + x, driving - target);
    }
}

// Writes a row of one motion, its pixels `step` floats apart.
inline void sample_row(float* out, std::int64_t step, const Row& row, const float* frame, const SparseCall& call) {
    const std::int64_t down = 4 * call.frame_w();
    const float *rights = row.right.data(), *belows = row.below.data(), *heat = row.heat.data();
    const std::int32_t* place = row.place.data();
    for (std::int64_t x = 0; x < call.w; ++x) {
        const float* tap = frame + 4 * static_cast<std::int64_t>(place[x]);
        const float right = rights[x], below = belows[x], left = 1.0f - right, above = 1.0f - below;
        Quad pixel = quad_at(tap) * (left * above) + quad_at(tap + 4) * (right * above) +
                     quad_at(tap + down) * (left * below) + quad_at(tap + down + 4) * (right * below);
        pixel[0] = heat[x];
        std::memcpy(out + x * step, &pixel, sizeof pixel);
    }
}

inline void fill_bells(Bells& bells, const SparseCall& call, std::int64_t b, Mutant mutant) {
    const std::int64_t swap = mutant.is(SparseMotionMutant::kKeypointSwapped) ? 1 : 0;
    const float rate = mutant.is(SparseMotionMutant::kHalfForgotten) ? 2.0f * call.rate : call.rate;
    for (std::int64_t m = 0; m < call.k; ++m) {
        const float* target = call.kp_target + (b * call.k + m) * 2;
        const float* driving = call.kp_driving + (b * call.k + m) * 2;
        if (mutant.is(SparseMotionMutant::kHeatmapReversed)) std::swap(target, driving);
        bell(bells.target_x.data() + m * bells.columns, bells.axis_x.data(), call.w, target[swap], rate);
        bell(bells.target_y.data() + m * bells.rows, bells.axis_y.data(), call.h, target[1 - swap], rate);
        bell(bells.driving_x.data() + m * bells.columns, bells.axis_x.data(), call.w, driving[swap], rate);
        bell(bells.driving_y.data() + m * bells.rows, bells.axis_y.data(), call.h, driving[1 - swap], rate);
    }
}

// All motions of one picture.
inline void draw(float* out, const SparseCall& call, Bells& bells, const float* frame, std::int64_t b, Mutant mutant) {
    static const float still[6] = {1, 0, 0, 0, 1, 0};
    const std::int64_t step = 4 * (call.k + 1), rows = call.h - (mutant.is(SparseMotionMutant::kLastRowDropped) ? 1 : 0);
    fill_bells(bells, call, b, mutant);
    const int threads = team_for(call.h * call.w * step);
    std::vector<Row> each(static_cast<std::size_t>(threads), Row(call.w));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t y = 0; y < rows; ++y) {
        Row& row = each[member()];
        const float at_y = bells.axis_y[static_cast<std::size_t>(y)];
        for (std::int64_t m = 0; m <= call.k; ++m) {
            const float* matrix = m ? call.affine + (b * call.k + m - 1) * 6 : still;
            place_row(row, call, matrix, bells.axis_x.data(), at_y, mutant);
            const bool moves = m || (call.k && mutant.is(SparseMotionMutant::kBackgroundMoves));
            if (moves)
                heat_row(row, call, bells, m ? m - 1 : 0, y);
            else
                std::fill(row.heat.begin(), row.heat.end(), 0.0f);
            sample_row(out + y * call.w * step + 4 * m, step, row, frame, call);
        }
    }
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
