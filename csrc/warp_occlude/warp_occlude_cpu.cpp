// warp_occlude on the CPU. Versions: 1. taps for 64 pixels at a time, then contiguous channels, pixel after pixel.
#include "warp_occlude/warp_occlude.h"

#define EAMFMEG_LOOPS "warp_occlude/warp_occlude_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

template <class T>
int run(const Warp<char>& call) {
    const Warp<T> call_of_type = typed<T>(call);
    EAMFMEG_RUN(warp_rows(call_of_type, current_mutant()));
    return kOk;
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_warp_occlude_cpu(void* out, const void* features, const float* flow, const float* occlusion,
                                        std::int64_t n, std::int64_t height, std::int64_t width, std::int64_t c,
                                        std::int64_t features_n, std::int64_t features_h, std::int64_t features_w,
                                        std::int64_t h, std::int64_t w, std::int64_t flow_n, std::int64_t flow_h,
                                        std::int64_t flow_w, std::int64_t flow_c, std::int64_t occlusion_n,
                                        std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t dtype,
                                        std::int64_t align_corners) {
    using namespace eamfmeg;
    const Warp<char> call{static_cast<char*>(out),
                          {static_cast<const char*>(features), n, height, width, c, features_n, features_h, features_w, 1},
                          {flow, n, h, w, 2, flow_n, flow_h, flow_w, flow_c},
                          {occlusion, n, h, w, 1, occlusion_n, occlusion_h, occlusion_w, 1},
                          align_corners != 0};
    if (too_large(call)) return kTooLarge;
    switch (dtype) {
        case kFloat32: return run<float>(call);
        case kFloat16: return run<Half>(call);
        case kBFloat16: return run<BFloat16>(call);
        default: return kBadType;
    }
}
