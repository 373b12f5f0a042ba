// What a kernel file needs to be compiled by nvcc for a GPU and by g++ through csrc/host_shim for the CPU.
//
//     EAMFMEG_LAUNCH(my_kernel, grid, block, shared_bytes, stream, a, b);
//     EAMFMEG_LAUNCH((my_kernel<float, 16>), grid, block, shared_bytes, stream, a, b);   // commas: put it in parentheses
//
// grid and block are numbers or dim3. The status comes from cudaGetLastError() afterwards, as usual.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#ifdef __CUDACC__
#define EAMFMEG_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
// Declares `type* name`, the block's dynamic shared memory. One array of bytes for all types: nvcc wants an extern array to
// have a single type in every template instance.
#define EAMFMEG_DYNAMIC_SHARED(type, name)                                   \
    extern __shared__ __align__(128) unsigned char eamfmeg_dynamic_shared[]; \
    type* const name = reinterpret_cast<type*>(eamfmeg_dynamic_shared)
#else
#define EAMFMEG_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    eamfmeg_shim::launch(kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define EAMFMEG_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(eamfmeg_shim::dynamic_shared())
#endif

namespace eamfmeg {

// To be called before a launch that asks for more than 48 KiB of dynamic shared memory; refused beyond what the device has.
template <class Kernel>
cudaError_t allow_dynamic_shared(Kernel* kernel, std::size_t bytes) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

}  // namespace eamfmeg
