// Takes the place of CUDA's header of this name: nvcuda::wmma for half and bfloat16 with float sums.
//
// Each lane holds its share of a matrix, as on a device (which element lies where is unspecified there and differs here).
// Loads and stores are each lane's own; mma_sync is done once all 32 lanes have come. So what other lanes wrote or will
// read needs __syncwarp() here as well, and a fragment that was never filled is not a number.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void>
class fragment {
    static constexpr bool kSums = std::is_same_v<Use, accumulator>;
    static_assert((M == 16 && N == 16) || (M == 32 && N == 8) || (M == 8 && N == 32), "no such shape");
    static_assert(K == 16 && kSums == std::is_void_v<Layout>, "no such shape or layout");
    static_assert(kSums ? std::is_same_v<T, float> : std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>,
                  "half or bfloat16 in, float out; the shim has no others");

  public:
    static constexpr int rows = std::is_same_v<Use, matrix_b> ? K : M;
    static constexpr int columns = std::is_same_v<Use, matrix_a> ? K : N;
    static constexpr int num_elements = rows * columns / warpSize;
    T x[num_elements];

    fragment() { std::memset(static_cast<void*>(x), 0xff, sizeof(x)); }
};

}  // namespace nvcuda::wmma

namespace [[gnu::visibility("hidden")]] eamfmeg_shim {

// Calls visit(element of the lane's share, row, column). Shares are scattered, so that no usual way to write a tile leaves
// each lane with what it wrote itself: only then does a missing barrier show. An odd factor permutes a power of two.
template <class Fragment, class Visit>
void each_of_share(unsigned lane, Visit visit) {
    constexpr unsigned kSize = Fragment::rows * Fragment::columns, kColumns = Fragment::columns;
    for (unsigned e = 0; e < Fragment::num_elements; ++e) {
        const unsigned at = (e * warpSize + lane) * 73 % kSize;
        visit(e, at / kColumns, at % kColumns);
    }
}

template <class T>
void check_matrix(const T* at, unsigned stride, int line) {
    if (reinterpret_cast<std::uintptr_t>(at) % 32) scheduler.fail("line %d: wmma wants 32-byte alignment", line);
    if (stride * sizeof(T) % 16) scheduler.fail("line %d: wmma wants a stride of a multiple of 16 bytes", line);
}

template <class Fragment, class T>
void load_share(Fragment& to, const T* from, unsigned stride, bool by_rows, int line) {
    check_matrix(from, stride, line);
    each_of_share<Fragment>(scheduler.lane(), [&](unsigned e, unsigned row, unsigned column) {
        to.x[e] = by_rows ? from[row * std::size_t(stride) + column] : from[column * std::size_t(stride) + row];
    });
}

// Row major, from the shares of all lanes.
template <class Fragment>
void gather(float* matrix, const Fragment* const* shares) {
    for (unsigned lane = 0; lane < warpSize; ++lane) {
        each_of_share<Fragment>(lane, [&](unsigned e, unsigned row, unsigned column) {
            matrix[row * Fragment::columns + column] = static_cast<float>(shares[lane]->x[e]);
        });
    }
}

// The order of the loops lets the compiler use vector instructions even where the rest is built for debugging.
template <int M, int N, int K>
__attribute__((optimize("O3"))) void add_product(float* c, const float* a, const float* b) {
    for (int i = 0; i < M; ++i) {
        for (int k = 0; k < K; ++k) {
            for (int j = 0; j < N; ++j) c[i * N + j] += a[i * K + k] * b[k * N + j];
        }
    }
}

template <class A, class B, class C>
struct Product {
    C* d;
    const A* a;
    const B* b;
    const C* c;

    static void together(void* const* lanes, unsigned mask) {
        if (mask != 0xffffffffu) return scheduler.fail("mma_sync without all lanes of the warp: %08x", mask);
        const A* as[warpSize];
        const B* bs[warpSize];
        const C* cs[warpSize];
        for (int lane = 0; lane < warpSize; ++lane) {
            const auto* mine = static_cast<const Product*>(lanes[lane]);
            as[lane] = mine->a, bs[lane] = mine->b, cs[lane] = mine->c;
        }
        float a[A::rows * A::columns], b[B::rows * B::columns], c[C::rows * C::columns];
        gather(a, as), gather(b, bs), gather(c, cs);
        add_product<C::rows, C::columns, A::columns>(c, a, b);
        for (unsigned lane = 0; lane < warpSize; ++lane) {
            C* d = static_cast<const Product*>(lanes[lane])->d;
            each_of_share<C>(lane,
                             [&](unsigned e, unsigned row, unsigned column) { d->x[e] = c[row * C::columns + column]; });
        }
    }
};

}  // namespace eamfmeg_shim

namespace nvcuda::wmma {

template <class Use, int M, int N, int K, class T, class Layout>
void fill_fragment(fragment<Use, M, N, K, T, Layout>& f, const std::common_type_t<T>& value) {
    for (T& x : f.x) x = value;
}

template <class Use, int M, int N, int K, class T, class Layout>
void load_matrix_sync(fragment<Use, M, N, K, T, Layout>& f, const T* from, unsigned stride, int line = __builtin_LINE()) {
    static_assert(!std::is_void_v<Layout>, "an accumulator is loaded with its layout as the last argument");
    eamfmeg_shim::load_share(f, from, stride, std::is_same_v<Layout, row_major>, line);
}

template <int M, int N, int K, class T>
void load_matrix_sync(fragment<accumulator, M, N, K, T>& f, const T* from, unsigned stride, layout_t layout,
                      int line = __builtin_LINE()) {
    eamfmeg_shim::load_share(f, from, stride, layout == mem_row_major, line);
}

template <int M, int N, int K, class T>
void store_matrix_sync(T* to, const fragment<accumulator, M, N, K, T>& f, unsigned stride, layout_t layout,
                       int line = __builtin_LINE()) {
    eamfmeg_shim::check_matrix(to, stride, line);
    eamfmeg_shim::each_of_share<fragment<accumulator, M, N, K, T>>(
        eamfmeg_shim::scheduler.lane(), [&](unsigned e, unsigned row, unsigned column) {
            const std::size_t s = stride;
            to[layout == mem_row_major ? row * s + column : column * s + row] = f.x[e];
        });
}

template <int M, int N, int K, class T, class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, M, N, K, float>& d, const fragment<matrix_a, M, N, K, T, LayoutA>& a,
              const fragment<matrix_b, M, N, K, T, LayoutB>& b, const fragment<accumulator, M, N, K, float>& c,
              bool = false, int line = __builtin_LINE()) {
    using Product = eamfmeg_shim::Product<std::decay_t<decltype(a)>, std::decay_t<decltype(b)>, std::decay_t<decltype(d)>>;
    Product product{&d, &a, &b, &c};
    eamfmeg_shim::scheduler.wait_for_warp(0xffffffffu, &Product::together, &product, line);
}

}  // namespace nvcuda::wmma
