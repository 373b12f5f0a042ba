// The two matrix products of edge_attention's CUDA kernel: 16-bit types on tensor cores with float32 sums, float32 exactly.
//
// Warp w takes the own places 32 w ... 32 w + 31 in both: `scores` writes columns of the 32 x 256 scores, `add` adds to
// rows of the 256 x 32 result, which stays in registers until `store`.
#pragma once

#include <mma.h>

#include "edge_attention/edge_attention_device.cuh"

namespace eamfmeg {
namespace {

// 16-bit types. Tiles are 16 x 16; a warp has 2 x 2 of them.
template <class T>
struct Tiles {
    template <class Use, class Order>
    using Factor = nvcuda::wmma::fragment<Use, 16, 16, 16, T, Order>;
    using Sum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;
    Sum sums[2][2];

    __device__ Tiles() { clear(sums); }
    __device__ static void clear(Sum (&tiles)[2][2]) {
#pragma unroll
        for (int i = 0; i < 4; ++i) nvcuda::wmma::fill_fragment(tiles[i / 2][i % 2], 0.0f);
    }
    __device__ static void put(float* to, const Sum (&tiles)[2][2], int stride) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float* at = to + i / 2 * 16 * stride + i % 2 * 16;
            nvcuda::wmma::store_matrix_sync(at, tiles[i / 2][i % 2], stride, nvcuda::wmma::mem_row_major);
        }
    }
    // scores[i][j] = queries[i] . keys[j] for 32 queries; both have rows of `dim` numbers.
    __device__ static void scores(float* to, const T* queries, const T* keys, int dim) {
        namespace wmma = nvcuda::wmma;
        const int own = threadIdx.x / 32 * 32, stride = stride_of<T>(dim);
        Sum found[2][2];
        clear(found);
        for (int d = 0; d < dim; d += 16) {
            Factor<wmma::matrix_a, wmma::row_major> rows[2];
            Factor<wmma::matrix_b, wmma::col_major> columns[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                wmma::load_matrix_sync(rows[i], queries + 16 * i * stride + d, stride);
                wmma::load_matrix_sync(columns[i], keys + (own + 16 * i) * stride + d, stride);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                wmma::mma_sync(found[i / 2][i % 2], rows[i / 2], columns[i % 2], found[i / 2][i % 2]);
            }
        }
        put(to + own, found, kScoreStride);
    }
    // result[j] += sum_i weights[i][j] values[i] over 32 others.
    __device__ void add(const T* weights, const T* values) {
        namespace wmma = nvcuda::wmma;
        const int own = threadIdx.x / 32 * 32, stride = stride_of<T>(kGroup);
#pragma unroll
        for (int other = 0; other < kOther; other += 16) {
            Factor<wmma::matrix_a, wmma::col_major> rows[2];
            Factor<wmma::matrix_b, wmma::row_major> columns[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const T* at = weights + other * kWeightStride<T> + own + 16 * i;
                wmma::load_matrix_sync(rows[i], at, kWeightStride<T>);
                wmma::load_matrix_sync(columns[i], values + other * stride + 16 * i, stride);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                wmma::mma_sync(sums[i / 2][i % 2], rows[i / 2], columns[i % 2], sums[i / 2][i % 2]);
            }
        }
    }
    __device__ void store(float* result) const { put(result + threadIdx.x / 32 * 32 * kResultStride, sums, kResultStride); }
};

// float32. Lane l has the rows 4 (l / 4) ... + 3 and the columns 8 (l % 4) ... + 7 of its warp's part of the result.
template <>
struct Tiles<float> {
    float sums[4][8];

    __device__ Tiles() {
#pragma unroll
        for (int i = 0; i < 32; ++i) sums[i / 8][i % 8] = 0.0f;
    }
    // Rows of lanes lie 8 apart, and columns 4, so that neighbours read from different banks.
    __device__ static void scores(float* to, const float* queries, const float* keys, int dim) {
        const int own = threadIdx.x / 32 * 32, lane = threadIdx.x % 32, stride = stride_of<float>(dim);
        const float *row = queries + lane / 4 * stride, *column = keys + (own + lane % 4) * stride;
        float found[4][8] = {};
        for (int d = 0; d < dim; d += 4) {
            float4 a[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) a[i] = *reinterpret_cast<const float4*>(row + 8 * i * stride + d);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                const float4 b = *reinterpret_cast<const float4*>(column + 4 * j * stride + d);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    found[i][j] = fmaf(a[i].x, b.x, found[i][j]);
                    found[i][j] = fmaf(a[i].y, b.y, found[i][j]);
                    found[i][j] = fmaf(a[i].z, b.z, found[i][j]);
                    found[i][j] = fmaf(a[i].w, b.w, found[i][j]);
                }
            }
        }
        float* at = to + lane / 4 * kScoreStride + own + lane % 4;
#pragma unroll
        for (int i = 0; i < 32; ++i) at[i / 8 * 8 * kScoreStride + i % 8 * 4] = found[i / 8][i % 8];
    }
    __device__ void add(const float* weights, const float* values) {
        const int lane = threadIdx.x % 32, stride = stride_of<float>(kGroup);
        const float *row = weights + threadIdx.x / 32 * 32 + lane / 4 * 4, *column = values + lane % 4 * 8;
#pragma unroll 4
        for (int other = 0; other < kOther; ++other) {
            const float4 a = *reinterpret_cast<const float4*>(row + other * kScoreStride);
            const float4 low = *reinterpret_cast<const float4*>(column + other * stride);
            const float4 high = *reinterpret_cast<const float4*>(column + other * stride + 4);
            const float left[4] = {a.x, a.y, a.z, a.w};
            const float right[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int i = 0; i < 32; ++i) sums[i / 8][i % 8] = fmaf(left[i / 8], right[i % 8], sums[i / 8][i % 8]);
        }
    }
    __device__ void store(float* result) const {
        const int lane = threadIdx.x % 32;
        float* at = result + (threadIdx.x / 32 * 32 + lane / 4 * 4) * kResultStride + lane % 4 * 8;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float4* to = reinterpret_cast<float4*>(at + i * kResultStride);
            to[0] = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
            to[1] = make_float4(sums[i][4], sums[i][5], sums[i][6], sums[i][7]);
        }
    }
};

}  // namespace
}  // namespace eamfmeg
