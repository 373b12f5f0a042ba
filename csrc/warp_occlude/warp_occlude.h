// warp_occlude: four neighbouring pixels of a feature map, weighted, for each output pixel; times its occlusion.
//
// This header holds where the four taps of one output pixel lie and what they weigh, for the CPU and the CUDA room, and the
// C entry points.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/warp_occlude/samples.py.
enum WarpMutant {
    kXAndYSwapped = 1,
    kAlignCornersFlipped,
    kTruncatedNotFloored,
    kBorderRepeated,
    kNotANumberSampledInTheCentre,
    kOutsideTimesZero,
    kSharesReversed,
    kOcclusionTwice,
    kOcclusionForgotten,
    kFeaturesOfTheFirstBatch,
    kLastChannelForgotten,
    kLastPixelForgotten,
    kOnePixelBeyondTheEnd,
    kWarpMutants = kOnePixelBeyondTheEnd,
};

template <class T>
struct Warp {
    T* out;                 // [n, h, w, c] as flow and features have them, contiguous
    View<T> features;       // stride_c is 1
    View<float> flow;       // [n, h, w, 2]
    View<float> occlusion;  // [n, h, w, 1]; no data: 1 everywhere
    bool align_corners;
};

// The two taps of a coordinate along one axis. Pixel numbers are kept inside, `inside` says (1 or 0) whether they were.
struct AxisTaps {
    std::int32_t at[2];
    float weight[2];
    std::int32_t inside[2];
};

// Without branches, here and below: the CPU room computes this for a run of pixels at a time, in vectors.
EAMFMEG_HD std::int32_t kept_inside(std::int32_t i, std::int32_t length) {
    const std::int32_t low = i < 0 ? 0 : i;
    return low < length ? low : length - 1;
}

EAMFMEG_HD std::int32_t is_inside(std::int32_t i, std::int32_t length) {
    return static_cast<std::uint32_t>(i) < static_cast<std::uint32_t>(length);
}

// A coordinate that is no number is taken for 0; the caller discards it.
EAMFMEG_HD AxisTaps axis_taps(float coordinate, std::int32_t length, bool align_corners, Mutant mutant) {
    const bool corners = align_corners != mutant.is(kAlignCornersFlipped);
    const float known = is_finite(coordinate) ? coordinate : 0.0f;
    const float position = unnormalise(bounded(known), length, corners);
    const std::int32_t cut = static_cast<std::int32_t>(position);
    const std::int32_t too_high = static_cast<float>(cut) > position;
    const std::int32_t low = cut - (mutant.is(kTruncatedNotFloored) ? 0 : too_high);
    const float share = position - static_cast<float>(low);
    const std::int32_t repeat = mutant.is(kBorderRepeated);
    AxisTaps taps{{kept_inside(low, length), kept_inside(low + 1, length)},
                  {1.0f - share, share},
                  {is_inside(low, length) | repeat, is_inside(low + 1, length) | repeat}};
    if (mutant.is(kSharesReversed)) {
        taps.weight[0] = share;
        taps.weight[1] = 1.0f - share;
    }
    return taps;
}

// Whether an output pixel with this flow samples anything.
EAMFMEG_HD std::int32_t is_somewhere(float x, float y, Mutant mutant) {
    return (is_finite(x) & is_finite(y)) | std::int32_t(mutant.is(kNotANumberSampledInTheCentre));
}

// The same call with its element type known.
template <class T>
Warp<T> typed(const Warp<char>& call) {
    const View<char>& map = call.features;
    return {reinterpret_cast<T*>(call.out),
            {reinterpret_cast<const T*>(map.data), map.n, map.h, map.w, map.c, map.stride_n, map.stride_h, map.stride_w, 1},
            call.flow,
            call.occlusion,
            call.align_corners};
}

// Pixel numbers are ints, and a float still tells neighbours apart.
inline bool too_large(const Warp<char>& call) {
    constexpr std::int64_t kLongest = 1 << 24;
    return call.features.h > kLongest || call.features.w > kLongest;
}

// What an output pixel is multiplied by.
template <class T>
EAMFMEG_HD float occlusion_at(const Warp<T>& call, std::int64_t b, std::int64_t y, std::int64_t x, Mutant mutant) {
    if (call.occlusion.data == nullptr || mutant.is(kOcclusionForgotten)) return 1.0f;
    const float value = *call.occlusion.at(b, y, x);
    return mutant.is(kOcclusionTwice) ? value * value : value;
}

}  // namespace eamfmeg

// out[b, y, x, :] = occlusion[b, y, x] * features sampled at flow[b, y, x], bilinear, zeros outside and where flow is not
// finite; a tap that lies inside and weighs nothing still counts where it is not a number, as in PyTorch.
// features [n, height, width, c] with channels side by side; flow [n, h, w, 2]; occlusion [n, h, w], or null for 1
// everywhere; strides in elements. `dtype` is that of features and out. The arithmetic is float.
// Returns kBadType, or kTooLarge where a side of features has more than 2^24 pixels.
extern "C" int eamfmeg_warp_occlude_cpu(void* out, const void* features, const float* flow, const float* occlusion,
                                        std::int64_t n, std::int64_t height, std::int64_t width, std::int64_t c,
                                        std::int64_t features_n, std::int64_t features_h, std::int64_t features_w,
                                        std::int64_t h, std::int64_t w, std::int64_t flow_n, std::int64_t flow_h,
                                        std::int64_t flow_w, std::int64_t flow_c, std::int64_t occlusion_n,
                                        std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t dtype,
                                        std::int64_t align_corners);

// The same on a CUDA device, queued on `stream` (a cudaStream_t); does not wait for it.
extern "C" int eamfmeg_warp_occlude_cuda(void* out, const void* features, const float* flow, const float* occlusion,
                                         std::int64_t n, std::int64_t height, std::int64_t width, std::int64_t c,
                                         std::int64_t features_n, std::int64_t features_h, std::int64_t features_w,
                                         std::int64_t h, std::int64_t w, std::int64_t flow_n, std::int64_t flow_h,
                                         std::int64_t flow_w, std::int64_t flow_c, std::int64_t occlusion_n,
                                         std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t dtype,
                                         std::int64_t align_corners, void* stream);
