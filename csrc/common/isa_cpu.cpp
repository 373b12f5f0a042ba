// Asks the processor once, and remembers the limit that tests set.
#include <atomic>

#include "common/isa.h"

namespace eamfmeg {
namespace {

std::atomic<int> limit{kAvx512};

Isa detect() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    const bool fused = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (fused && wide) return kAvx512;
    // Every processor with AVX2 and FMA also converts 16-bit floats (F16C).
    if (fused) return kAvx2;
#endif
    return kPortable;
}

}  // namespace

Isa isa() {
    static const Isa best = detect();
    const int allowed = limit.load(std::memory_order_relaxed);
    return best < allowed ? best : static_cast<Isa>(allowed);
}

}  // namespace eamfmeg

extern "C" int eamfmeg_limit_isa(int level) {
    eamfmeg::limit.store(level < 0 ? eamfmeg::kAvx512 : level);
    return eamfmeg::isa();
}
