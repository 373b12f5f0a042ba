// The loops of to_image_cpu.cpp: lanes run along a row, over all channels of its pixels or over one plane.
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

// The levels, one half higher: storing them cuts their fractions off.
inline Vf levels(Vf x, bool from_logits, Mutant mutant) {
    if (mutant.is(ToImageMutant::kLogitsTakenForLevels)) from_logits = !from_logits;
    if (mutant.is(ToImageMutant::kLevelsFromMinusOne)) x = fma(x, set(0.5f), set(0.5f));
    if (mutant.is(ToImageMutant::kNanIsWhite)) x = min(x, set(100.0f));
    // A NaN turns into the second operand, whose level is 0.
    x = max(x, set(from_logits ? -200.0f : 0.0f));
    x = from_logits ? sigmoid(x) : min(x, set(mutant.is(ToImageMutant::kTooBrightWrapsAround) ? 8.0f : 1.0f));
    const Vf level = x * set(mutant.is(ToImageMutant::kTimes256) ? 256.0f : 255.0f);
    const Vf higher = mutant.is(ToImageMutant::kCutOff) ? level : level + set(0.5f);
    if (mutant.is(ToImageMutant::kTooBrightWrapsAround)) return higher - set(256.0f) * floor(higher * set(1.0f / 256.0f));
    return mutant.is(ToImageMutant::kTimes256) ? min(higher, set(255.0f)) : higher;
}

template <class T>
void one_row(std::uint8_t* out, const T* from, std::int64_t count, bool from_logits, Mutant mutant) {
    std::int64_t i = 0;
    for (; i + Vf::kLanes <= count; i += Vf::kLanes) store(out + i, levels(load(from + i), from_logits, mutant));
    if (i == count) return;
    const int lanes = static_cast<int>(count - i);
    store(out + i, levels(load(from + i, lanes), from_logits, mutant), lanes);
}

// Three planes, joined on the way.
template <class T>
void three_planes(std::uint8_t* out, const T* from, std::int64_t apart, std::int64_t width, bool from_logits,
                  Mutant mutant) {
    const std::int64_t first = mutant.is(ToImageMutant::kBlueFirst) ? 2 : 0;
    const T *red = from + first * apart, *green = from + apart, *blue = from + (2 - first) * apart;
    std::int64_t x = 0;
    for (; x + Vf::kLanes <= width; x += Vf::kLanes)
        store_pixels(out + 3 * x, levels(load(red + x), from_logits, mutant), levels(load(green + x), from_logits, mutant),
                     levels(load(blue + x), from_logits, mutant));
    if (x == width) return;
    const int lanes = static_cast<int>(width - x);
    std::uint8_t last[3 * Vf::kLanes];
    store_pixels(last, levels(load(red + x, lanes), from_logits, mutant),
                 levels(load(green + x, lanes), from_logits, mutant), levels(load(blue + x, lanes), from_logits, mutant));
    std::memcpy(out + 3 * x, last, static_cast<std::size_t>(3 * lanes));
}

template <class T>
void any_row(std::uint8_t* out, const T* from, const View<T>& in, bool from_logits, Mutant mutant) {
    for (std::int64_t x = 0; x < in.w; ++x) {
        for (std::int64_t k = 0; k < in.c; ++k) {
            const std::int64_t channel = mutant.is(ToImageMutant::kBlueFirst) ? in.c - 1 - k : k;
            const Vf level = levels(load(from + x * in.stride_w + channel * in.stride_c, 1), from_logits, mutant);
            store(out + x * in.c + k, level, 1);
        }
    }
}

template <class T>
void draw_rows(std::uint8_t* out, const View<T>& in, bool from_logits, Mutant mutant) {
    const bool reversed = mutant.is(ToImageMutant::kBlueFirst), together = in.stride_c == 1 && in.stride_w == in.c;
    const std::int64_t rows = in.n * in.h;
#pragma omp parallel for schedule(static) if (in.elements() >= kWorthATeam)
    for (std::int64_t row = 0; row < rows; ++row) {
        const T* from = in.at(row / in.h, row % in.h, 0);
        std::uint8_t* to = out + row * in.w * in.c;
        if (together && !reversed)
            one_row(to, from, in.w * in.c, from_logits, mutant);
        else if (in.c == 3 && in.stride_w == 1)
            three_planes(to, from, in.stride_c, in.w, from_logits, mutant);
        else
            any_row(to, from, in, from_logits, mutant);
    }
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
