// What a block of edge_attention's CUDA kernel works on, its shared memory, and how rows of maps are gathered into it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>

#include "common/launch.h"
#include "edge_attention/edge_attention.h"

namespace eamfmeg {
namespace {

constexpr int kThreads = 256;
constexpr int kOwn = 256;               // places of a strip that a block owns: the rows of its result
constexpr int kOther = 32;              // places that are weighed at a time
constexpr int kGroup = 32;              // channels of a block
constexpr int kUnit = 8;                // channels that a thread gathers at a time: 16 bytes of a 16-bit type
constexpr int kScoreStride = kOwn + 4;  // floats from row to row: the four keep banks apart
constexpr int kResultStride = kGroup + 4;

// From row to row of a matrix of `length` columns: 16 bytes keep banks apart.
template <class T>
constexpr __host__ __device__ int stride_of(int length) {
    return length + 16 / static_cast<int>(sizeof(T));
}

// Rows of weights take the place of rows of scores.
template <class T>
constexpr int kWeightStride = kScoreStride * 4 / static_cast<int>(sizeof(T));

template <class T>
struct Map {
    const T* data;
    std::int64_t stride_n, stride_h, stride_w;
    int channels;
    bool aligned;  // whether every unit of a pixel begins at a multiple of 16 bytes
};

template <class T>
struct Problem {
    T* out;
    Map<T> query, key, value, features;
    const float *edge, *flow, *occlusion, *edge_weight, *query_bias, *key_bias, *value_bias, *gamma;
    std::int64_t n;
    int from_h, from_w, strips, count, stage;  // count: places of a strip; stage: rows gathered at a time
    float share;                               // of the weights in edge-query
    bool align_corners, out_aligned;
};

// Where one place gathers: tap t is the pixel (x + t % 2, y + t / 2), if bit t of the mask is set.
struct alignas(16) Place {
    int x, y;
    unsigned mask;
    float occlusion;
    float weight[4];
};

// Bytes of shared memory, in this order; the places share theirs with the scores, and at the end the result takes all
// but the lines.
template <class T>
struct Layout {
    std::int64_t lines, keys, queries, values, end;

    __host__ __device__ Layout(bool released, int count, int dim, int stage) {
        const std::int64_t width = stride_of<T>((dim + 15) / 16 * 16), size = sizeof(T);
        const std::int64_t rows = (count + 31) / 32 * 32;
        lines = 0;
        keys = released && count <= kOwn ? 0 : 4 * (2 * rows > kOwn ? 2 * rows : kOwn);
        queries = keys + (released ? kOwn * width * size : 0);
        values = queries + (released ? stage * width * size : 0);
        const std::int64_t scores = values + stage * stride_of<T>(kGroup) * size;
        const std::int64_t working = scores + kOther * kScoreStride * 4;
        const std::int64_t finishing = keys + kOwn * (kResultStride * 4 + static_cast<int>(sizeof(Place)));
        end = working > finishing ? working : finishing;
    }
};

// One block: kGroup channels from `k` of the places from `own` of one strip.
template <class T>
struct Work {
    const Problem<T>& problem;
    std::int64_t picture, first;  // of the maps; of the strip, in the flow
    int k, own, rows;             // rows: how many places it owns
    float2* lines;                // released: largest score and 1 / sum of each query; edge-query: slope and offset
    T *keys, *queries, *values;
    float* scores;
    Place* places;
    float* edges;
    float* result;

    __device__ Work(const Problem<T>& p, unsigned char* memory, bool released, Mutant mutant) : problem(p) {
        const int groups = (p.value.channels + kGroup - 1) / kGroup, tiles = (p.count + kOwn - 1) / kOwn;
        const int block = static_cast<int>(blockIdx.x), strip = block / (groups * tiles);
        k = block % groups * kGroup;
        own = block / groups % tiles * kOwn;
        rows = min(kOwn, p.count - own);
        picture = mutant.is(kAttentionBatchStrideIgnored) ? 0 : strip / p.strips;
        first = static_cast<std::int64_t>(strip) * p.count;
        const Layout<T> layout(released, p.count, p.key.channels, p.stage);
        lines = reinterpret_cast<float2*>(memory);
        keys = reinterpret_cast<T*>(memory + layout.keys);
        queries = reinterpret_cast<T*>(memory + layout.queries);
        values = reinterpret_cast<T*>(memory + layout.values);
        scores = reinterpret_cast<float*>(values + p.stage * stride_of<T>(kGroup));
        result = reinterpret_cast<float*>(memory + layout.keys);
        places = reinterpret_cast<Place*>(scores);
        edges = reinterpret_cast<float*>(places + kOwn);
    }
    // Width of a key in shared memory, zeros at its end included.
    __device__ int dim() const { return (problem.key.channels + 15) / 16 * 16; }
};

__device__ inline float as_float(float x) {
    return x;
}
__device__ inline float as_float(__half x) {
    return __half2float(x);
}
__device__ inline float as_float(__nv_bfloat16 x) {
    return __bfloat162float(x);
}
template <class T>
__device__ T as_element(float x);
template <>
__device__ inline float as_element<float>(float x) {
    return x;
}
template <>
__device__ inline __half as_element<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 as_element<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

template <class T>
struct Unit {
    uint4 words[sizeof(T) / 2];
};

// A unit of which `wanted` elements exist; the rest is zero.
template <class T>
__device__ Unit<T> load_unit(const T* from, int wanted, bool aligned) {
    Unit<T> unit;
    if (aligned && wanted >= kUnit) {
#pragma unroll
        for (unsigned i = 0; i < sizeof(T) / 2; ++i) unit.words[i] = reinterpret_cast<const uint4*>(from)[i];
        return unit;
    }
    T elements[kUnit];
#pragma unroll
    for (int i = 0; i < kUnit; ++i) elements[i] = i < wanted ? from[i] : as_element<T>(0.0f);
    memcpy(unit.words, elements, sizeof(unit));
    return unit;
}

template <class T>
__device__ void store_unit(T* to, const float (&numbers)[kUnit], int wanted, bool aligned) {
    T elements[kUnit];
#pragma unroll
    for (int i = 0; i < kUnit; ++i) elements[i] = as_element<T>(numbers[i]);
    if (aligned && wanted >= kUnit) {
        Unit<T> unit;
        memcpy(unit.words, elements, sizeof(unit));
#pragma unroll
        for (unsigned i = 0; i < sizeof(T) / 2; ++i) reinterpret_cast<uint4*>(to)[i] = unit.words[i];
        return;
    }
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
        if (i < wanted) to[i] = elements[i];
    }
}

// Adds the unit at channel k of `map`, bilinear, zero outside. All four taps are on their way before the first is used.
template <class T>
__device__ void gather_unit(const Map<T>& map, std::int64_t picture, const Place& place, int k, float (&sum)[kUnit]) {
    const T* corner = map.data + picture * map.stride_n + place.y * map.stride_h + place.x * map.stride_w + k;
    Unit<T> taps[4];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        taps[t] = Unit<T>{};
        if (place.mask >> t & 1u) {
            const T* tap = corner + t / 2 * map.stride_h + t % 2 * map.stride_w;
            taps[t] = load_unit(tap, map.channels - k, map.aligned);
        }
    }
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        T elements[kUnit];
        memcpy(elements, taps[t].words, sizeof(elements));
#pragma unroll
        for (int i = 0; i < kUnit; ++i) sum[i] = fmaf(as_float(elements[i]), place.weight[t], sum[i]);
    }
}

