// Planted faults. A test that has never been seen to fail proves nothing, so every operator carries some mutants of its own
// arithmetic; a build with -DEAMFMEG_MUTANTS can switch one on, and the tests must then fail by their values. In a normal
// build `Mutant::is` is a constant false and the compiler removes every trace.
#pragma once

#include "common/platform.h"

namespace eamfmeg {

#ifdef EAMFMEG_MUTANTS
struct Mutant {
    int number;
    EAMFMEG_HD bool is(int which) const { return number == which; }
};

inline int& mutant_number() {
    static int number = 0;
    return number;
}

inline Mutant current_mutant() {
    return Mutant{mutant_number()};
}
#else
struct Mutant {
    EAMFMEG_HD constexpr bool is(int) const { return false; }
};

inline Mutant current_mutant() {
    return Mutant{};
}
#endif

}  // namespace eamfmeg
