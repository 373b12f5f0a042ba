// The loops of warp_occlude on the CPU, compiled once for each instruction set (common/every_isa.h).
namespace eamfmeg {
namespace EAMFMEG_ISA {

// What a run of output pixels needs, field by field, so that the compiler fills it with vectors.
struct WarpTaps {
    static constexpr int kPixels = 64;
    std::int32_t x[2][kPixels], y[2][kPixels], inside[4][kPixels];
    // times_sum is 1 wherever the occlusion could be put into the weights: those go to one product per channel less.
    float weight[4][kPixels], times_sum[kPixels];
};

template <class T>
inline void find_taps(const Warp<T>& call, std::int64_t b, std::int64_t y, std::int64_t first, int count, WarpTaps& taps,
                      Mutant mutant) {
    const auto width = static_cast<std::int32_t>(call.features.w), height = static_cast<std::int32_t>(call.features.h);
    const float* flow = call.flow.at(b, y, first);
    float at_x[WarpTaps::kPixels], at_y[WarpTaps::kPixels], occlusion[WarpTaps::kPixels];
    for (int i = 0; i < count; ++i) {
        at_x[i] = flow[i * call.flow.stride_w];
        at_y[i] = flow[i * call.flow.stride_w + call.flow.stride_c];
        occlusion[i] = occlusion_at(call, b, y, first + i, mutant);
    }
    for (int i = 0; i < count; ++i) {
        const PixelTaps pixel = pixel_taps(at_x[i], at_y[i], width, height, call.align_corners, mutant);
        // Larger than 1 or not finite, it must not meet the single products: they could overflow where their sum does not.
        const bool folds = std::fabs(occlusion[i]) <= 1.0f;
        const float fold = folds ? occlusion[i] : 1.0f;
        taps.times_sum[i] = folds ? 1.0f : occlusion[i];
        for (int j = 0; j < 2; ++j) {
            taps.x[j][i] = pixel.x.at[j];
            taps.y[j][i] = pixel.y.at[j];
        }
        for (int tap = 0; tap < 4; ++tap) {
            const bool inside = pixel.inside(tap / 2, tap % 2), as_zero = mutant.is(kOutsideTimesZero) && pixel.finite;
            taps.inside[tap][i] = inside || as_zero;
            taps.weight[tap][i] = inside ? pixel.weight(tap / 2, tap % 2) * fold : 0.0f;
        }
    }
}

// Four runs of channels and their weights.
template <class T>
struct Four {
    const T* from[4];
    float weight[4];
};

template <class T, bool kTimesSum>
inline void blend(T* out, const Four<T>& four, float times_sum, std::int64_t channels) {
    constexpr int kLanes = Vf::kLanes;
    const Vf w0 = set(four.weight[0]), w1 = set(four.weight[1]), w2 = set(four.weight[2]), w3 = set(four.weight[3]);
    const auto finished = [&](Vf sum) { return kTimesSum ? sum * set(times_sum) : sum; };
    const auto whole = [&](std::int64_t k) {
        const Vf upper = fma(load(four.from[1] + k), w1, load(four.from[0] + k) * w0);
        return finished(fma(load(four.from[3] + k), w3, fma(load(four.from[2] + k), w2, upper)));
    };
    std::int64_t k = 0;
    for (; k + 2 * kLanes <= channels; k += 2 * kLanes) {
        const Vf first = whole(k), second = whole(k + kLanes);
        store(out + k, first);
        store(out + k + kLanes, second);
    }
    for (; k + kLanes <= channels; k += kLanes) store(out + k, whole(k));
    if (k == channels) return;
    const int rest = static_cast<int>(channels - k);
    const Vf upper = fma(load(four.from[1] + k, rest), w1, load(four.from[0] + k, rest) * w0);
    const Vf lower = fma(load(four.from[2] + k, rest), w2, upper);
    store(out + k, finished(fma(load(four.from[3] + k, rest), w3, lower)), rest);
}

// One channel: no vector is worth filling.
template <class T>
inline void blend_one(T* out, const Four<T>& four, float times_sum) {
    float sum = 0.0f;
    for (int tap = 0; tap < 4; ++tap) sum += four.weight[tap] * to_float(*four.from[tap]);
    from_float(sum * times_sum, *out);
}

template <class T>
inline void blend_pixels(const Warp<T>& call, const T* picture, const T* nothing, const WarpTaps& taps, int count, T* out,
                         Mutant mutant) {
    const View<T>& map = call.features;
    const std::int64_t channels = map.c - (mutant.is(kLastChannelForgotten) ? 1 : 0);
    for (int i = 0; i < count; ++i, out += map.c) {
        Four<T> four;
        for (int tap = 0; tap < 4; ++tap) {
            const T* pixel = picture + taps.y[tap / 2][i] * map.stride_h + taps.x[tap % 2][i] * map.stride_w;
            four.from[tap] = taps.inside[tap][i] ? pixel : nothing;
            four.weight[tap] = taps.weight[tap][i];
        }
        if (channels == 1) {
            blend_one(out, four, taps.times_sum[i]);
        } else if (taps.times_sum[i] == 1.0f) {
            blend<T, false>(out, four, 1.0f, channels);
        } else {
            blend<T, true>(out, four, taps.times_sum[i], channels);
        }
    }
}

// Whole rows of the output on each thread. What lies outside is read from a row of zeros: a product with zero would let
// a NaN of the border through.
template <class T>
void warp_rows(const Warp<T>& call, Mutant mutant) {
    const View<T>& map = call.features;
    const std::int64_t height = call.flow.h, width = call.flow.w, rows = call.flow.n * height;
    const std::vector<T> nothing(static_cast<std::size_t>(map.c), T{});
#pragma omp parallel for schedule(static) if (rows * width * map.c >= kWorthATeam)
    for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t b = row / height, y = row % height;
        const T* picture = map.at(mutant.is(kFeaturesOfTheFirstBatch) ? 0 : b, 0, 0);
        WarpTaps taps;
        for (std::int64_t x = 0; x < width; x += WarpTaps::kPixels) {
            int count = static_cast<int>(std::min<std::int64_t>(WarpTaps::kPixels, width - x));
            find_taps(call, b, y, x, count, taps, mutant);
            if (mutant.is(kLastPixelForgotten) && row == rows - 1 && x + count == width) --count;
            blend_pixels(call, picture, nothing.data(), taps, count, call.out + (row * width + x) * map.c, mutant);
        }
    }
    if (mutant.is(kOnePixelBeyondTheEnd)) std::fill_n(call.out + rows * width * map.c, map.c, T{});
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