// The same of a projection: the bias comes behind the warp and the occlusion.
template <class T>
__device__ void gather_projected(const Map<T>& map, const float* bias, std::int64_t picture, const Place& place, int k,
                                 float (&sum)[kUnit], Mutant mutant) {
    gather_unit(map, picture, place, k, sum);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
        const float shift = k + i < map.channels ? bias[k + i] : 0.0f;
        const bool early = mutant.is(kBiasBeforeTheOcclusion);
        sum[i] = early ? (sum[i] + shift) * place.occlusion : fmaf(sum[i], place.occlusion, shift);
    }
}

template <class T>
__device__ Place find_place(const Work<T>& work, int at, Mutant mutant) {
    Place place{0, 0, 0u, 0.0f, {0.0f, 0.0f, 0.0f, 0.0f}};
    const Problem<T>& p = work.problem;
    if (at >= p.count) return place;
    const std::int64_t i = work.first + at;
    const Taps taps = taps_at(p.flow[2 * i], p.flow[2 * i + 1], p.from_h, p.from_w, p.align_corners, mutant);
    place.x = static_cast<int>(taps.x), place.y = static_cast<int>(taps.y), place.mask = taps.mask;
    place.occlusion = p.occlusion[i];
#pragma unroll
    for (int t = 0; t < 4; ++t) place.weight[t] = taps.weight[t];
    return place;
}

// The warped edge map; the occlusion leaves it alone.
template <class T>
__device__ float find_edge(const Work<T>& work, const Place& place, Mutant mutant) {
    const int width = work.problem.from_w;
    const float* picture = work.problem.edge + work.picture * work.problem.from_h * width;
    float sum = 0.0f;
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        if (!(place.mask >> t & 1u)) continue;
        const std::int64_t at = static_cast<std::int64_t>(place.y + t / 2) * width + place.x + t % 2;
        sum = fmaf(picture[at], place.weight[t], sum);
    }
    return mutant.is(kOcclusionOnTheEdge) ? sum * place.occlusion : sum;
}

// Places of the rows from `from` of the strip, and their edges where asked for. The caller puts barriers around it.
template <class T>
__device__ void find_places(const Work<T>& work, Place* places, int from, int rows, bool edges, Mutant mutant) {
    for (int row = threadIdx.x; row < rows; row += kThreads) {
        places[row] = find_place(work, from + row, mutant);
        if (edges) work.edges[row] = find_edge(work, places[row], mutant);
    }
}

// Gathers `rows` rows of `width` channels of a projection from channel k on; rows from `end` of the strip on are zero. The
// edge times `edge_weight` is added where that is not null.
template <class T>
__device__ void gather_rows(const Work<T>& work, T* to, const Map<T>& map, const float* bias, const float* edge_weight,
                            int k, int width, int from, int rows, int end, Mutant mutant) {
    const int units = width / kUnit, stride = stride_of<T>(width);
    for (int i = threadIdx.x; i < rows * units; i += kThreads) {
        const int row = i / units, column = i % units * kUnit;
        float sum[kUnit] = {};
        if (from + row < end) {
            gather_projected(map, bias, work.picture, work.places[row], k + column, sum, mutant);
            if (edge_weight) {
#pragma unroll
                for (int j = 0; j < kUnit; ++j) {
                    const float weight = k + column + j < map.channels ? edge_weight[k + column + j] : 0.0f;
                    sum[j] = fmaf(work.edges[row], weight, sum[j]);
                }
            }
        }
        store_unit(to + row * stride + column, sum, kUnit, true);
    }
}

}  // namespace
}  // namespace eamfmeg
