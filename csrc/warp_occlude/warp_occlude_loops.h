// The loops of warp_occlude on the CPU, compiled once for each instruction set (common/every_isa.h).
namespace eamfmeg {
namespace EAMFMEG_ISA {

// The taps of a run of output pixels along one axis, field by field, so that the compiler fills them with vectors.
struct AxisRun {
    static constexpr int kPixels = 64;
    float coordinate[kPixels], weight[2][kPixels];
    std::int32_t at[2][kPixels], inside[2][kPixels];

    void find(std::int64_t length, bool align_corners, Mutant mutant) {
        const auto pixels = static_cast<std::int32_t>(length);
        for (int i = 0; i < kPixels; ++i) {
            const AxisTaps taps = axis_taps(coordinate[i], pixels, align_corners, mutant);
            for (int j = 0; j < 2; ++j) {
                at[j][i] = taps.at[j];
                weight[j][i] = taps.weight[j];
                inside[j][i] = taps.inside[j];
            }
        }
    }
};

// Of a run of output pixels; tap 2 * i + j lies in row i and column j of its neighbourhood.
struct WarpTaps {
    static constexpr int kPixels = AxisRun::kPixels;
    AxisRun x, y;
    std::int32_t inside[4][kPixels];
    // times_sum is 1 wherever the occlusion could be put into the weights: that saves a product for each channel.
    float weight[4][kPixels], occlusion[kPixels], times_sum[kPixels];

    void find(Mutant mutant) {
        for (int i = 0; i < kPixels; ++i) {
            const std::int32_t somewhere = is_somewhere(x.coordinate[i], y.coordinate[i], mutant);
            // Larger than 1 or no number, it must not meet the single products: they could overflow where their sum does
            // not.
            const bool folds = std::fabs(occlusion[i]) <= 1.0f;
            const float fold = folds ? occlusion[i] : 1.0f;
            times_sum[i] = folds ? 1.0f : occlusion[i];
            for (int tap = 0; tap < 4; ++tap) {
                const float share = y.weight[tap / 2][i] * x.weight[tap % 2][i] * fold;
                const std::int32_t in = y.inside[tap / 2][i] & x.inside[tap % 2][i] & somewhere;
                weight[tap][i] = share * static_cast<float>(in);
                inside[tap][i] = mutant.is(kOutsideTimesZero) ? somewhere : in;
            }
        }
    }
};

template <class T>
inline void find_taps(const Warp<T>& call, std::int64_t b, std::int64_t y, std::int64_t first, int count, WarpTaps& taps,
                      Mutant mutant) {
    const float* flow = call.flow.at(b, y, first);
    const int swap = mutant.is(kXAndYSwapped);
    for (int i = 0; i < WarpTaps::kPixels; ++i) {
        // The run is always whole: what lies beyond its end repeats its last pixel.
        const std::int64_t at = std::min(i, count - 1);
        taps.x.coordinate[i] = flow[at * call.flow.stride_w + swap * call.flow.stride_c];
        taps.y.coordinate[i] = flow[at * call.flow.stride_w + (1 - swap) * call.flow.stride_c];
        taps.occlusion[i] = occlusion_at(call, b, y, first + at, mutant);
    }
    taps.x.find(call.features.w, call.align_corners, mutant);
    taps.y.find(call.features.h, call.align_corners, mutant);
    taps.find(mutant);
}

constexpr std::int64_t kFewChannels = 3;

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

// A few channels: no vector is worth filling.
template <class T>
inline void blend_few(T* out, const Four<T>& four, float times_sum, std::int64_t channels) {
    for (std::int64_t k = 0; k < channels; ++k) {
        float sum = 0.0f;
        for (int tap = 0; tap < 4; ++tap) sum += four.weight[tap] * to_float(four.from[tap][k]);
        from_float(sum * times_sum, out[k]);
    }
}

template <class T>
inline void blend_pixels(const Warp<T>& call, const T* picture, const T* nothing, const WarpTaps& taps, int count, T* out,
                         Mutant mutant) {
    const View<T>& map = call.features;
    const std::int64_t channels = map.c - (mutant.is(kLastChannelForgotten) ? 1 : 0);
    for (int i = 0; i < count; ++i, out += map.c) {
        Four<T> four;
        for (int tap = 0; tap < 4; ++tap) {
            const T* pixel = picture + taps.y.at[tap / 2][i] * map.stride_h + taps.x.at[tap % 2][i] * map.stride_w;
            four.from[tap] = taps.inside[tap][i] ? pixel : nothing;
            four.weight[tap] = taps.weight[tap][i];
        }
        if (channels <= kFewChannels) {
            blend_few(out, four, taps.times_sum[i], channels);
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
