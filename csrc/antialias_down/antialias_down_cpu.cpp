// antialias_down on the CPU: takes the kernel apart; the loops are those of antialias_down_loops.h. Versions: 1. column of
// taps over whole rows, then the taps along the row for the kept pixels.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "antialias_down/antialias_down.h"

namespace eamfmeg {
namespace {

// One call, as the loops see it.
struct DownCall {
    const void* picture;
    std::int64_t n, h, w, c, stride_n, stride_h, stride_w, stride_c, size, stride, before;
    // What the sums are divided by: 255 for bytes.
    float scale;

    std::int64_t out_h() const { return h / stride; }
    std::int64_t out_w() const { return w / stride; }
    // Pixels that the taps reach beside the picture.
    std::int64_t left() const { return before > 0 ? before : 0; }
    std::int64_t right() const {
        const std::int64_t beyond = stride * (out_w() - 1) + size - before - w;
        return beyond > 0 ? beyond : 0;
    }
};

// What the taps of one layer weigh: a column that makes one line out of several input rows, and the taps along that line.
struct Layer {
    const float* column;
    std::int64_t first, last;
    const float* line;
};

}  // namespace
}  // namespace eamfmeg

#define EAMFMEG_LOOPS "antialias_down/antialias_down_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

using Fault = AntialiasDownMutant;

std::vector<float> taps_of(const float* kernel, std::int64_t size, Mutant mutant) {
    std::vector<float> taps(kernel, kernel + size * size);
    if (mutant.is(Fault::kKernelFlipped)) std::reverse(taps.begin(), taps.end());
    for (std::int64_t i = 0; i < size; ++i) {
        for (std::int64_t j = 0; j < size; ++j) {
            if (mutant.is(Fault::kKernelTransposed)) taps[i * size + j] = kernel[j * size + i];
            if (mutant.is(Fault::kLastTapDropped) && j == size - 1) taps[i * size + j] = 0.0f;
        }
    }
    return taps;
}

// result = matrix * vector / |vector|^2; of the transposed matrix when `across`.
std::vector<double> project(const std::vector<float>& matrix, const std::vector<double>& vector, bool across) {
    const std::size_t size = vector.size();
    std::vector<double> result(size, 0.0);
    double square = 0;
    for (std::size_t i = 0; i < size; ++i) {
        square += vector[i] * vector[i];
        for (std::size_t j = 0; j < size; ++j) result[i] += vector[j] * matrix[across ? j * size + i : i * size + j];
    }
    for (double& value : result) value /= square;
    return result;
}

// Column and line whose outer product the kernel is, one after the other; empty where it is none. Its own rounding is all
// that may be left over.
std::vector<float> factors(const std::vector<float>& taps, std::size_t size) {
    const auto largest =
        std::max_element(taps.begin(), taps.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
    const std::size_t row = static_cast<std::size_t>(largest - taps.begin()) / size;
    std::vector<double> line(taps.begin() + row * size, taps.begin() + (row + 1) * size);
    std::vector<double> column = project(taps, line, false);
    // Between column and line no number is larger than the picture's: it must not overflow where the result does not.
    double weight = 0;
    for (const double value : column) weight += std::abs(value);
    for (double& value : column) value /= weight;
    line = project(taps, column, true);
    std::vector<float> both(column.begin(), column.end());
    both.insert(both.end(), line.begin(), line.end());
    double rest = 0, all = 0;
    for (std::size_t i = 0; i < taps.size(); ++i) {
        rest += std::abs(taps[i] - static_cast<double>(both[i / size]) * both[size + i % size]);
        all += std::abs(taps[i]);
    }
    return rest <= FLT_EPSILON * all ? both : std::vector<float>();
}

std::vector<Layer> layers_of(const std::vector<float>& taps, const std::vector<float>& both, std::int64_t size) {
    static const float one = 1.0f;
    if (!both.empty()) return {{both.data(), 0, size, both.data() + size}};
    std::vector<Layer> layers;
    for (std::int64_t i = 0; i < size; ++i) layers.push_back({&one, i, i + 1, taps.data() + i * size});
    return layers;
}

template <class T>
int run(float* out, const DownCall& call, const std::vector<Layer>& layers, Mutant mutant) {
    EAMFMEG_RUN(reduce<T>(out, call, layers, mutant));
    if (mutant.is(Fault::kOneBeyondTheEnd)) out[call.n * call.out_h() * call.out_w() * call.c] = 0.0f;
    return kOk;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_antialias_down_cpu(float* out, const void* picture, const float* kernel, std::int64_t n,
                                          std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t stride_n,
                                          std::int64_t stride_h, std::int64_t stride_w, std::int64_t stride_c,
                                          std::int64_t size, std::int64_t stride, std::int64_t type) {
    using namespace eamfmeg;
    const Mutant mutant = current_mutant();
    const bool bytes = type == kUInt8, scaled = mutant.is(Fault::kLevelsScaled);
    const float scale = bytes ? (scaled ? 256.0f : 255.0f) : (scaled ? 255.0f : 1.0f);
    if (mutant.is(Fault::kBatchStrideIgnored)) stride_n = 0;
    if (n == 0) return kOk;
    const DownCall call{picture,  n,        h,        w,    c,      stride_n,
                        stride_h, stride_w, stride_c, size, stride, taps_before(size, stride, mutant),
                        scale};
    const std::vector<float> taps = taps_of(kernel, size, mutant);
    const std::vector<float> both = factors(taps, static_cast<std::size_t>(size));
    const std::vector<Layer> layers = layers_of(taps, both, size);
    switch (type) {
        case kFloat32: return run<float>(out, call, layers, mutant);
        case kFloat16: return run<Half>(out, call, layers, mutant);
        case kBFloat16: return run<BFloat16>(out, call, layers, mutant);
        case kUInt8: return run<std::uint8_t>(out, call, layers, mutant);
        default: return kBadType;
    }
}
