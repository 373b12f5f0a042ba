// edge_attention: attention inside strips of rows, of maps that are gathered along the flow on the way in.
//
// With o the occlusion and warp() the bilinear gather, for the N = strip_rows * w pixels of each strip:
//     k = o warp(key) + key_bias, v = o warp(value) + value_bias, x = o warp(features), e = warp(edge)
//     released:   q = o warp(query) + query_bias, k = k + e edge_weight, out_j = sum_i softmax_j(q_i . k_j) v_i
//     edge-query: q = e edge_weight + query_bias,                        out_i = sum_j softmax_j(q_i . k_j) v_j
// and the result is gamma * out + x. The softmax is over the keys in both; scores are not scaled. In edge-query the score
// of a pair is e_i (edge_weight . k_j) + query_bias . k_j: the sum over `dim` is needed once for each key, not for each
// pair.
#pragma once

#include <cmath>

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/edge_attention/samples.py.
enum EdgeAttentionMutant {
    kFlowXAndYSwapped = 1,
    kOtherAlignCorners,
    kLastTapDropped,
    kNaNIsTheCentre,
    kOcclusionOnTheEdge,
    kBiasBeforeTheOcclusion,
    kScoresScaled,
    kLargestNotSubtracted,
    kLastKeyNotNormalised,
    kLastPositionNotSummed,
    kResidualNotOccluded,
    kAttentionBatchStrideIgnored,
    kAttentionLastChannelDropped,
    kAttentionOneBeyondTheEnd,
    kEdgeAttentionMutants = kAttentionOneBeyondTheEnd,
};

enum AttentionMode : int { kReleased = 0, kEdgeQuery = 1 };

// Where one output pixel gathers: tap t is the pixel (x + t % 2, y + t / 2) of the map, if `inside(t)`.
struct Taps {
    std::int64_t x, y;
    float weight[4];
    unsigned mask;

    EAMFMEG_HD bool inside(int t) const { return (mask >> t & 1u) != 0; }
};

// The position of `coordinate` on an axis of `length` pixels: the first tap, and the share of the second.
EAMFMEG_HD std::int64_t first_tap(float coordinate, std::int64_t length, bool align_corners, float& share) {
    const float at = unnormalise(bounded(coordinate), length, align_corners), low = floorf(at);
    share = at - low;
    return static_cast<std::int64_t>(low);
}

// The taps of a map of height x width pixels at the flow (fx, fy); a coordinate that is not finite is outside.
EAMFMEG_HD Taps taps_at(float fx, float fy, std::int64_t height, std::int64_t width, bool align_corners, Mutant mutant) {
    Taps taps{0, 0, {0.0f, 0.0f, 0.0f, 0.0f}, 0u};
    const bool finite = is_finite(fx) && is_finite(fy);
    if (!finite && !mutant.is(kNaNIsTheCentre)) return taps;
    if (!finite) fx = fy = 0.0f;
    if (mutant.is(kFlowXAndYSwapped)) {
        const float kept = fx;
        fx = fy, fy = kept;
    }
    if (mutant.is(kOtherAlignCorners)) align_corners = !align_corners;
    float right, below;
    taps.x = first_tap(fx, width, align_corners, right);
    taps.y = first_tap(fy, height, align_corners, below);
    const int count = mutant.is(kLastTapDropped) ? 3 : 4;
    for (int t = 0; t < count; ++t) {
        const std::int64_t x = taps.x + t % 2, y = taps.y + t / 2;
        if (x < 0 || x >= width || y < 0 || y >= height) continue;
        taps.mask |= 1u << t;
        taps.weight[t] = (t % 2 ? right : 1.0f - right) * (t / 2 ? below : 1.0f - below);
    }
    return taps;
}

// What weights of at most 1 are multiplied by, so that those of all `count` keys add up to at most 1 and sums of the
// largest values stay finite. A power of two: it costs no digits.
EAMFMEG_HD float share_of(std::int64_t count) {
    float share = 1.0f;
    for (std::int64_t room = 1; room < count; room *= 2) share *= 0.5f;
    return share;
}

}  // namespace eamfmeg

// Writes `out`, n*h*w*channels contiguous elements, and nothing else. `query` (null in edge-query) and `key` are
// n x from_h x from_w x dim; `value` and `features` n x from_h x from_w x channels: type number `dtype` (0 float32, 1
// float16, 2 bfloat16; arithmetic is in float32), channel stride 1, other strides (elements) in `strides`: twelve numbers
// in the host's memory, (n, h, w) of query, key, value, features. All else is float32 and contiguous: edge n x from_h x
// from_w, flow n x h x w x 2, occlusion n x h x w, edge_weight query_bias key_bias [dim], value_bias [channels], gamma [1].
// `mode` is an AttentionMode; strip_rows divides h. Returns an eamfmeg::Status.
extern "C" int eamfmeg_edge_attention_cpu(void* out, const void* query, const void* key, const void* value,
                                          const void* features, const float* edge, const float* flow,
                                          const float* occlusion, const float* edge_weight, const float* query_bias,
                                          const float* key_bias, const float* value_bias, const float* gamma,
                                          std::int64_t n, std::int64_t from_h, std::int64_t from_w, std::int64_t h,
                                          std::int64_t w, std::int64_t dim, std::int64_t channels,
                                          const std::int64_t* strides, std::int64_t strip_rows, std::int64_t mode,
                                          std::int64_t align_corners, std::int64_t dtype);

// The same on a CUDA device, queued on `stream` (a cudaStream_t); does not wait for it.
extern "C" int eamfmeg_edge_attention_cuda(void* out, const void* query, const void* key, const void* value,
                                           const void* features, const float* edge, const float* flow,
                                           const float* occlusion, const float* edge_weight, const float* query_bias,
                                           const float* key_bias, const float* value_bias, const float* gamma,
                                           std::int64_t n, std::int64_t from_h, std::int64_t from_w, std::int64_t h,
                                           std::int64_t w, std::int64_t dim, std::int64_t channels,
                                           const std::int64_t* strides, std::int64_t strip_rows, std::int64_t mode,
                                           std::int64_t align_corners, std::int64_t dtype, void* stream);
