// Kernels that say whether csrc/host_shim behaves as a device does; nvcc must take them too. `broken` leaves a barrier out
// or does something else that must show.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <mma.h>

#include "common/launch.h"

namespace {

namespace wmma = nvcuda::wmma;

constexpr unsigned kAll = 0xffffffffu;

int status() {
    return static_cast<int>(cudaGetLastError());
}

// Sum of each block's elements: within a warp by shuffles, between warps through shared memory.
template <int Threads, class T>
__global__ void __launch_bounds__(Threads) block_sum(T* out, const T* __restrict__ in, bool broken) {
    __shared__ T part[Threads / 32];
    T value = in[blockIdx.x * Threads + threadIdx.x];
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(kAll, value, step);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
    if (!broken) __syncthreads();
    if (threadIdx.x != 0) return;
    T sum = 0;
    for (int i = 0; i < Threads / 32; ++i) sum += part[i];
    out[blockIdx.x] = sum;
}

// Every thread passes its value on to its neighbour, round after round; a round reads what the last one wrote.
__global__ void ring(int* out, int rounds, bool broken) {
    EAMFMEG_DYNAMIC_SHARED(int, cell);
    int value = threadIdx.x;
    for (int i = 0; i < rounds; ++i) {
        cell[threadIdx.x] = value;
        __syncthreads();
        value = cell[(threadIdx.x + 1) % blockDim.x];
        if (!broken) __syncthreads();
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}

// Lane 0 writes, all lanes of the warp read.
__global__ void warp_share(int* out, bool broken) {
    __shared__ int cell;
    if (threadIdx.x == 0) cell = 7;
    if (!broken) __syncwarp();
    out[threadIdx.x] = cell;
}

__global__ void warp_words(int* out) {
    const int lane = static_cast<int>(threadIdx.x);
    int* mine = out + 8 * lane;
    mine[0] = __shfl_sync(kAll, lane, 5, 8);
    mine[1] = __shfl_up_sync(kAll, lane, 3, 16);
    mine[2] = __shfl_down_sync(kAll, lane, 3, 16);
    mine[3] = __shfl_xor_sync(kAll, lane, 9);
    mine[4] = static_cast<int>(__ballot_sync(kAll, lane % 3 == 0));
    mine[5] = __any_sync(kAll, lane == 31) + 2 * __any_sync(kAll, lane == 32);
    mine[6] = __all_sync(kAll, lane < 32) + 2 * __all_sync(kAll, lane < 31);
    // Two halves of the warp, each with a mask of its own.
    mine[7] = __shfl_sync(lane < 16 ? 0xffffu : 0xffff0000u, lane, lane < 16 ? 2 : 30);
}

__global__ void faulty_barrier(int* out, int kind) {
    const bool some = threadIdx.x < 40;
    if (kind == 0 && some) return;
    if (kind == 1 && some) __syncwarp();
    if (kind == 2 && some) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = 1;
}

__global__ void write_places(int* out) {
    const unsigned x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    const unsigned z = blockIdx.z * blockDim.z + threadIdx.z;
    const unsigned at = (z * gridDim.y * blockDim.y + y) * gridDim.x * blockDim.x + x;
    atomicAdd(out + at, static_cast<int>(x + 100 * y + 10000 * z));
}

__global__ void look_at_shared(unsigned* out) {
    __shared__ unsigned still[2];
    EAMFMEG_DYNAMIC_SHARED(unsigned, moving);
    out[2 * blockIdx.x] = still[1];
    out[2 * blockIdx.x + 1] = moving[3];
    still[1] = moving[3] = 1;
}

__global__ void write_beyond(int at) {
    EAMFMEG_DYNAMIC_SHARED(char, bytes);
    bytes[at] = 0;
}

// Two stages of four floats each; `early`: how many batches may still be on their way when they are read.
__global__ void copy_late(float* out, const float* in, int early, int shift) {
    __shared__ __align__(16) float stage[2][16];
    float* mine = &stage[0][4 * threadIdx.x];
    __pipeline_memcpy_async(mine + shift, in + 4 * threadIdx.x, 16);
    __pipeline_commit();
    __pipeline_memcpy_async(mine + 16, in + 16 + 4 * threadIdx.x, 16, 4);
    __pipeline_commit();
    if (early == 0) __pipeline_wait_prior(0);
    if (early == 1) __pipeline_wait_prior(1);
    for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = mine[i], out[16 + 4 * threadIdx.x + i] = mine[16 + i];
}

// d = 2 (a b + c), each of a and b in the layout asked for.
template <class T, class LayoutA, class LayoutB>
__global__ void product(float* d, const T* a, const T* b, const float* c, bool broken) {
    __shared__ __align__(32) T tile[256];
    for (int i = threadIdx.x; i < 256; i += 32) tile[i] = a[i];
    if (!broken) __syncwarp();
    wmma::fragment<wmma::matrix_a, 16, 16, 16, T, LayoutA> left;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, T, LayoutB> right;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::load_matrix_sync(left, tile, 16);
    wmma::load_matrix_sync(right, b, 16);
    wmma::load_matrix_sync(sum, c, 16, wmma::mem_row_major);
    wmma::mma_sync(sum, left, right, sum);
    for (int i = 0; i < sum.num_elements; ++i) sum.x[i] *= 2.0f;
    wmma::store_matrix_sync(d, sum, 16, wmma::mem_col_major);
}

template <class T>
int launch_product(float* d, const void* a, const void* b, const float* c, bool a_by_rows, bool b_by_rows, bool broken) {
    using Rows = wmma::row_major;
    using Columns = wmma::col_major;
    const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
    if (a_by_rows && b_by_rows) EAMFMEG_LAUNCH((product<T, Rows, Rows>), 1, 32, 0, nullptr, d, x, y, c, broken);
    if (a_by_rows && !b_by_rows) EAMFMEG_LAUNCH((product<T, Rows, Columns>), 1, 32, 0, nullptr, d, x, y, c, broken);
    if (!a_by_rows && b_by_rows) EAMFMEG_LAUNCH((product<T, Columns, Rows>), 1, 32, 0, nullptr, d, x, y, c, broken);
    if (!a_by_rows && !b_by_rows) EAMFMEG_LAUNCH((product<T, Columns, Columns>), 1, 32, 0, nullptr, d, x, y, c, broken);
    return status();
}

__global__ void widen(float* from_half, float* from_bfloat16) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    from_half[i] = __half2float(__ushort_as_half(static_cast<unsigned short>(i)));
    from_bfloat16[i] = __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(i)));
}

