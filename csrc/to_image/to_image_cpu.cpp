// to_image on the CPU; the loops are those of to_image_loops.h. Versions: 1. a row at a time; three planes are joined on
// the way.
#include "to_image/to_image.h"

#define EAMFMEG_LOOPS "to_image/to_image_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

template <class T>
int run(std::uint8_t* out, const View<char>& in, bool from_logits, Mutant mutant) {
    View<T> typed{
        reinterpret_cast<const T*>(in.data), in.n, in.h, in.w, in.c, in.stride_n, in.stride_h, in.stride_w, in.stride_c};
    if (mutant.is(ToImageMutant::kChannelStrideIgnored)) typed.stride_c = 1;
    if (mutant.is(ToImageMutant::kBatchStrideIgnored)) typed.stride_n = 0;
    EAMFMEG_RUN(draw_rows(out, typed, from_logits, mutant));
    return kOk;
}

int run_any(std::uint8_t* out, const View<char>& in, bool from_logits, std::int64_t type, Mutant mutant) {
    switch (type) {
        case kFloat32: return run<float>(out, in, from_logits, mutant);
        case kFloat16: return run<Half>(out, in, from_logits, mutant);
        case kBFloat16: return run<BFloat16>(out, in, from_logits, mutant);
        default: return kBadType;
    }
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_to_image_cpu(void* out, const void* prediction, std::int64_t n, std::int64_t h, std::int64_t w,
                                    std::int64_t c, std::int64_t stride_n, std::int64_t stride_h, std::int64_t stride_w,
                                    std::int64_t stride_c, std::int64_t from_logits, std::int64_t type) {
    using namespace eamfmeg;
    const Mutant mutant = current_mutant();
    View<char> view{static_cast<const char*>(prediction), n, h, w, c, stride_n, stride_h, stride_w, stride_c};
    auto* bytes = static_cast<std::uint8_t*>(out);
    if (mutant.is(ToImageMutant::kLastPixelDropped)) view.w -= 1;
    const int status = run_any(bytes, view, from_logits != 0, type, mutant);
    if (mutant.is(ToImageMutant::kOneBeyondTheEnd)) bytes[view.elements()] = 0;
    return status;
}
