// Takes the place of CUDA's header of this name: copies from global to shared memory that are late on purpose.
//
// A copy is carried out when the thread waits for its batch, not before, and its destination is poisoned until then.
#pragma once

#include <cuda_runtime.h>

#include <cstring>

inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t bytes, std::size_t zeros = 0,
                                    int line = __builtin_LINE()) {
    using namespace eamfmeg_shim;
    const auto where = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from);
    if (bytes != 4 && bytes != 8 && bytes != 16) scheduler.fail("line %d: asynchronous copy of %zu bytes", line, bytes);
    if (where % bytes) scheduler.fail("line %d: asynchronous copy of %zu bytes is misaligned", line, bytes);
    if (zeros > bytes) scheduler.fail("line %d: asynchronous copy with more zeros than bytes", line);
    if (!device.static_shared.holds(to) && !device.dynamic_shared.holds(to)) {
        scheduler.fail("line %d: asynchronous copy to what is not shared memory", line);
    }
    std::memset(to, 0xff, bytes);
    Fiber& fiber = scheduler.current();
    fiber.copies.push_back(AsyncCopy{to, from, bytes, zeros, fiber.batches});
}

inline void __pipeline_commit() {
    ++eamfmeg_shim::scheduler.current().batches;
}

// Waits for all batches but the newest `newest`. What was not committed stays as it is.
inline void __pipeline_wait_prior(std::size_t newest) {
    eamfmeg_shim::Fiber& fiber = eamfmeg_shim::scheduler.current();
    std::size_t done = 0;
    for (const eamfmeg_shim::AsyncCopy& copy : fiber.copies) {
        if (copy.batch + newest >= fiber.batches) break;
        std::memcpy(copy.to, copy.from, copy.bytes - copy.zeros);
        std::memset(static_cast<char*>(copy.to) + copy.bytes - copy.zeros, 0, copy.zeros);
        ++done;
    }
    fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + static_cast<std::ptrdiff_t>(done));
}
