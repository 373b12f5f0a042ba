// dense_motion on the CPU. Versions: 1. vectors of pixels, turned round through a small buffer.
#include "dense_motion/dense_motion.h"

#define EAMFMEG_LOOPS "dense_motion/dense_motion_loops.h"
#include "common/every_isa.h"

extern "C" int eamfmeg_dense_motion_cpu(float* mask, float* flow, float* occlusion, const float* mask_logits,
                                        const float* occlusion_logits, const float* affine, std::int64_t n, std::int64_t h,
                                        std::int64_t w, std::int64_t motions, std::int64_t mask_n, std::int64_t mask_h,
                                        std::int64_t mask_w, std::int64_t mask_c, std::int64_t occlusion_n,
                                        std::int64_t occlusion_h, std::int64_t occlusion_w, std::int64_t grid) {
    using namespace eamfmeg;
    const Motion call{mask,
                      flow,
                      occlusion,
                      {mask_logits, n, h, w, motions, mask_n, mask_h, mask_w, mask_c},
                      {occlusion_logits, n, h, w, 1, occlusion_n, occlusion_h, occlusion_w, 1},
                      affine,
                      static_cast<int>(grid)};
    if (too_large(call)) return kTooLarge;
    EAMFMEG_RUN(motion_rows(call, current_mutant()));
    return kOk;
}
