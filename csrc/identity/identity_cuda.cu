// identity on a CUDA device. Versions: 1. one thread per element, grid-stride loop.
//
// This file holds the kernel and its launch. Keep torch, pybind11 and cub out: with them nvcc takes a minute for what
// otherwise takes four seconds over six architectures.
#include "common/launch.h"
#include "identity/identity.h"

namespace eamfmeg {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMaxBlocks = 1 << 16;

template <class T>
__global__ void identity_kernel(T* out, View<T> in, Mutant mutant) {
    const std::int64_t step = std::int64_t(gridDim.x) * blockDim.x;
    const std::int64_t end = in.elements() + (mutant.is(kOneBeyondTheEnd) ? 1 : 0);
    for (std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < end; i += step) {
        const std::int64_t k = i % in.c, x = i / in.c % in.w, y = i / (in.c * in.w) % in.h, b = i / (in.c * in.w * in.h);
        if (mutant.is(kLastRowDropped) && b == in.n - 1 && y == in.h - 1) continue;
        if (mutant.is(kLastChannelDropped) && k == in.c - 1) continue;
        out[i] = i < in.elements() ? identity_at(in, b, y, x, k, mutant) : T{};
    }
}

template <class T>
int launch(void* out, const View<char>& in, cudaStream_t stream) {
    const View<T> typed{
        reinterpret_cast<const T*>(in.data), in.n, in.h, in.w, in.c, in.stride_n, in.stride_h, in.stride_w, in.stride_c};
    const std::int64_t blocks = (typed.elements() + kThreads - 1) / kThreads;
    if (blocks == 0) return kOk;
    const unsigned grid = static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
    EAMFMEG_LAUNCH(identity_kernel<T>, grid, kThreads, 0, stream, static_cast<T*>(out), typed, current_mutant());
    return cudaGetLastError() == cudaSuccess ? kOk : kLaunchFailed;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_identity_cuda(void* out, const void* in, std::int64_t n, std::int64_t h, std::int64_t w,
                                     std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                     std::int64_t stride_c, std::int64_t item_size, void* stream) {
    using namespace eamfmeg;
    const View<char> view{static_cast<const char*>(in), n, h, w, c, stride_n, stride_h, stride_w, stride_c};
    const auto on = static_cast<cudaStream_t>(stream);
    switch (item_size) {
        case 1: return launch<std::uint8_t>(out, view, on);
        case 2: return launch<std::uint16_t>(out, view, on);
        case 4: return launch<std::uint32_t>(out, view, on);
        case 8: return launch<std::uint64_t>(out, view, on);
        default: return kBadItemSize;
    }
}
