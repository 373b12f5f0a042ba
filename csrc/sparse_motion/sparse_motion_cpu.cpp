// sparse_motion on the CPU: frames the thumbnail; the loops are those of sparse_motion_loops.h. Versions: 1. a row of one
// motion at a time, taps of four floats from a thumbnail with a black frame, Gaussians as products of rows and columns.
#include <algorithm>
#include <cstring>
#include <vector>

#include "sparse_motion/sparse_motion.h"

namespace eamfmeg {
namespace {

// Black pixels on each side of the framed thumbnail: room for both taps of what lies outside.
constexpr std::int32_t kFrame = 2;

struct SparseCall {
    const float *kp_target, *kp_driving, *affine;
    std::int64_t h, w, k;
    float rate;
    bool align_corners;

    std::int64_t frame_w() const { return w + 2 * kFrame; }
    std::int64_t frame_h() const { return h + 2 * kFrame; }
};

// The axes of the pixel grid, and each motion's Gaussians along them.
struct Bells {
    std::int64_t columns, rows;
    std::vector<float> axis_x, axis_y, target_x, target_y, driving_x, driving_y;

    Bells(const SparseCall& call, int grid) : columns(whole(call.w)), rows(whole(call.h)) {
        axis_x.resize(static_cast<std::size_t>(columns));
        axis_y.resize(static_cast<std::size_t>(rows));
        for (std::int64_t i = 0; i < call.w; ++i) axis_x[static_cast<std::size_t>(i)] = axis_at(i, call.w, grid);
        for (std::int64_t i = 0; i < call.h; ++i) axis_y[static_cast<std::size_t>(i)] = axis_at(i, call.h, grid);
        for (std::vector<float>* line : {&target_x, &driving_x}) line->resize(static_cast<std::size_t>(columns * call.k));
        for (std::vector<float>* line : {&target_y, &driving_y}) line->resize(static_cast<std::size_t>(rows * call.k));
    }

    // Filled up to the widest vector.
    static std::int64_t whole(std::int64_t length) { return (length + 15) / 16 * 16; }
};

typedef float Quad __attribute__((vector_size(16)));

inline Quad quad_at(const float* p) {
    Quad quad;
    std::memcpy(&quad, p, sizeof quad);
    return quad;
}

// Copies one picture into the middle of its frame, four floats per pixel, the first of them unused.
void fill_frame(std::vector<float>& frame, const View<float>& thumbnail, const SparseCall& call, std::int64_t b) {
    for (std::int64_t y = 0; y < call.h; ++y) {
        float* to = frame.data() + 4 * ((y + kFrame) * call.frame_w() + kFrame);
        for (std::int64_t x = 0; x < call.w; ++x, to += 4) {
            const float* from = thumbnail.at(b, y, x);
            for (int c = 0; c < 3; ++c) to[1 + c] = from[c * thumbnail.stride_c];
        }
    }
}

}  // namespace
}  // namespace eamfmeg

#define EAMFMEG_LOOPS "sparse_motion/sparse_motion_loops.h"
#include "common/every_isa.h"

extern "C" int eamfmeg_sparse_motion_cpu(float* out, const float* thumbnail, const float* kp_target,
                                         const float* kp_driving, const float* affine, std::int64_t n, std::int64_t h,
                                         std::int64_t w, std::int64_t stride_n, std::int64_t stride_h,
                                         std::int64_t stride_w, std::int64_t stride_c, std::int64_t k, float rate,
                                         std::int64_t grid, std::int64_t align_corners) {
    using namespace eamfmeg;
    const Mutant mutant = current_mutant();
    const View<float> view{thumbnail, n, h, w, 3, stride_n, stride_h, stride_w, stride_c};
    const SparseCall call{kp_target, kp_driving, affine, h, w, k, rate, align_corners != 0};
    const std::int64_t pixels = call.frame_h() * call.frame_w();
    if (pixels > INT32_MAX) return kTooLarge;
    if (mutant.is(SparseMotionMutant::kOtherPixelGrid)) grid = 1 - grid;
    Bells bells(call, static_cast<int>(grid));
    std::vector<float> frame(static_cast<std::size_t>(4 * pixels), 0.0f);
    for (std::int64_t b = 0; b < n; ++b) {
        fill_frame(frame, view, call, b);
        const std::int64_t motion = mutant.is(SparseMotionMutant::kBatchStrideIgnored) ? 0 : b;
        EAMFMEG_RUN(draw(out + b * h * w * 4 * (k + 1), call, bells, frame.data(), motion, mutant));
    }
    if (mutant.is(SparseMotionMutant::kOneBeyondTheEnd)) out[n * h * w * 4 * (k + 1)] = 0.0f;
    return kOk;
}
