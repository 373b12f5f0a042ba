// Compiles one file of loops once for each instruction set. Before including this, define EAMFMEG_LOOPS as the file's name;
// it then sees EAMFMEG_ISA, the namespace it must put everything into, and the vector type of common/simd_*.h there. After
// it, EAMFMEG_RUN(f(arguments)) calls the f of the level that `isa()` names.
//
// The file of loops has no include guard and includes nothing: what it includes would be compiled for the wrong processor.
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
