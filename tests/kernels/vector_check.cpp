// Entry points of test_vector.py: one instruction level at a time, chosen with eamfmeg_limit_isa.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <type_traits>

#include "common/half.h"

namespace eamfmeg {

// i + 1 as an element; whole numbers this small are exact in every type.
template <class T>
T numbered(int i) {
    T out;
    if constexpr (std::is_same_v<T, std::uint8_t>) {
        out = static_cast<T>(i + 1);
    } else {
        from_float(static_cast<float>(i + 1), out);
    }
    return out;
}

}  // namespace eamfmeg

#define EAMFMEG_LOOPS "vector_loops.h"
#include "common/every_isa.h"

using namespace eamfmeg;

extern "C" int check_lanes() {
    return EAMFMEG_RUN(lanes());
}

extern "C" void check_map(int what, float* out, const float* a, const float* b, std::int64_t count) {
    EAMFMEG_RUN(map(what, out, a, b, count));
}

extern "C" void check_transpose(float* out, const float* in, std::int64_t count) {
    EAMFMEG_RUN(transposed(out, in, count));
}

extern "C" void check_widen(int half, float* out, const void* in, std::int64_t count) {
    if (half) {
        EAMFMEG_RUN(widened(out, static_cast<const Half*>(in), count));
    } else {
        EAMFMEG_RUN(widened(out, static_cast<const BFloat16*>(in), count));
    }
}

extern "C" void check_narrow(int half, void* out, const float* in, std::int64_t count) {
    if (half) {
        EAMFMEG_RUN(narrowed(static_cast<Half*>(out), in, count));
    } else {
        EAMFMEG_RUN(narrowed(static_cast<BFloat16*>(out), in, count));
    }
}

// Partial loads and stores against a page that may not be touched: going too far ends the process.
extern "C" int check_edge(int level) {
    if (eamfmeg_limit_isa(level) != level) return -1;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* const two = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char* const end = static_cast<unsigned char*>(two) + page;
    if (two == MAP_FAILED || mprotect(end, page, PROT_NONE) != 0) return -2;
    return EAMFMEG_RUN(at_the_edge<float>(end, true)) + EAMFMEG_RUN(at_the_edge<Half>(end, true)) +
           EAMFMEG_RUN(at_the_edge<BFloat16>(end, true)) + EAMFMEG_RUN(at_the_edge<std::uint8_t>(end, false));
}
