// soft_argmax on the CPU: the chunks are summed by the loops of soft_argmax_loops.h and put together here.
#include "soft_argmax/soft_argmax.h"

#define EAMFMEG_LOOPS "soft_argmax/soft_argmax_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

// The six sums of keypoint k of picture b over all chunks, relative to the largest logit of all.
struct Total {
    double weight = 0, column = 0, row = 0, maps[4] = {};
};

Total combine(const double* partials, const SoftArgmaxCall& call, std::int64_t b, std::int64_t k, Mutant mutant) {
    const std::int64_t chunks = call.chunks(), width = call.width(), step = kPartialRows * width;
    const double* first = partials + b * chunks * step + k;
    double top = first[0];
    for (std::int64_t i = 1; i < chunks; ++i) top = std::max(top, first[i * step]);
    const double inverse = static_cast<double>(call.inverse) + call.inverse_rest;
    Total total;
    for (std::int64_t i = 0; i < chunks; ++i) {
        const double* chunk = first + i * step;
        const double scale = mutant.is(SoftArgmaxMutant::kChunksNotRescaled) ? 1.0 : std::exp((chunk[0] - top) * inverse);
        total.weight += scale * chunk[width];
        total.column += scale * chunk[2 * width];
        total.row += scale * chunk[3 * width];
        for (int e = 0; e < 4; ++e) total.maps[e] += scale * chunk[4 * width + 3 * k + e];
    }
    return total;
}

void finish(float* kp, float* jacobian, const double* partials, const SoftArgmaxCall& call, Mutant mutant) {
    const int grid = mutant.is(SoftArgmaxMutant::kOtherPixelGrid) ? 1 - call.grid : call.grid;
    const int x = mutant.is(SoftArgmaxMutant::kPositionSwapped) ? 1 : 0;
    for (std::int64_t i = 0; i < call.n * call.k; ++i) {
        const Total total = combine(partials, call, i / call.k, i % call.k, mutant);
        kp[2 * i + x] = static_cast<float>(total.column / total.weight * per_pixel(call.w, grid));
        kp[2 * i + 1 - x] = static_cast<float>(total.row / total.weight * per_pixel(call.h, grid));
        const double divisor = mutant.is(SoftArgmaxMutant::kJacobianNotNormalised) ? 1.0 : total.weight;
        for (int e = 0; e < 4; ++e) {
            const int from = mutant.is(SoftArgmaxMutant::kJacobianTransposed) ? (e % 2) * 2 + e / 2 : e;
            jacobian[4 * i + e] = static_cast<float>(total.maps[from] / divisor);
        }
    }
    if (mutant.is(SoftArgmaxMutant::kOneBeyondTheEnd)) kp[2 * call.n * call.k] = 0.0f;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_soft_argmax_cpu(float* kp, float* jacobian, const float* logits, const float* maps, std::int64_t n,
                                       std::int64_t h, std::int64_t w, std::int64_t k, std::int64_t logits_n,
                                       std::int64_t logits_h, std::int64_t logits_w, std::int64_t maps_n,
                                       std::int64_t maps_h, std::int64_t maps_w, float inverse, float inverse_rest,
                                       std::int64_t grid) {
    using namespace eamfmeg;
    const Mutant mutant = current_mutant();
    if (mutant.is(SoftArgmaxMutant::kBatchStrideIgnored)) logits_n = maps_n = 0;
    if (mutant.is(SoftArgmaxMutant::kPackedStrideIgnored)) {
        logits_w = k;
        logits_h = w * k;
    }
    const SoftArgmaxCall call{logits,
                              maps,
                              n,
                              h,
                              w,
                              k,
                              logits_n,
                              logits_h,
                              logits_w,
                              maps_n,
                              maps_h,
                              maps_w,
                              inverse,
                              inverse_rest,
                              static_cast<int>(grid)};
    if (n == 0 || k == 0) return kOk;
    std::vector<double> partials(static_cast<std::size_t>(n * call.chunks() * kPartialRows * call.width()));
    EAMFMEG_RUN(sum_chunks(partials.data(), call, mutant));
    finish(kp, jacobian, partials.data(), call, mutant);
    return kOk;
}