__global__ void narrow(unsigned short* to_half, unsigned short* to_bfloat16, const float* in, int count) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count) return;
    to_half[i] = __half_as_ushort(__float2half_rn(in[i]));
    to_bfloat16[i] = __bfloat16_as_ushort(__float2bfloat16_rn(in[i]));
}

__global__ void multiply_add(unsigned short* halves, unsigned short* bfloats, const unsigned short* in) {
    const int i = 3 * static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    halves[i / 3] =
        __half_as_ushort(__hfma(__ushort_as_half(in[i]), __ushort_as_half(in[i + 1]), __ushort_as_half(in[i + 2])));
    bfloats[i / 3] = __bfloat16_as_ushort(
        __hfma(__ushort_as_bfloat16(in[i]), __ushort_as_bfloat16(in[i + 1]), __ushort_as_bfloat16(in[i + 2])));
}

}  // namespace

extern "C" {

int shim_block_sum(float* out, const float* in, int blocks, int broken) {
    EAMFMEG_LAUNCH((block_sum<256, float>), blocks, dim3(256), 0, nullptr, out, in, broken != 0);
    return status();
}

int shim_ring(int* out, int blocks, int threads, int rounds, int broken) {
    EAMFMEG_LAUNCH(ring, blocks, threads, threads * sizeof(int), nullptr, out, rounds, broken != 0);
    return status();
}

int shim_ring_with_much_shared(int* out, int bytes, int allow) {
    if (allow && eamfmeg::allow_dynamic_shared(ring, bytes) != cudaSuccess) return status();
    EAMFMEG_LAUNCH(ring, 1, 32, bytes, nullptr, out, 2, false);
    return status();
}

int shim_warp_share(int* out, int broken) {
    EAMFMEG_LAUNCH(warp_share, 1, 32, 0, nullptr, out, broken != 0);
    return status();
}

int shim_warp_words(int* out) {
    EAMFMEG_LAUNCH(warp_words, 1, 32, 0, nullptr, out);
    return status();
}

int shim_faulty_barrier(int* out, int kind) {
    EAMFMEG_LAUNCH(faulty_barrier, 1, 64, 0, nullptr, out, kind);
    return status();
}

int shim_write_places(int* out) {
    EAMFMEG_LAUNCH(write_places, dim3(2, 3, 2), dim3(4, 2, 3), 0, nullptr, out);
    return status();
}

int shim_look_at_shared(unsigned* out, int blocks) {
    EAMFMEG_LAUNCH(look_at_shared, blocks, 1, 16, nullptr, out);
    return status();
}

int shim_write_beyond(int bytes, int at) {
    EAMFMEG_LAUNCH(write_beyond, 1, 1, bytes, nullptr, at);
    return status();
}

int shim_copy_late(float* out, const float* in, int early, int shift) {
    EAMFMEG_LAUNCH(copy_late, 1, 4, 0, nullptr, out, in, early, shift);
    return status();
}

int shim_product(float* d, const void* a, const void* b, const float* c, int half, int a_by_rows, int b_by_rows,
                 int broken) {
    return half ? launch_product<__half>(d, a, b, c, a_by_rows, b_by_rows, broken)
                : launch_product<__nv_bfloat16>(d, a, b, c, a_by_rows, b_by_rows, broken);
}

int shim_widen(float* from_half, float* from_bfloat16) {
    EAMFMEG_LAUNCH(widen, 256, 256, 0, nullptr, from_half, from_bfloat16);
    return status();
}

int shim_narrow(unsigned short* to_half, unsigned short* to_bfloat16, const float* in, int count) {
    EAMFMEG_LAUNCH(narrow, (count + 255) / 256, 256, 0, nullptr, to_half, to_bfloat16, in, count);
    return status();
}

int shim_multiply_add(unsigned short* halves, unsigned short* bfloats, const unsigned short* in, int blocks) {
    EAMFMEG_LAUNCH(multiply_add, blocks, 256, 0, nullptr, halves, bfloats, in);
    return status();
}
}
