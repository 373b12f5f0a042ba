// Bilinear samples of the maps, straight into the layouts that the products read.
namespace eamfmeg {
namespace EAMFMEG_ISA {

// The four pixels under one output pixel; those outside the map are a row of zeros.
template <class T>
struct Corners {
    const T* at[4];
    Vf weight[4];

    Vf sample(std::int64_t c) const {
        Vf sum = weight[0] * load(at[0] + c);
        for (int t = 1; t < 4; ++t) sum = fma(weight[t], load(at[t] + c), sum);
        return sum;
    }
    Vf sample(std::int64_t c, int n) const {
        if (n >= Vf::kLanes) return sample(c);
        Vf sum = weight[0] * load(at[0] + c, n);
        for (int t = 1; t < 4; ++t) sum = fma(weight[t], load(at[t] + c, n), sum);
        return sum;
    }
};

template <class T>
inline Corners<T> corners_of(const T* map, const std::int64_t* strides, const T* zeros, const Taps& taps) {
    Corners<T> corners;
    for (int t = 0; t < 4; ++t) {
        const std::int64_t x = taps.x + t % 2, y = taps.y + t / 2;
        corners.at[t] = taps.inside(t) ? map + y * strides[1] + x * strides[2] : zeros;
        corners.weight[t] = set(taps.weight[t]);
    }
    return corners;
}

// The lanes from channel c that exist.
inline int lanes_from(std::int64_t c, std::int64_t channels) {
    return static_cast<int>(std::min<std::int64_t>(channels - c, Vf::kLanes));
}

// o warp + bias; bias goes after the occlusion.
inline Vf occluded(Vf sample, Vf occlusion, Vf bias, Mutant mutant) {
    if (mutant.is(kBiasBeforeTheOcclusion)) return (sample + bias) * occlusion;
    return fma(sample, occlusion, bias);
}

// One map of one picture, as the loops see it.
template <class T>
struct Map {
    const T* data;
    const std::int64_t* strides;
    std::int64_t channels;
    const T* zeros;

    Corners<T> at(const Taps& taps) const { return corners_of(data, strides, zeros, taps); }
};

// Each pixel's `scale (o warp + bias)` as one row of B: `count` rows, channels in panels `panel_step` apart.
template <class T>
inline void gather_panels(const Map<T>& map, const Taps* taps, const float* occlusion, const float* bias,
                          const float* scale, std::int64_t count, float* out, std::int64_t panel_step, Mutant mutant) {
    for (std::int64_t i = 0; i < count; ++i) {
        const Corners<T> corners = map.at(taps[i]);
        const Vf o = set(occlusion[i]), factor = set(scale ? scale[i] : 1.0f);
        float* at = out + i * Vf::kLanes;
        for (std::int64_t c = 0; c < map.channels; c += Vf::kLanes, at += panel_step) {
            const int n = lanes_from(c, map.channels);
            const Vf b = bias ? load(bias + c, n) : set(0.0f);
            store(at, occluded(corners.sample(c, n), o, b, mutant) * factor);
        }
    }
}

// `o warp + bias + share * weight` of one pixel, `channels` numbers and zeros up to whole vectors; bias and weight may be
// null.
template <class T>
inline void gather_row(const Map<T>& map, const Taps& taps, float occlusion, const float* bias, float share,
                       const float* weight, float* out, Mutant mutant) {
    const Corners<T> corners = map.at(taps);
    for (std::int64_t c = 0; c < map.channels; c += Vf::kLanes) {
        const int n = lanes_from(c, map.channels);
        const Vf b = bias ? load(bias + c, n) : set(0.0f);
        const Vf row = occluded(corners.sample(c, n), set(occlusion), b, mutant);
        store(out + c, weight ? fma(set(share), load(weight + c, n), row) : row);
    }
}

// What an output pixel is beside o warp: gamma bias, and its own `scale` times its row of `sums`; each may be null.
struct Beside {
    const float *bias, *sums, *scale;
    float gamma;
};

// out = o warp + what is beside it, for each pixel; `occlusion` is null for 1. The rows of `sums` may be those of `out`.
template <class T, class Out>
inline void gather_out(const Map<T>& map, const Taps* taps, const float* occlusion, const Beside& beside,
                       std::int64_t count, Out* out, std::int64_t row_step) {
    for (std::int64_t i = 0; i < count; ++i) {
        const Corners<T> corners = map.at(taps[i]);
        const Vf o = set(occlusion ? occlusion[i] : 1.0f), scale = set(beside.scale ? beside.scale[i] : 1.0f);
        for (std::int64_t c = 0; c < map.channels; c += Vf::kLanes) {
            const int n = lanes_from(c, map.channels);
            const std::int64_t at = i * row_step + c;
            Vf x = o * corners.sample(c, n);
            if (beside.bias) x = fma(set(beside.gamma), load(beside.bias + c, n), x);
            if (beside.sums) x = fma(scale, load(beside.sums + at, n), x);
            store(out + at, x, n);
        }
    }
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
