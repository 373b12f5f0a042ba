// How many threads a loop is worth. An allocation that fails inside a team would end the process, so what each thread needs
// is made before the team is, one for each of its members.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <cstdint>

#include "common/isa.h"

namespace eamfmeg {

// Members of a team for so many multiply-adds.
inline int team_for(long long work) {
#ifdef _OPENMP
    return work >= kWorthATeam ? omp_get_max_threads() : 1;
#else
    return static_cast<void>(work), 1;
#endif
}

// This thread's number in its team.
inline unsigned member() {
#ifdef _OPENMP
    return static_cast<unsigned>(omp_get_thread_num());
#else
    return 0;
#endif
}

// How many threads the team has.
inline int team() {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

}  // namespace eamfmeg

// Binds member i of a team of `count` to processor `processors[i]`, until the process ends; none where the team would be
// smaller. Linux only. Returns a Status.
extern "C" int eamfmeg_pin_threads(const std::int64_t* processors, std::int64_t count);
