// One strip at a time, kChunk keys or queries of it at once. Compiled for each instruction set, like what it includes.
#include "edge_attention/edge_attention_gather.h"
#include "edge_attention/edge_attention_product.h"
#include "edge_attention/edge_attention_strip.h"
// These need what stands above.
#include "edge_attention/edge_attention_rank_one.h"
#include "edge_attention/edge_attention_released.h"
// This one needs the two before.
#include "edge_attention/edge_attention_nodes.h"

namespace eamfmeg {
namespace EAMFMEG_ISA {

// Whether the result still lies in `sums`.
template <class T>
bool edge_query(const Strip<T>& strip) {
    const Workspace& work = strip.work;
    const float centre = middle(work.edge, strip.pixels);
    find_lines(strip, centre);
    float half_range = 0.0f;
    for (std::int64_t i = 0; i < rounded(strip.pixels); ++i) {
        work.edge[i] -= centre;
        if (i < strip.pixels) half_range = std::max(half_range, std::fabs(work.edge[i]));
    }
    const std::int64_t nodes = nodes_for(half_range, work.slope, strip.pixels);
    if (nodes > 0 && interpolated(strip, half_range, nodes)) return true;
    attend_pixels(strip);
    return false;
}

template <class T>
void attend_strip(const Strip<T>& strip) {
    find_places(strip);
    if (strip.call.released) {
        released(strip);
    } else if (!edge_query(strip)) {
        return;
    }
    if (sizeof(T) == sizeof(float)) return;
    for (std::int64_t i = 0; i < strip.pixels; ++i) {
        for (std::int64_t c = 0; c < strip.channels; c += Vf::kLanes) {
            const std::int64_t at = i * strip.call.channels + c;
            const int n = lanes_from(c, strip.channels);
            store(strip.out() + at, load(strip.sums() + at, n), n);
        }
    }
}

template <class T>
void attend(const EdgeAttentionCall& call, float* memory, std::size_t each, int threads, Mutant mutant) {
    const bool wide = sizeof(T) == sizeof(float);
    const std::int64_t units = call.n * call.strips();
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t unit = 0; unit < units; ++unit) {
#ifdef _OPENMP
        const Workspace work(call, memory + each * static_cast<std::size_t>(omp_get_thread_num()), wide);
#else
        const Workspace work(call, memory, wide);
        static_cast<void>(each);
#endif
        std::fill_n(work.zeros, std::max(rounded(call.dim), rounded(call.channels)), 0.0f);
        attend_strip(Strip<T>(call, work, unit, mutant));
    }
    if (mutant.is(kAttentionOneBeyondTheEnd)) static_cast<T*>(call.out)[call.n * call.h * call.w * call.channels] = T{};
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
