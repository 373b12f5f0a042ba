// "released" on a CUDA device: a block owns keys, the others are queries, and a row of weights is one softmax.
#pragma once

#include "edge_attention/edge_attention_tiles.cuh"

namespace eamfmeg {
namespace {

constexpr unsigned kEveryLane = 0xffffffffu;
constexpr int kWarps = kThreads / 32;
constexpr int kRowsOfWarp = kOther / kWarps;
constexpr int kKeysOfLane = kOwn / 32;

// Rows of work that a warp shares in: whole 32s.
__device__ inline int whole(int rows) {
    return (rows + 31) / 32 * 32;
}

template <class T>
__device__ void gather_keys(const Work<T>& work, int from, int rows, Mutant mutant) {
    const Problem<T>& p = work.problem;
    __syncthreads();
    find_places(work, work.places, from, rows, true, mutant);
    __syncthreads();
    gather_rows(work, work.keys, p.key, p.key_bias, p.edge_weight, 0, work.dim(), from, rows, p.count, mutant);
}

// The queries and values of the next stage of others; `values` may be left out.
template <class T>
__device__ void gather_others(const Work<T>& work, int from, int rows, bool queries, bool values, Mutant mutant) {
    const Problem<T>& p = work.problem;
    __syncthreads();
    find_places(work, work.places, from, rows, false, mutant);
    __syncthreads();
    if (queries) {
        gather_rows(work, work.queries, p.query, p.query_bias, nullptr, 0, work.dim(), from, rows, p.count, mutant);
    }
    if (values) {
        const int end = p.count - (mutant.is(kLastPositionNotSummed) ? 1 : 0);
        gather_rows(work, work.values, p.value, p.value_bias, nullptr, work.k, kGroup, from, rows, end, mutant);
    }
    __syncthreads();
}

// The scores of one lane: rows w, w + 8, w + 16, w + 24 for warp w; keys 2 l + 64 t and the next one for lane l, counted
// from the place `from`. The rows go through each step together, so that they wait for shuffles together.
template <class T>
struct Rows {
    float score[kRowsOfWarp][kKeysOfLane], top[kRowsOfWarp], sum[kRowsOfWarp];

    __device__ Rows(const Work<T>& work, int from, Mutant mutant) {
        const int count = min(kOwn, work.problem.count - from);
        const float scale = mutant.is(kScoresScaled) ? rsqrtf(static_cast<float>(work.problem.key.channels)) : 1.0f;
#pragma unroll
        for (int r = 0; r < kRowsOfWarp; ++r) {
            top[r] = -INFINITY;
#pragma unroll
            for (int i = 0; i < kKeysOfLane; i += 2) {
                const int key = key_of(i);
                const float2 two = *reinterpret_cast<const float2*>(work.scores + row_of(r) * kScoreStride + key);
                score[r][i] = key < count ? two.x * scale : -INFINITY;
                score[r][i + 1] = key + 1 < count ? two.y * scale : -INFINITY;
                top[r] = fmaxf(top[r], fmaxf(score[r][i], score[r][i + 1]));
            }
        }
#pragma unroll
        for (int step = 16; step; step /= 2) {
#pragma unroll
            for (int r = 0; r < kRowsOfWarp; ++r) top[r] = fmaxf(top[r], __shfl_xor_sync(kEveryLane, top[r], step));
        }
    }
    __device__ static int row_of(int r) { return static_cast<int>(threadIdx.x) / 32 + r * kWarps; }
    __device__ static int key_of(int i) { return static_cast<int>(threadIdx.x) % 32 * 2 + i / 2 * 64 + i % 2; }

