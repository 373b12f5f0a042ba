// What every operator's header needs to be read by a C++ compiler and by nvcc alike.
#pragma once

#include <cstdint>

#if defined(__CUDACC__) || defined(EAMFMEG_HOST_SHIM)
#define EAMFMEG_HD __host__ __device__ __forceinline__
#else
#define EAMFMEG_HD inline
#endif

namespace eamfmeg {

// A strided read-only view of an NHWC array. Sizes and strides count elements, not bytes; a stride may be 0 or negative.
template <class T>
struct View {
    const T* data;
    std::int64_t n, h, w, c;
    std::int64_t stride_n, stride_h, stride_w, stride_c;

    EAMFMEG_HD std::int64_t elements() const { return n * h * w * c; }
    EAMFMEG_HD const T* at(std::int64_t b, std::int64_t y, std::int64_t x) const {
        return data + b * stride_n + y * stride_h + x * stride_w;
    }
};

// Element types by number, as kernels/compiled.py sends them.
enum DType : int { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2, kUInt8 = 3 };

// The two pixel grids of kernels/geometry.py.
enum PixelGrid : int { kCorners = 0, kCentres = 1 };

// What an entry point returns. The binding turns anything but kOk into an exception.
enum Status : int { kOk = 0, kBadItemSize = 1, kLaunchFailed = 2, kBadType = 3, kTooLarge = 4 };

// The normalised coordinate of pixel i of an axis: kernels/geometry.py, axis().
EAMFMEG_HD float axis_at(std::int64_t i, std::int64_t length, int grid) {
    if (length == 1) return 0.0f;
    const float at = static_cast<float>(i), n = static_cast<float>(length);
    return grid == kCorners ? 2.0f * (at / (n - 1.0f)) - 1.0f : (2.0f * at + 1.0f) / n - 1.0f;
}

// Without a branch, for loops that a compiler makes vectors of.
EAMFMEG_HD std::int32_t is_finite(float x) {
    return x - x == 0.0f;
}

// A finite coordinate no further than 100 outside: every picture has ended there, and a pixel number still fits an int.
EAMFMEG_HD float bounded(float coordinate) {
    const float above = coordinate > -100.0f ? coordinate : -100.0f;
    return above < 100.0f ? above : 100.0f;
}

// Where a normalised coordinate lies, in pixels: -0.5 is the outer edge of the first pixel. One product and one sum, which
// compilers fuse: an addition of 1 before the product would round a second time.
EAMFMEG_HD float unnormalise(float coordinate, std::int64_t length, bool align_corners) {
    const float n = static_cast<float>(length);
    return coordinate * (0.5f * (align_corners ? n - 1.0f : n)) + 0.5f * (n - 1.0f);
}

}  // namespace eamfmeg
