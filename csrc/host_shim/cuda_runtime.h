// Takes the place of CUDA's header of this name when g++ compiles a kernel file. See README.md here.
#pragma once

#ifdef __CUDACC__
#error "nvcc must find CUDA's own headers: leave -Icsrc/host_shim out"
#endif

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
// One block runs at a time, on one thread of the host. shim/launches.h says why not plain `static`.
#define __shared__ static thread_local

#include "shim/arithmetic.h"
#include "shim/launches.h"
#include "shim/vectors.h"
#include "shim/warps.h"
