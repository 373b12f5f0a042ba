// What every operator's header needs to be read by a C++ compiler and by nvcc alike.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
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
};

// What an entry point returns. The binding turns anything but kOk into an exception.
enum Status : int { kOk = 0, kBadItemSize = 1, kLaunchFailed = 2 };

}  // namespace eamfmeg
