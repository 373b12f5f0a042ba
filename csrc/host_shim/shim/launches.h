// Launching a grid: the checks a device would make, the shared memory, the blocks one after another.
#pragma once

#include <link.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "shim/fibers.h"

using cudaStream_t = struct CUstream_st*;

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorLaunchFailure = 719,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout };
enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};

namespace [[gnu::visibility("hidden")]] eamfmeg_shim {

constexpr std::size_t kSharedBytes = 48 << 10;
constexpr std::size_t kSharedBytesOptIn = 99 << 10;  // what sm_86, sm_89 and sm_120 allow
constexpr std::size_t kFence = 64;
constexpr unsigned char kFenceByte = 0xa5;

struct Span {
    char* begin = nullptr;
    std::size_t size = 0;
    bool holds(const void* at) const { return at >= begin && at < begin + size; }
};

// All there is between launches. One launch at a time, whichever thread it comes from.
struct Device {
    std::mutex busy;
    cudaError_t error = cudaSuccess;
    std::map<const void*, std::size_t> allowed;
    unsigned order = ~0u;
    Span static_shared, dynamic_shared;
};

inline Device device;

inline void* dynamic_shared() {
    return device.dynamic_shared.begin;
}

// `__shared__` variables are this library's thread_local variables: all threads of a block run on one thread of the
// host, and the loader can say where a library's thread_local variables lie, so that each block finds them poisoned.
inline Span find_static_shared() {
    static thread_local char anchor;
    Span found{&anchor, 0};
    const auto look = [](dl_phdr_info* info, std::size_t, void* data) {
        Span& span = *static_cast<Span*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
            const ElfW(Phdr) & header = info->dlpi_phdr[i];
            const Span here{static_cast<char*>(info->dlpi_tls_data), header.p_memsz};
            if (header.p_type != PT_TLS || here.begin == nullptr || !here.holds(span.begin)) continue;
            span = here;
            return 1;
        }
        return 0;
    };
    dl_iterate_phdr(look, &found);
    return found;
}

inline void fence([[maybe_unused]] const Span& memory, [[maybe_unused]] bool up) {
#ifdef __SANITIZE_ADDRESS__
    (up ? __asan_poison_memory_region : __asan_unpoison_memory_region)(memory.begin + memory.size, kFence);
#endif
}

inline void poison_shared() {
    std::memset(device.static_shared.begin, 0xff, device.static_shared.size);
    Span& dynamic = device.dynamic_shared;
    fence(dynamic, false);
    std::memset(dynamic.begin, 0xff, dynamic.size);
    std::memset(dynamic.begin + dynamic.size, kFenceByte, kFence);
    fence(dynamic, true);
}

inline bool fence_broken() {
    const Span& dynamic = device.dynamic_shared;
    fence(dynamic, false);
    bool broken = false;
    for (std::size_t i = 0; i < kFence; ++i) {
        broken |= static_cast<unsigned char>(dynamic.begin[dynamic.size + i]) != kFenceByte;
    }
    return broken;
}

inline unsigned chosen_order() {
    if (device.order != ~0u) return device.order;
    const char* word = std::getenv("EAMFMEG_SHIM_ORDER");
    if (word == nullptr || std::strcmp(word, "forward") == 0) return 0;
    if (std::strcmp(word, "reverse") == 0) return 1;
    return std::strcmp(word, "shuffle") == 0 ? 2 : static_cast<unsigned>(std::atoi(word));
}

inline cudaError_t why_refused(const void* kernel, dim3 grid, dim3 block, std::size_t bytes) {
    const bool empty = !(grid.x && grid.y && grid.z && block.x && block.y && block.z);
    if (empty || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidConfiguration;
    if (block.x > 1024 || block.y > 1024 || block.z > 64 || std::size_t(block.x) * block.y * block.z > 1024) {
        return cudaErrorInvalidConfiguration;
    }
    const auto found = device.allowed.find(kernel);
    return bytes > (found == device.allowed.end() ? kSharedBytes : found->second) ? cudaErrorInvalidValue : cudaSuccess;
}

// All blocks; false as soon as one reported a fault.
inline bool run_grid(dim3 grid, dim3 block, void (*body)(void*), void* argument) {
    blockDim = block, gridDim = grid;
    scheduler.set_order(chosen_order());
    device.static_shared = find_static_shared();
    const Order order = scheduler.order_of(grid.x);
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = uint3{order[x], y, z};
                poison_shared();
                const bool ran = scheduler.run_block(block.x * block.y * block.z, body, argument);
                if (fence_broken()) scheduler.fail("wrote beyond the end of dynamic shared memory");
                if (!ran || !scheduler.fault().empty()) return false;
            }
        }
    }
    return true;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t bytes, cudaStream_t,
            Arguments&&... arguments) {
    const std::lock_guard<std::mutex> alone(device.busy);
    const cudaError_t refused = why_refused(reinterpret_cast<const void*>(kernel), grid, block, bytes);
    if (refused != cudaSuccess) {
        device.error = refused;
        return;
    }
    struct Call {
        void (*kernel)(Parameters...);
        std::tuple<Parameters...> parameters;
    } call{kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)};
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, bytes + kFence) != 0) std::abort();
    device.dynamic_shared = Span{static_cast<char*>(memory), bytes};
    scheduler.forget_fault();
    const auto body = [](void* it) { std::apply(static_cast<Call*>(it)->kernel, static_cast<Call*>(it)->parameters); };
    if (!run_grid(grid, block, body, &call)) device.error = cudaErrorLaunchFailure;
    std::free(memory);
}

}  // namespace eamfmeg_shim

// For tests: 0 forward, 1 reverse, more: the seed of a shuffle. Until called, EAMFMEG_SHIM_ORDER decides.
extern "C" __attribute__((used, visibility("default"))) inline void eamfmeg_shim_order(int order) {
    eamfmeg_shim::device.order = static_cast<unsigned>(order);
}

// What the last launch reported; empty if nothing.
extern "C" __attribute__((used, visibility("default"))) inline const char* eamfmeg_shim_fault() {
    return eamfmeg_shim::scheduler.fault().c_str();
}

inline cudaError_t cudaPeekAtLastError() {
    return eamfmeg_shim::device.error;
}

inline cudaError_t cudaGetLastError() {
    return std::exchange(eamfmeg_shim::device.error, cudaSuccess);
}

inline const char* cudaGetErrorString(cudaError_t error) {
    if (error == cudaErrorLaunchFailure) return eamfmeg_shim_fault();
    return error == cudaSuccess ? "no error" : "invalid argument or launch configuration";
}

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
    using namespace eamfmeg_shim;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || static_cast<std::size_t>(value) > kSharedBytesOptIn) return device.error = cudaErrorInvalidValue;
    device.allowed[reinterpret_cast<const void*>(kernel)] = static_cast<std::size_t>(value);
    return cudaSuccess;
}

inline cudaError_t cudaGetDevice(int* number) {
    *number = 0;
    return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
        case cudaDevAttrMultiProcessorCount: *value = 2; break;
        case cudaDevAttrComputeCapabilityMajor: *value = 8; break;
        case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = eamfmeg_shim::kSharedBytesOptIn; break;
        default: return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}

inline cudaError_t cudaDeviceSynchronize() {
    return cudaPeekAtLastError();
}
