// edge_attention on a CUDA device. Versions: 1. one launch; a block owns up to 256 places of a strip and 32 channels.
//
// Both modes sum `weight[other][own] * value[other]` over the strip. In "released" a block owns keys and the others are
// queries: a row of weights is one softmax. In "edge-query" it owns queries; the scores have rank one, so that each thread
// weighs its own query from two numbers for each key, and no product of queries and keys is left.
#include <initializer_list>

#include "edge_attention/edge_attention_released.cuh"

namespace eamfmeg {
namespace {

// What a block may ask for on every architecture from 8.0 on.
constexpr std::int64_t kMostShared = 99 * 1024;

// The score of key j for a query of edge e is e * line.x + line.y: edge_weight . key_j and query_bias . key_j.
template <class T>
__device__ void find_lines(const Work<T>& work, Mutant mutant) {
    const Problem<T>& p = work.problem;
    const int dim = p.key.channels;
    int lanes = 1;
    while (lanes < 32 && lanes * kUnit < dim) lanes *= 2;
    const int first = static_cast<int>(threadIdx.x) % lanes * kUnit;
    for (int from = 0; from < p.count; from += kOwn) {
        const int rows = whole(min(kOwn, p.count - from));
        __syncthreads();
        find_places(work, work.places, from, rows, false, mutant);
        __syncthreads();
        for (int row = threadIdx.x / lanes; row < rows; row += kThreads / lanes) {
            float slope = 0.0f, offset = 0.0f;
            for (int k = first; k < dim; k += lanes * kUnit) {
                float key[kUnit] = {};
                gather_projected(p.key, p.key_bias, work.picture, work.places[row], k, key, mutant);
#pragma unroll
                for (int i = 0; i < kUnit; ++i) {
                    slope = k + i < dim ? fmaf(key[i], p.edge_weight[k + i], slope) : slope;
                    offset = k + i < dim ? fmaf(key[i], p.query_bias[k + i], offset) : offset;
                }
            }
            for (int step = lanes / 2; step; step /= 2) {
                slope += __shfl_xor_sync(kEveryLane, slope, step);
                offset += __shfl_xor_sync(kEveryLane, offset, step);
            }
            const float scale = mutant.is(kScoresScaled) ? rsqrtf(static_cast<float>(dim)) : 1.0f;
            if (first == 0 && from + row < p.count) work.lines[from + row] = make_float2(slope * scale, offset * scale);
        }
    }
}

// Each thread weighs the others for its own query. Afterwards `lines` holds 1 / sum of weights of each.
template <class T>
__device__ void attend_edge_query(const Work<T>& work, Tiles<T>& tiles, Mutant mutant) {
    const Problem<T>& p = work.problem;
    const int mine = threadIdx.x;
    const bool active = mine < whole(work.rows);
    find_lines(work, mutant);
    __syncthreads();
    if (active) find_places(work, work.places, work.own, whole(work.rows), true, mutant);
    const float edge = active ? work.edges[mine] : 0.0f;
    float top = -INFINITY, sum = 0.0f;
    for (int j = 0; j < p.count; ++j) top = fmaxf(top, fmaf(edge, work.lines[j].x, work.lines[j].y));
    if (mutant.is(kLargestNotSubtracted)) top = 0.0f;
    for (int first = 0; first < p.count; first += p.stage) {
        const int rows = min(p.stage, whole(p.count - first));
        gather_others(work, first, rows, false, true, mutant);
        for (int other = 0; other < rows; other += kOther) {
            T* weights = reinterpret_cast<T*>(work.scores);
            for (int r = 0; active && r < kOther; ++r) {
                const int j = first + other + r;
                const float2 line = work.lines[min(j, p.count - 1)];
                const float weight = j < p.count ? __expf(fmaf(edge, line.x, line.y) - top) * p.share : 0.0f;
                if (!mutant.is(kLastKeyNotNormalised) || j != p.count - 1) sum += weight;
                weights[r * kWeightStride<T> + mine] = as_element<T>(weight);
            }
            __syncthreads();
            if (active) tiles.add(weights, work.values + other * stride_of<T>(kGroup));
            __syncthreads();
        }
    }
    reinterpret_cast<float*>(work.lines)[mine] = 1.0f / sum;
}

// gamma * result + o warp(features), from the registers of all warps to the output.
template <class T>
__device__ void finish(const Work<T>& work, const Tiles<T>& tiles, const float* shares, Mutant mutant) {
    const Problem<T>& p = work.problem;
    Place* places = reinterpret_cast<Place*>(work.result + kOwn * kResultStride);
    const int channels = p.value.channels - (mutant.is(kAttentionLastChannelDropped) ? 1 : 0);
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < whole(work.rows)) tiles.store(work.result);
    find_places(work, places, work.own, work.rows, false, mutant);
    __syncthreads();
    const float gamma = p.gamma[0];
    for (int i = threadIdx.x; i < work.rows * (kGroup / kUnit); i += kThreads) {
        const int row = i / (kGroup / kUnit), column = i % (kGroup / kUnit) * kUnit, k = work.k + column;
        const float factor = shares ? gamma * shares[row] : gamma;
        const float occlusion = mutant.is(kResidualNotOccluded) ? 1.0f : places[row].occlusion;
        float sum[kUnit] = {};
        if (k < p.value.channels) gather_unit(p.features, work.picture, places[row], k, sum);
#pragma unroll
        for (int j = 0; j < kUnit; ++j) {
            sum[j] = fmaf(factor, work.result[row * kResultStride + column + j], sum[j] * occlusion);
        }
        T* to = p.out + (work.first + work.own + row) * p.value.channels + k;
        store_unit(to, sum, channels - k, p.out_aligned);
    }
    if (mutant.is(kAttentionOneBeyondTheEnd) && blockIdx.x == 0 && threadIdx.x == 0) {
        p.out[p.n * p.strips * p.count * p.value.channels] = as_element<T>(0.0f);
    }
}

// Two blocks of "edge-query" find room on every multiprocessor; of "released" mostly one does, which may have the
// registers.
template <class T, bool kIsReleased>
__global__ void __launch_bounds__(kThreads, kIsReleased ? 1 : 2) edge_attention_kernel(Problem<T> problem, Mutant mutant) {
    EAMFMEG_DYNAMIC_SHARED(unsigned char, memory);
    const Work<T> work(problem, memory, kIsReleased, mutant);
    Tiles<T> tiles;
    if constexpr (kIsReleased) {
        attend_released(work, tiles, mutant);
        finish(work, tiles, nullptr, mutant);
    } else {
        attend_edge_query(work, tiles, mutant);
        finish(work, tiles, reinterpret_cast<const float*>(work.lines), mutant);
    }
}

// How a map of the caller is read; its strides are three numbers (n, h, w).
template <class T>
Map<T> map_of(const void* data, const std::int64_t* strides, std::int64_t channels) {
    bool aligned = reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
    for (int i = 0; i < 3; ++i) aligned = aligned && strides[i] * static_cast<std::int64_t>(sizeof(T)) % 16 == 0;
    return {static_cast<const T*>(data), strides[0], strides[1], strides[2], static_cast<int>(channels), aligned};
}

template <class T, bool kIsReleased>
int launch(Problem<T> problem, cudaStream_t stream) {
    const int count = problem.count, dim = problem.key.channels;
    const std::int64_t tiles = (count + kOwn - 1) / kOwn, groups = (problem.value.channels + kGroup - 1) / kGroup;
    const std::int64_t blocks = problem.n * problem.strips * tiles * groups;
    // Half of what is gathered at a time leaves room for two blocks where memory allows.
    for (problem.stage = kOther; problem.stage < count && problem.stage < 256 / static_cast<int>(sizeof(T));) {
        problem.stage *= 2;
    }
    const auto bytes = [&] { return Layout<T>(kIsReleased, count, dim, problem.stage).end; };
    while (bytes() > kMostShared && problem.stage > kOther) problem.stage /= 2;
    if (bytes() > kMostShared || blocks > INT32_MAX) return kTooLarge;
    if (allow_dynamic_shared(edge_attention_kernel<T, kIsReleased>, bytes()) != cudaSuccess) return kLaunchFailed;
    EAMFMEG_LAUNCH((edge_attention_kernel<T, kIsReleased>), static_cast<unsigned>(blocks), kThreads,
                   static_cast<std::size_t>(bytes()), stream, problem, current_mutant());
    return cudaGetLastError() == cudaSuccess ? kOk : kLaunchFailed;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_edge_attention_cuda(void* out, const void* query, const void* key, const void* value,
                                           const void* features, const float* edge, const float* flow,
                                           const float* occlusion, const float* edge_weight, const float* query_bias,
                                           const float* key_bias, const float* value_bias, const float* gamma,
                                           std::int64_t n, std::int64_t from_h, std::int64_t from_w, std::int64_t h,
                                           std::int64_t w, std::int64_t dim, std::int64_t channels,
                                           const std::int64_t* strides, std::int64_t strip_rows, std::int64_t mode,
                                           std::int64_t align_corners, std::int64_t dtype, void* stream) {
    using namespace eamfmeg;
    constexpr std::int64_t kMost = 1 << 24;  // so that a pixel's number along a row or a column fits a float
    for (const std::int64_t size : {from_h, from_w, h, strip_rows * w, channels, dim}) {
        if (size > kMost) return kTooLarge;
    }
    if (n * h * w * channels == 0) return kOk;
    const auto run = [&](auto element) {
        using T = decltype(element);
        Problem<T> problem{};
        problem.out = static_cast<T*>(out);
        problem.query = map_of<T>(query, strides, dim), problem.key = map_of<T>(key, strides + 3, dim);
        problem.value = map_of<T>(value, strides + 6, channels),
        problem.features = map_of<T>(features, strides + 9, channels);
        problem.edge = edge, problem.flow = flow, problem.occlusion = occlusion, problem.edge_weight = edge_weight;
        problem.query_bias = query_bias, problem.key_bias = key_bias, problem.value_bias = value_bias;
        problem.gamma = gamma, problem.n = n, problem.align_corners = align_corners != 0;
        problem.from_h = static_cast<int>(from_h), problem.from_w = static_cast<int>(from_w);
        problem.strips = static_cast<int>(h / strip_rows), problem.count = static_cast<int>(strip_rows * w);
        // float16 lacks the range for it, and the need.
        problem.share = dtype == kFloat16 ? 1.0f : share_of(problem.count);
        problem.out_aligned = reinterpret_cast<std::uintptr_t>(out) % 16 == 0 && channels * sizeof(T) % 16 == 0;
        const auto on = static_cast<cudaStream_t>(stream);
        return mode == kReleased ? launch<T, true>(problem, on) : launch<T, false>(problem, on);
    };
    switch (dtype) {
        case kFloat32: return run(float{});
        case kFloat16: return run(__half{});
        case kBFloat16: return run(__nv_bfloat16{});
        default: return kBadType;
    }
}
