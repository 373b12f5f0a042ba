// The loops of quantize_cpu.cpp: lanes run along the channels of one pixel.
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

inline Vf byte_of(Vf x, Vf scale, Vf shift, Mutant mutant) {
    if (mutant.is(QuantizeMutant::kScaleDropped)) scale = set(1.0f);
    if (mutant.is(QuantizeMutant::kShiftDropped)) shift = set(0.0f);
    Vf value = fma(x, scale, shift);
    if (mutant.is(QuantizeMutant::kNegativeMirrored)) value = max(value, set(0.0f) - value);
    if (mutant.is(QuantizeMutant::kNanIsLargest)) value = min(value, set(300.0f));
    // A NaN turns into the second operand.
    value = max(value, set(0.0f));
    if (mutant.is(QuantizeMutant::kTooLargeWrapsAround))
        value = value - set(256.0f) * floor(min(value, set(1e6f)) * set(1.0f / 256.0f));
    value = min(value, set(255.0f));
    if (mutant.is(QuantizeMutant::kHalvesUp)) return floor(value + set(0.5f));
    return mutant.is(QuantizeMutant::kCutOff) ? value : round(value);
}

inline Vf scales_at(const float* scale, std::int64_t i, int lanes, Mutant mutant) {
    return mutant.is(QuantizeMutant::kFirstScaleForAll) ? set(scale[0]) : load(scale + i, lanes);
}

inline void one_pixel(std::uint8_t* out, const float* from, const float* scale, const float* shift, std::int64_t channels,
                      Mutant mutant) {
    std::int64_t i = 0;
    for (; i + Vf::kLanes <= channels; i += Vf::kLanes)
        store(out + i, byte_of(load(from + i), scales_at(scale, i, Vf::kLanes, mutant), load(shift + i), mutant));
    if (i == channels) return;
    const int lanes = static_cast<int>(channels - i);
    store(out + i, byte_of(load(from + i, lanes), scales_at(scale, i, lanes, mutant), load(shift + i, lanes), mutant),
          lanes);
}

inline void strided_pixel(std::uint8_t* out, const float* from, const float* scale, const float* shift,
                          const View<float>& in, Mutant mutant) {
    for (std::int64_t i = 0; i < in.c; ++i) {
        const Vf x = load(from + i * in.stride_c, 1);
        store(out + i, byte_of(x, scales_at(scale, i, 1, mutant), load(shift + i, 1), mutant), 1);
    }
}

inline void quantize_rows(std::uint8_t* out, const View<float>& in, const float* scale, const float* shift, Mutant mutant) {
    const std::int64_t rows = in.n * in.h, last = mutant.is(QuantizeMutant::kLastPixelDropped) ? in.w - 1 : in.w;
#pragma omp parallel for schedule(static) if (in.elements() >= kWorthATeam)
    for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t x = 0; x < last; ++x) {
            std::uint8_t* to = out + (row * in.w + x) * in.c;
            const float* from = in.at(row / in.h, row % in.h, x);
            if (in.stride_c == 1)
                one_pixel(to, from, scale, shift, in.c, mutant);
            else
                strided_pixel(to, from, scale, shift, in, mutant);
        }
    }
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
