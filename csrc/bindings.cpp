// The only file that knows Python. Built twice: as eamfmeg_fast._C (CPU), and with -DEAMFMEG_CUDA as eamfmeg_fast._cuda.
// An operator adds one line to its room's list below. Addresses come as integers: the caller (kernels/<op>/native.py) has
// checked shapes and types and keeps the tensors alive.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <type_traits>

#include "antialias_down/antialias_down.h"
#include "common/isa.h"
#include "common/threads.h"
#include "compose/compose.h"
#include "conv3x3/conv3x3.h"
#include "dense_motion/dense_motion.h"
#include "edge_attention/edge_attention.h"
#include "identity/identity.h"
#include "narrow_conv/narrow_conv.h"
#include "quantize/quantize.h"
#include "soft_argmax/soft_argmax.h"
#include "sparse_motion/sparse_motion.h"
#include "to_image/to_image.h"
#include "upsample_conv/upsample_conv.h"
#include "warp_occlude/warp_occlude.h"

namespace py = pybind11;

namespace {

void check(int status) {
    switch (status) {
        case eamfmeg::kOk: return;
        case eamfmeg::kBadItemSize: throw std::invalid_argument("item size is not 1, 2, 4 or 8 bytes");
        case eamfmeg::kLaunchFailed: throw std::runtime_error("the CUDA kernel could not be launched");
        case eamfmeg::kBadType: throw std::invalid_argument("this room has no code for the element type");
        case eamfmeg::kTooLarge: throw std::invalid_argument("this room has no code for arrays of this size");
        default: throw std::runtime_error("unknown status");
    }
}

// An entry point as Python sees it: pointers become integers, the GIL is released, a bad status becomes an exception.
template <class T>
struct Plain {
    using type = T;
};
template <class T>
struct Plain<T*> {
    using type = std::uintptr_t;
};
template <class T>
T unpack(typename Plain<T>::type value) {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<T>(value);
    } else {
        return value;
    }
}

template <class... Args>
void bind(py::module_& m, const char* name, int (*entry)(Args...)) {
    m.def(
        name, [entry](typename Plain<Args>::type... args) { check(entry(unpack<Args>(args)...)); },
        py::call_guard<py::gil_scoped_release>());
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = __VERSION__;
    info["flags"] = EAMFMEG_FLAGS;
    info["source_hash"] = EAMFMEG_SOURCE_HASH;
#ifdef _OPENMP
    info["openmp"] = _OPENMP;
#else
    info["openmp"] = 0;
#endif
#ifdef EAMFMEG_MUTANTS
    info["mutants"] = true;
#else
    info["mutants"] = false;
#endif
    return info;
}

}  // namespace

PYBIND11_MODULE(EAMFMEG_MODULE, m) {
    m.doc() = "Compiled rooms of eamfmeg_fast.kernels: addresses in, status out. Use the operators, not this.";
    m.def("build_info", &build_info, "Compiler, flags, OpenMP version (0: none), fingerprint of csrc/, planted faults.");
#ifdef EAMFMEG_MUTANTS
    m.def(
        "set_mutant", [](int number) { eamfmeg::mutant_number() = number; }, "Switch planted fault `number` on; 0: none.");
#endif
#ifdef EAMFMEG_CUDA
    bind(m, "dense_motion_cuda", &eamfmeg_dense_motion_cuda);
    bind(m, "edge_attention_cuda", &eamfmeg_edge_attention_cuda);
    bind(m, "identity_cuda", &eamfmeg_identity_cuda);
    bind(m, "warp_occlude_cuda", &eamfmeg_warp_occlude_cuda);
#else
    m.def("limit_isa", &eamfmeg_limit_isa,
          "Use at most level 0 (portable), 1 (AVX2) or 2 (AVX-512); -1: the best there is.");
    bind(m, "pin_threads", &eamfmeg_pin_threads);
    bind(m, "antialias_down_cpu", &eamfmeg_antialias_down_cpu);
    bind(m, "conv3x3_cpu", &eamfmeg_conv3x3_cpu);
    bind(m, "conv3x3_pack_cpu", &eamfmeg_conv3x3_pack_cpu);
    bind(m, "compose_cpu", &eamfmeg_compose_cpu);
    bind(m, "dense_motion_cpu", &eamfmeg_dense_motion_cpu);
    bind(m, "edge_attention_cpu", &eamfmeg_edge_attention_cpu);
    bind(m, "identity_cpu", &eamfmeg_identity_cpu);
    bind(m, "narrow_conv_cpu", &eamfmeg_narrow_conv_cpu);
    bind(m, "quantize_cpu", &eamfmeg_quantize_cpu);
    bind(m, "soft_argmax_cpu", &eamfmeg_soft_argmax_cpu);
    bind(m, "sparse_motion_cpu", &eamfmeg_sparse_motion_cpu);
    bind(m, "to_image_cpu", &eamfmeg_to_image_cpu);
    bind(m, "upsample_conv_cpu", &eamfmeg_upsample_conv_cpu);
    bind(m, "upsample_conv_pack_cpu", &eamfmeg_upsample_conv_pack_cpu);
    bind(m, "warp_occlude_cpu", &eamfmeg_warp_occlude_cpu);
#endif
}
