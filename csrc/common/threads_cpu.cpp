// Keeps each member of a team on a processor of its own: unpinned, two may be woken on the same one.
#include <atomic>
#include <cstdint>

#include "common/platform.h"
#include "common/threads.h"

#if defined(__linux__)
#include <sched.h>
#endif

extern "C" int eamfmeg_pin_threads(const std::int64_t* processors, std::int64_t count) {
#if defined(__linux__)
    if (count < 1) return eamfmeg::kTooLarge;
    for (std::int64_t i = 0; i < count; ++i) {
        if (processors[i] < 0 || processors[i] >= CPU_SETSIZE) return eamfmeg::kTooLarge;
    }
    std::atomic<int> failed{0};
#pragma omp parallel num_threads(static_cast<int>(count))
    {
        cpu_set_t own;
        CPU_ZERO(&own);
        CPU_SET(static_cast<int>(processors[eamfmeg::member()]), &own);
        // OpenMP may grant fewer threads than were asked for.
        if (eamfmeg::team() != count || sched_setaffinity(0, sizeof own, &own) != 0) ++failed;
    }
    return failed == 0 ? eamfmeg::kOk : eamfmeg::kLaunchFailed;
#else
    return static_cast<void>(processors), static_cast<void>(count), eamfmeg::kTooLarge;
#endif
}
