// upsample_conv: nearest doubling, then a 3x3 convolution, with fewer multiplications than it seems to need.
//
// Along one axis, output pixels 2x and 2x+1 see input pixels x-1, x, x+1 through the kernel (k0, k1, k2):
//     out(2x)   = k0 in(x-1) + (k1 + k2) in(x) = s in(x) + k0 d(x)
//     out(2x+1) = (k0 + k1) in(x) + k2 in(x+1) = s in(x) - k2 d(x+1)
// where s = k0 + k1 + k2 and d(x) = in(x-1) - in(x). Three products give two outputs: in two dimensions nine give four,
// where the definition takes 36 and four 2x2 kernels 16. Zero padding is a zero in(-1) and in(W), so it is exact too.
#pragma once

#include "common/mutants.h"
#include "common/platform.h"

namespace eamfmeg {

// Numbered as MUTANTS in kernels/upsample_conv/samples.py.
enum UpsampleConvMutant {
    kRowPhasesExchanged = 1,
    kColumnPhasesExchanged,
    kMiddleRowForgotten,
    kFirstRowRepeatedAbove,
    kRightBorderWraps,
    kBiasDropped,
    kLastInputChannelDropped,
    kUpsampleBatchStrideIgnored,
    kKernelTransposed,
    kLastOutputChannelDropped,
    kUpsampleOneBeyondTheEnd,
    kUpsampleConvMutants = kUpsampleOneBeyondTheEnd,
    // Of the CPU room's own arguments, as ENGINE_MUTANTS there.
    kReluDropped,
    kTileColumnForgotten,
    kOutStrideIgnored,
    kSecondOfAPairDropped,
};

// The packed kernels: [panel of 32 output channels][9 products][input channel][32] floats, or [..][pair of input
// channels][32][2] bfloat16. Products: 0 all rows and columns summed; 1 + b column 2b, rows summed; 3 + a row 2a, columns
// summed; 5 + 2a + b corner (2a, 2b). A term at 2x+1 or 2y+1 is negated.
constexpr int kProducts = 9;
constexpr std::int64_t kPanel = 32;

// What is 2^67 or more times this is no float. Differences of smaller features stay below 2^69, far enough from the largest
// float for products with any sensible kernels and for their sums.
constexpr float kWatch = 0x1p62f;

// The nine products' factors of one 3x3 kernel; sums in double, rounded once.
EAMFMEG_HD void product_factors(const float* k, float* out, Mutant mutant) {
    const double middle = mutant.is(kMiddleRowForgotten) ? 0.0 : 1.0;
    double row[3], column[3];
    for (int i = 0; i < 3; ++i) {
        row[i] = static_cast<double>(k[3 * i]) + k[3 * i + 1] + k[3 * i + 2];
        column[i] = static_cast<double>(k[i]) + middle * k[3 + i] + k[6 + i];
    }
    out[0] = static_cast<float>(row[0] + middle * row[1] + row[2]);
    out[1] = static_cast<float>(column[0]);
    out[2] = static_cast<float>(-column[2]);
    out[3] = static_cast<float>(row[0]);
    out[4] = static_cast<float>(-row[2]);
    out[5] = k[0];
    out[6] = -k[2];
    out[7] = -k[6];
    out[8] = k[8];
}

}  // namespace eamfmeg

// Packs kernels [O, C, 3, 3] of any strides at `packed`, best on a 64-byte boundary: ceil(O / 32) * 9 * W * 32 floats,
// where W is C, or ceil(C / 2) for products of bfloat16 (`products` is kFloat32 or kBFloat16). `dtype` is an
// eamfmeg::DType, floating. Returns an eamfmeg::Status.
extern "C" int eamfmeg_upsample_conv_pack_cpu(float* packed, const void* weight, std::int64_t o, std::int64_t c,
                                              std::int64_t stride_o, std::int64_t stride_c, std::int64_t stride_y,
                                              std::int64_t stride_x, std::int64_t dtype, std::int64_t products);

// Writes [n, 2h, 2w, o] from strided NHWC features and packed kernels; output pixels lie row by row `out_stride` elements
// apart. `weight` and its strides are those that were packed: where features are infinite, differences are no numbers, and
// those outputs are summed again by the definition. `bias` (o values, `stride_bias` apart) may be null. Features and out
// are float32 or bfloat16 each, or both float16. `relu` is 0 or 1. With a negative `count` everything is written; else only
// the outputs of `count` squares of `tile` x `tile` input pixels, and h and w are multiples of it. A square's number is
// (image * rows + row) * columns + column.
extern "C" int eamfmeg_upsample_conv_cpu(void* out, std::int64_t out_stride, std::int64_t out_type, const void* features,
                                         std::int64_t feature_type, std::int64_t n, std::int64_t h, std::int64_t w,
                                         std::int64_t c, std::int64_t stride_n, std::int64_t stride_h,
                                         std::int64_t stride_w, std::int64_t stride_c, const float* packed,
                                         std::int64_t products, const void* weight, std::int64_t weight_type,
                                         std::int64_t o, std::int64_t weight_stride_o, std::int64_t weight_stride_c,
                                         std::int64_t weight_stride_y, std::int64_t weight_stride_x, const void* bias,
                                         std::int64_t bias_type, std::int64_t stride_bias, std::int64_t relu,
                                         const std::int32_t* tiles, std::int64_t count, std::int64_t tile);
