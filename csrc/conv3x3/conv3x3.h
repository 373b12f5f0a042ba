// conv3x3: a 3x3 convolution by Winograd's minimal filtering F(4x4, 3x3): 36 products where the definition takes 144.
//
// Along one axis four outputs y are A^T ((G g) * (B^T d)) of six inputs d and a kernel g of three. The matrices come from
// polynomials that are multiplied at the points 0, p, -p, q, -q and infinity, here p = 5/8 and q = 3/2: close enough to 1
// that powers stay small, and few bits, so that B^T and A^T are exact. In two dimensions both axes are treated so.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/conv3x3/samples.py.
enum Conv3x3Mutant {
    kConvFirstRowRepeatedAbove = 1,
    kConvRightBorderWraps,
    kConvBiasDropped,
    kConvLastInputChannelDropped,
    kConvBatchStrideIgnored,
    kConvKernelTransposed,
    kConvLastOutputChannelDropped,
    kConvOneBeyondTheEnd,
    kConvReluAfterTheResidual,
    kConvPaddingActivated,
    kConvShiftDropped,
    kConvScaleDropped,
    kConvResidualDropped,
    kConvLastFrequencyForgotten,
    kConvPointsExchanged,
    kConvMutants = kConvPointsExchanged,
};

constexpr int kFrequencies = 36;
// The interpolation points, and their squares and cubes.
constexpr float kP = 0.625f, kP2 = kP * kP, kP3 = kP * kP2;
constexpr float kQ = 1.5f, kQ2 = kQ * kQ, kQ3 = kQ * kQ2;
// Output channels that lie side by side in packed kernels and in their products.
constexpr std::int64_t kConvPanel = 32;
// 32-bit words of a line: one channel each in float32, two in bfloat16.
constexpr std::int64_t kWords = 16;

// What the two product types have in common: channels of a word.
constexpr std::int64_t channels_of_a_word(std::int64_t dtype) {
    return dtype == kBFloat16 ? 2 : 1;
}

// G g G^T of one 3x3 kernel, in double.
EAMFMEG_HD void transform_kernel(const double* g, double* out) {
    const double p = kP, q = kQ, p2 = p * p, q2 = q * q;
    const double points[5] = {0, p, -p, q, -q};
    const double scale[5] = {p2 * q2, 2 * p2 * (p2 - q2), 2 * p2 * (p2 - q2), 2 * q2 * (q2 - p2), 2 * q2 * (q2 - p2)};
    double down[6][3];
    for (int j = 0; j < 3; ++j) {
        for (int i = 0; i < 5; ++i) down[i][j] = (g[j] + points[i] * (g[3 + j] + points[i] * g[6 + j])) / scale[i];
        down[5][j] = g[6 + j];
    }
    for (int i = 0; i < 6; ++i) {
        for (int j = 0; j < 5; ++j)
            out[6 * i + j] = (down[i][0] + points[j] * (down[i][1] + points[j] * down[i][2])) / scale[j];
        out[6 * i + 5] = down[i][2];
    }
}

}  // namespace eamfmeg

// Packs float32 kernels [o, c, 3, 3], contiguous, into 36 * ceil(o / 32) * ceil(c / 16) * 16 * 32 numbers, or with 32 for
// 16 where two channels share a word. `products` is an eamfmeg::DType: float32 or bfloat16. Returns an eamfmeg::Status.
extern "C" int eamfmeg_conv3x3_pack_cpu(void* packed, const float* weight, std::int64_t o, std::int64_t c,
                                        std::int64_t products);

// Writes [n, h, w, o] from [n, h, w, c], both contiguous float32, and packed kernels. `bias` [o], `scale` and `shift` [c]
// and `residual` [n, h, w, o] may be null; `residual` may be `out`. `tiles`: the sorted numbers of `count` squares of
// `side` pixels, which are written and nothing else; a `count` of -1 writes all. `scratch`: `floats` floats on a 64-byte
// boundary; the more, the more tiles at a time. `plain` keeps away from the processor's own products of bfloat16.
extern "C" int eamfmeg_conv3x3_cpu(float* out, const float* features, std::int64_t n, std::int64_t h, std::int64_t w,
                                   std::int64_t c, const void* packed, std::int64_t o, const float* bias,
                                   const float* scale, const float* shift, const float* residual, std::int64_t relu,
                                   std::int64_t products, const std::int32_t* tiles, std::int64_t count, std::int64_t side,
                                   float* scratch, std::int64_t floats, std::int64_t plain);
