// Compiles one file of loops once for each instruction set. Before including this, define EAMFMEG_LOOPS as the file's name;
// it then sees EAMFMEG_ISA, the namespace it must put everything into, and the vector type of common/simd_*.h there. After
// it, EAMFMEG_RUN(f(arguments)) calls the f of the level that `isa()` names.
//
// With EAMFMEG_LOOPS_WITH_PAIRS the file is compiled once more, as AVX-512 with EAMFMEG_PAIRS defined, which stands for the
// processor's own products of pairs of bfloat16. EAMFMEG_RUN_PAIRS(pairs, f(arguments)) calls that f where `pairs` holds,
// for which has_pairs() must; a compiler that knows no such products leaves EAMFMEG_COMPILED_PAIRS undefined and takes
// EAMFMEG_RUN.
//
// The file of loops has no include guard and includes nothing but parts of itself: anything else would be compiled for the
// wrong processor.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/half.h"
#include "common/isa.h"
#include "common/mutants.h"
#include "common/platform.h"
#include "common/threads.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define EAMFMEG_X86 1
#if __GNUC__ >= 10 || defined(__clang__)
#define EAMFMEG_KNOWS_PAIRS 1
#endif
#if !defined(__clang__)
// GCC 12 takes the undefined operand of its own intrinsics for a mistake of ours.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#endif

#define EAMFMEG_ISA portable
#include "common/simd_portable.h"
// The vector type comes before what is made of it; this line keeps the two apart when includes are sorted.
#include "common/simd_math.h"
#include EAMFMEG_LOOPS
#undef EAMFMEG_ISA

#ifdef EAMFMEG_X86
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define EAMFMEG_ISA avx2
#include "common/simd_avx2.h"
#include "common/simd_math.h"
#include EAMFMEG_LOOPS
#undef EAMFMEG_ISA
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#define EAMFMEG_ISA avx512
#include "common/simd_avx512.h"
#include "common/simd_math.h"
#include EAMFMEG_LOOPS
#undef EAMFMEG_ISA
#pragma GCC pop_options

#if defined(EAMFMEG_KNOWS_PAIRS) && defined(EAMFMEG_LOOPS_WITH_PAIRS)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#define EAMFMEG_ISA avx512_pairs
#define EAMFMEG_PAIRS
#include "common/simd_avx512.h"
#include "common/simd_math.h"
#include EAMFMEG_LOOPS
#undef EAMFMEG_PAIRS
#undef EAMFMEG_ISA
#pragma GCC pop_options
#define EAMFMEG_COMPILED_PAIRS 1
#endif
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#define EAMFMEG_RUN(call)                                       \
    (eamfmeg::isa() == eamfmeg::kAvx512 ? eamfmeg::avx512::call \
     : eamfmeg::isa() == eamfmeg::kAvx2 ? eamfmeg::avx2::call   \
                                        : eamfmeg::portable::call)
#else
#define EAMFMEG_RUN(call) eamfmeg::portable::call
#endif

#ifdef EAMFMEG_COMPILED_PAIRS
#define EAMFMEG_RUN_PAIRS(pairs, call) ((pairs) ? eamfmeg::avx512_pairs::call : EAMFMEG_RUN(call))
#else
#define EAMFMEG_RUN_PAIRS(pairs, call) (static_cast<void>(pairs), EAMFMEG_RUN(call))
#endif

namespace eamfmeg {

// Whether products of pairs of bfloat16 can be compiled, this processor has them, and `isa()` allows them.
inline bool has_pairs() {
#ifdef EAMFMEG_KNOWS_PAIRS
    static const bool there = __builtin_cpu_supports("avx512bf16");
    return there && isa() == kAvx512;
#else
    return false;
#endif
}

}  // namespace eamfmeg
