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
            const Vf b = n < Vf::kLanes ? load(bias + c, n) : load(bias + c);
            store(at, occluded(corners.sample(c, n), o, b, mutant) * factor);
        }
    }
}

// `o warp + bias + share * weight` of one pixel, `channels` numbers and zeros up to whole vectors.
template <class T>
inline void gather_row(const Map<T>& map, const Taps& taps, float occlusion, const float* bias, float share,
                       const float* weight, float* out, Mutant mutant) {
    const Corners<T> corners = map.at(taps);
    for (std::int64_t c = 0; c < map.channels; c += Vf::kLanes) {
        const int n = lanes_from(c, map.channels);
        const Vf row = occluded(corners.sample(c, n), set(occlusion), load(bias + c, n), mutant);
        store(out + c, weight ? fma(set(share), load(weight + c, n), row) : row);
    }
}

// out = o warp + scale * sums for each pixel; `sums` is null or has the rows of `out`, and may be `out`.
template <class T, class Out>
inline void gather_out(const Map<T>& map, const Taps* taps, const float* occlusion, const float* sums, const float* scale,
                       std::int64_t count, Out* out, std::int64_t row_step) {
    for (std::int64_t i = 0; i < count; ++i) {
        const Corners<T> corners = map.at(taps[i]);
        const Vf o = set(occlusion ? occlusion[i] : 1.0f), factor = set(scale ? scale[i] : 1.0f);
        for (std::int64_t c = 0; c < map.channels; c += Vf::kLanes) {
            const int n = lanes_from(c, map.channels);
            const std::int64_t at = i * row_step + c;
            Vf x = o * corners.sample(c, n);
            if (sums) x = fma(factor, load(sums + at, n), x);
            n < Vf::kLanes ? store(out + at, x, n) : store(out + at, x);
        }
    }
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
