// The loops of antialias_down_cpu.cpp: lanes run along the rows of the picture, then over the channels of an output pixel.
namespace eamfmeg {
namespace EAMFMEG_ISA {
namespace {

// Buffers of one thread.
struct Lines {
    // One input row after the column of taps, with what lies beside the picture; and one row of planes before they are
    // joined.
    std::vector<float> line, plane, sum;
    std::vector<std::int64_t> rows;
    std::vector<float> weights;
};

// kVectors vectors of the weighted sum of the rows, from element `from` on.
template <int kVectors, class T>
inline void weigh(float* to, const T* from, const Lines& lines, std::int64_t stride_h) {
    Vf sums[kVectors];
    for (Vf& sum : sums) sum = set(0.0f);
    for (std::size_t r = 0; r < lines.rows.size(); ++r) {
        const T* at = from + lines.rows[r] * stride_h;
        const Vf weight = set(lines.weights[r]);
        for (int v = 0; v < kVectors; ++v) sums[v] = fma(weight, load(at + v * Vf::kLanes), sums[v]);
    }
    for (int v = 0; v < kVectors; ++v) store(to + v * Vf::kLanes, sums[v]);
}

template <class T>
void weigh_rows(float* to, const T* from, const Lines& lines, std::int64_t stride_h, std::int64_t length) {
    constexpr std::int64_t kStep = 4 * Vf::kLanes;
    std::int64_t i = 0;
    for (; i + kStep <= length; i += kStep) weigh<4>(to + i, from + i, lines, stride_h);
    for (; i + Vf::kLanes <= length; i += Vf::kLanes) weigh<1>(to + i, from + i, lines, stride_h);
    if (i == length) return;
    const int lanes = static_cast<int>(length - i);
    Vf sum = set(0.0f);
    for (std::size_t r = 0; r < lines.rows.size(); ++r)
        sum = fma(set(lines.weights[r]), load(from + lines.rows[r] * stride_h + i, lanes), sum);
    store(to + i, sum, lanes);
}

// Pads one line of `width` pixels on both sides.
inline void pad(float* line, std::int64_t left, std::int64_t right, const DownCall& call, Mutant mutant) {
    if (!mutant.is(AntialiasDownMutant::kBorderRepeated)) return;
    const std::int64_t c = call.c, end = left + call.w;
    for (std::int64_t i = 0; i < left * c; ++i) line[i] = line[left * c + i % c];
    for (std::int64_t i = end * c; i < (end + right) * c; ++i) line[i] = line[(end - 1) * c + i % c];
}

// Fills lines.line with output row y of picture b after the column of taps.
template <class T>
void fill_line(Lines& lines, const DownCall& call, const Layer& layer, std::int64_t b, std::int64_t y, Mutant mutant) {
    const bool repeated = mutant.is(AntialiasDownMutant::kBorderRepeated);
    lines.rows.clear();
    lines.weights.clear();
    for (std::int64_t i = layer.first; i < layer.last; ++i) {
        const std::int64_t row = call.stride * y + i - call.before;
        if (!repeated && (row < 0 || row >= call.h)) continue;
        lines.rows.push_back(std::clamp<std::int64_t>(row, 0, call.h - 1));
        lines.weights.push_back(layer.column[i - layer.first]);
    }
    const T* picture = static_cast<const T*>(call.picture) + b * call.stride_n;
    float* inner = lines.line.data() + call.left() * call.c;
    if (call.stride_c == 1 && call.stride_w == call.c) {
        weigh_rows(inner, picture, lines, call.stride_h, call.w * call.c);
    } else {
        for (std::int64_t k = 0; k < call.c; ++k) {
            weigh_rows(lines.plane.data(), picture + k * call.stride_c, lines, call.stride_h, call.w);
            for (std::int64_t x = 0; x < call.w; ++x) inner[x * call.c + k] = lines.plane[static_cast<std::size_t>(x)];
        }
    }
    pad(lines.line.data(), call.left(), call.right(), call, mutant);
}

// Adds the taps along the line to the sums of kPixels output pixels, Vf::kLanes channels of each.
template <int kPixels>
inline void add_taps_at(float* to, const float* from, const DownCall& call, const float* taps, int lanes) {
    const std::int64_t step = call.stride * call.c;
    Vf sums[kPixels];
    for (int p = 0; p < kPixels; ++p) sums[p] = load(to + p * call.c, lanes);
    for (std::int64_t j = 0; j < call.size; ++j) {
        const Vf tap = set(taps[j]);
        for (int p = 0; p < kPixels; ++p) sums[p] = fma(tap, load(from + p * step + j * call.c), sums[p]);
    }
    for (int p = 0; p < kPixels; ++p) store(to + p * call.c, sums[p], lanes);
}

inline void add_taps(Lines& lines, const DownCall& call, const float* taps) {
    constexpr std::int64_t kPixels = 4;
    const float* first = lines.line.data() + (call.left() - call.before) * call.c;
    const std::int64_t step = call.stride * call.c, width = call.out_w();
    for (std::int64_t k = 0; k < call.c; k += Vf::kLanes) {
        const int lanes = static_cast<int>(std::min<std::int64_t>(Vf::kLanes, call.c - k));
        float* to = lines.sum.data() + k;
        std::int64_t x = 0;
        for (; x + kPixels <= width; x += kPixels)
            add_taps_at<kPixels>(to + x * call.c, first + x * step + k, call, taps, lanes);
        for (; x < width; ++x) add_taps_at<1>(to + x * call.c, first + x * step + k, call, taps, lanes);
    }
}

inline void write_row(float* out, const Lines& lines, const DownCall& call, Mutant mutant) {
    const Vf scale = set(call.scale);
    const std::int64_t length = call.out_w() * call.c;
    for (std::int64_t i = 0; i < length; i += Vf::kLanes) {
        const int lanes = static_cast<int>(std::min<std::int64_t>(Vf::kLanes, length - i));
        store(out + i, load(lines.sum.data() + i) / scale, lanes);
    }
    if (mutant.is(AntialiasDownMutant::kChannelsReversed))
        for (std::int64_t x = 0; x < call.out_w(); ++x) std::reverse(out + x * call.c, out + (x + 1) * call.c);
}

template <class T>
void reduce(float* out, const DownCall& call, const std::vector<Layer>& layers, Mutant mutant) {
    const std::int64_t rows = call.n * call.out_h() - (mutant.is(AntialiasDownMutant::kLastRowDropped) ? 1 : 0);
    const auto beyond = static_cast<std::size_t>(Vf::kLanes);
    const int threads = team_for(rows * call.w * call.c * call.size);
    std::vector<Lines> each(static_cast<std::size_t>(threads));
    for (Lines& lines : each) {
        lines.line.resize(static_cast<std::size_t>((call.left() + call.w + call.right()) * call.c) + beyond);
        lines.plane.resize(static_cast<std::size_t>(call.w) + beyond);
        lines.sum.resize(static_cast<std::size_t>(call.out_w() * call.c) + beyond);
        lines.rows.reserve(static_cast<std::size_t>(call.size));
        lines.weights.reserve(static_cast<std::size_t>(call.size));
    }
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t row = 0; row < rows; ++row) {
        Lines& lines = each[member()];
        std::fill(lines.sum.begin(), lines.sum.end(), 0.0f);
        for (const Layer& layer : layers) {
            fill_line<T>(lines, call, layer, row / call.out_h(), row % call.out_h(), mutant);
            add_taps(lines, call, layer.line);
        }
        write_row(out + row * call.out_w() * call.c, lines, call, mutant);
    }
}

}  // namespace
}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
