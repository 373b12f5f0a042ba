// The loops of dense_motion on the CPU, compiled once for each instruction set (common/every_isa.h).
namespace eamfmeg {
namespace EAMFMEG_ISA {

// A vector of neighbouring pixels of one row; the last of a row may be partly empty.
struct MotionRun {
    static constexpr int kLanes = Vf::kLanes;
    std::int64_t b, y, x;
    int count;
    // Logits, then their exponentials, motion by motion.
    float weight[(kMostMotions + 1) * kLanes];

    void read(const Motion& call, Mutant mutant) {
        const std::int64_t motions = call.motions(), across = logits_step(call, mutant), along = call.logits.stride_c;
        const float* from = call.logits.at(b, y, 0) + x * across;
        if (count == kLanes && across == 1) {
            for (std::int64_t k = 0; k < motions; ++k) store(weight + k * kLanes, load(from + k * along));
            return;
        }
        for (int lane = 0; lane < kLanes; ++lane) {
            const float* pixel = from + std::min(lane, count - 1) * across;
            for (std::int64_t k = 0; k < motions; ++k) weight[k * kLanes + lane] = pixel[k * along];
        }
    }

    // Exponentials in place; returns what they are to be multiplied by.
    Vf normalise(std::int64_t motions, Mutant mutant) {
        Vf top = load(weight);
        for (std::int64_t k = 1; k < motions; ++k) top = max(load(weight + k * kLanes), top);
        if (mutant.is(kMaximumNotSubtracted)) top = set(0.0f);
        Vf total = set(0.0f);
        for (std::int64_t k = 0; k < motions; ++k) {
            const Vf value = exp(load(weight + k * kLanes) - top);
            store(weight + k * kLanes, value);
            if (k > 0 || !mutant.is(kBackgroundNotCounted)) total = total + value;
        }
        return set(1.0f) / total;
    }

    void write_mask(const Motion& call, Vf factor) {
        const std::int64_t motions = call.motions();
        float* pixel = call.mask + ((b * call.logits.h + y) * call.logits.w + x) * motions;
        for (std::int64_t k = 0; k < motions; ++k) store(weight + k * kLanes, load(weight + k * kLanes) * factor);
        for (int lane = 0; lane < count; ++lane, pixel += motions) {
            for (std::int64_t k = 0; k < motions; ++k) pixel[k] = weight[k * kLanes + lane];
        }
    }

    // `turns` holds six numbers for each motion: A - I and b, row by row.
    void write_flow(const Motion& call, Vf factor, const float* turns, Vf at_x, Vf at_y) {
        Vf sum[6];
        for (Vf& entry : sum) entry = set(0.0f);
        for (std::int64_t k = 0; k < call.motions(); ++k) {
            const Vf share = load(weight + k * kLanes);
            for (int i = 0; i < 6; ++i) sum[i] = fma(share, set(turns[6 * k + i]), sum[i]);
        }
        float to_x[kLanes], to_y[kLanes];
        store(to_x, at_x + factor * fma(sum[0], at_x, fma(sum[1], at_y, sum[2])));
        store(to_y, at_y + factor * fma(sum[3], at_x, fma(sum[4], at_y, sum[5])));
        float* out = call.flow + ((b * call.logits.h + y) * call.logits.w + x) * 2;
        for (int lane = 0; lane < count; ++lane) {
            out[2 * lane] = to_x[lane];
            out[2 * lane + 1] = to_y[lane];
        }
    }

    void write_occlusion(const Motion& call, Mutant mutant) {
        float hidden[kLanes];
        const float* from = call.hidden.at(b, y, x);
        for (int lane = 0; lane < kLanes; ++lane) hidden[lane] = from[std::min(lane, count - 1) * call.hidden.stride_w];
        const Vf logit = load(static_cast<const float*>(hidden));
        const Vf value = sigmoid(mutant.is(kSigmoidReversed) ? set(0.0f) - logit : logit);
        store(call.occlusion + (b * call.logits.h + y) * call.logits.w + x, value, count);
    }
};

// A - I and b of every motion of every picture.
inline std::vector<float> table_of_turns(const Motion& call, Mutant mutant) {
    std::vector<float> turns;
    turns.reserve(static_cast<std::size_t>(call.logits.n * call.motions() * 6));
    for (std::int64_t b = 0; b < call.logits.n; ++b) {
        for (std::int64_t k = 0; k < call.motions(); ++k) {
            for (int i = 0; i < 6; ++i) turns.push_back(turn(call, b, k, i / 3, i % 3, mutant));
        }
    }
    return turns;
}

inline void motion_run(const Motion& call, MotionRun& run, const float* turns, const float* columns, Mutant mutant) {
    const Vf at_x = load(columns + run.x), at_y = set(pixel_axis(call, run.y, call.logits.h, mutant));
    const bool swap = mutant.is(kPixelXAndYSwapped);
    run.read(call, mutant);
    const Vf factor = run.normalise(call.motions(), mutant);
    run.write_flow(call, factor, turns + run.b * call.motions() * 6, swap ? at_y : at_x, swap ? at_x : at_y);
    if (call.mask != nullptr) run.write_mask(call, factor);
    run.write_occlusion(call, mutant);
}

inline void motion_rows(const Motion& call, Mutant mutant) {
    const std::int64_t height = call.logits.h, width = call.logits.w, rows = call.logits.n * height;
    const std::vector<float> turns = table_of_turns(call, mutant);
    std::vector<float> columns(static_cast<std::size_t>(width + Vf::kLanes));
    for (std::int64_t x = 0; x < width; ++x) columns[x] = pixel_axis(call, x, width, mutant);
#pragma omp parallel for schedule(static) if (rows * width * call.motions() >= kWorthATeam)
    for (std::int64_t row = 0; row < rows; ++row) {
        MotionRun run;
        run.b = row / height;
        run.y = row % height;
        const std::int64_t end = width - (mutant.is(kLastPixelMissed) && row == rows - 1 ? 1 : 0);
        for (run.x = 0; run.x < end; run.x += Vf::kLanes) {
            run.count = static_cast<int>(std::min<std::int64_t>(Vf::kLanes, end - run.x));
            motion_run(call, run, turns.data(), columns.data(), mutant);
        }
    }
    if (mutant.is(kOneFlowBeyondTheEnd)) call.flow[rows * width * 2] = 0.0f;
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