    // Turns scores into exp(score - top) and adds them up.
    __device__ void weigh(const Work<T>& work, int from, Mutant mutant) {
#pragma unroll
        for (int r = 0; r < kRowsOfWarp; ++r) {
            sum[r] = 0.0f;
#pragma unroll
            for (int i = 0; i < kKeysOfLane; ++i) {
                score[r][i] = __expf(mutant.is(kLargestNotSubtracted) ? score[r][i] : score[r][i] - top[r]);
                const bool last = from + key_of(i) == work.problem.count - 1;
                if (!mutant.is(kLastKeyNotNormalised) || !last) sum[r] += score[r][i];
            }
        }
#pragma unroll
        for (int step = 16; step; step /= 2) {
#pragma unroll
            for (int r = 0; r < kRowsOfWarp; ++r) sum[r] += __shfl_xor_sync(kEveryLane, sum[r], step);
        }
    }
};

// Adds the scores of kOther queries from `other` on to what is known of them: the largest, and the sum of weights.
template <class T>
__device__ void note_rows(const Work<T>& work, int from, int other, Mutant mutant) {
    const int count = work.problem.count;
    Rows<T> rows(work, from, mutant);
    float2 before[kRowsOfWarp];
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
        before[r] = work.lines[min(other + Rows<T>::row_of(r), count - 1)];
        rows.top[r] = fmaxf(before[r].x, rows.top[r]);
    }
    rows.weigh(work, from, mutant);
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
        const int query = other + Rows<T>::row_of(r);
        const float fade = mutant.is(kLargestNotSubtracted) ? 1.0f : __expf(before[r].x - rows.top[r]);
        if (threadIdx.x % 32 || query >= count) continue;
        work.lines[query] = make_float2(rows.top[r], fmaf(before[r].y, fade, rows.sum[r]));
    }
}

// The same for all queries and keys, where the strip has more keys than a block holds.
template <class T>
__device__ void note_all(const Work<T>& work, Mutant mutant) {
    const Problem<T>& p = work.problem;
    for (int i = threadIdx.x; i < p.count; i += kThreads) work.lines[i] = make_float2(-INFINITY, 0.0f);
    for (int from = 0; from < p.count; from += kOwn) {
        gather_keys(work, from, whole(min(kOwn, p.count - from)), mutant);
        for (int first = 0; first < p.count; first += p.stage) {
            const int rows = min(p.stage, whole(p.count - first));
            gather_others(work, first, rows, true, false, mutant);
            for (int other = 0; other < rows; other += kOther) {
                const T* queries = work.queries + other * stride_of<T>(work.dim());
                Tiles<T>::scores(work.scores, queries, work.keys, work.dim());
                __syncthreads();
                note_rows(work, from, first + other, mutant);
                __syncthreads();
            }
        }
    }
}

template <class T>
struct alignas(2 * sizeof(T)) Pair {
    T first, second;
};

// Scores become weights of the type of the maps, row for row and in place.
template <class T>
__device__ void weigh_rows(const Work<T>& work, int other, Mutant mutant) {
    const int count = work.problem.count, active = whole(work.rows);
    const bool known = count > kOwn;
    Rows<T> rows(work, work.own, mutant);
    float total[kRowsOfWarp];
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
        if (!known) continue;
        const float2 line = work.lines[min(other + Rows<T>::row_of(r), count - 1)];
        rows.top[r] = line.x, total[r] = line.y;
    }
    rows.weigh(work, work.own, mutant);
    __syncwarp();
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
        const int row = Rows<T>::row_of(r);
        const float share = 1.0f / (known ? total[r] : rows.sum[r]);
        Pair<T>* weights = reinterpret_cast<Pair<T>*>(reinterpret_cast<T*>(work.scores) + row * kWeightStride<T>);
#pragma unroll
        for (int i = 0; i < kKeysOfLane; i += 2) {
            if (Rows<T>::key_of(i) >= active) continue;
            const bool there = other + row < count;
            weights[Rows<T>::key_of(i) / 2] = {as_element<T>(there ? rows.score[r][i] * share : 0.0f),
                                               as_element<T>(there ? rows.score[r][i + 1] * share : 0.0f)};
        }
    }
}

template <class T>
__device__ void attend_released(const Work<T>& work, Tiles<T>& tiles, Mutant mutant) {
    const Problem<T>& p = work.problem;
    const bool active = static_cast<int>(threadIdx.x) < whole(work.rows);
    if (p.count > kOwn) note_all(work, mutant);
    gather_keys(work, work.own, whole(work.rows), mutant);
    for (int first = 0; first < p.count; first += p.stage) {
        const int rows = min(p.stage, whole(p.count - first));
        gather_others(work, first, rows, true, true, mutant);
        for (int other = 0; other < rows; other += kOther) {
            const T* queries = work.queries + other * stride_of<T>(work.dim());
            if (active) Tiles<T>::scores(work.scores, queries, work.keys, work.dim());
            __syncthreads();
            weigh_rows(work, first + other, mutant);
            __syncthreads();
            const T* weights = reinterpret_cast<const T*>(work.scores);
            if (active) tiles.add(weights, work.values + other * stride_of<T>(kGroup));
            __syncthreads();
        }
    }
}

}  // namespace
}  // namespace eamfmeg
