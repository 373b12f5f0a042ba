// quantize on the CPU; the loops are those of quantize_loops.h. Versions: 1. a row of pixels at a time, lanes along
// channels.
#include "quantize/quantize.h"

#define EAMFMEG_LOOPS "quantize/quantize_loops.h"
#include "common/every_isa.h"

extern "C" int eamfmeg_quantize_cpu(void* out, const void* features, const void* scale, const void* shift, std::int64_t n,
                                    std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t stride_n,
                                    std::int64_t stride_h, std::int64_t stride_w, std::int64_t stride_c) {
    using namespace eamfmeg;
    const Mutant mutant = current_mutant();
    View<float> in{static_cast<const float*>(features), n, h, w, c, stride_n, stride_h, stride_w, stride_c};
    auto* bytes = static_cast<std::uint8_t*>(out);
    if (mutant.is(QuantizeMutant::kChannelStrideIgnored)) in.stride_c = 1;
    if (mutant.is(QuantizeMutant::kBatchStrideIgnored)) in.stride_n = 0;
    EAMFMEG_RUN(quantize_rows(bytes, in, static_cast<const float*>(scale), static_cast<const float*>(shift), mutant));
    if (mutant.is(QuantizeMutant::kOneBeyondTheEnd)) bytes[in.elements()] = 0;
    return kOk;
}
