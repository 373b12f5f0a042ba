// One block at a time, each of its CUDA threads a fiber. A warp runs until all its lanes wait for the block, then the next
// warp begins: the warp that runs first is as far ahead of the others as barriers let it be, so a missing one shows.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "shim/stacks.h"
#include "shim/vectors.h"

namespace [[gnu::visibility("hidden")]] eamfmeg_shim {

enum class State : unsigned char { kReady, kAtWarp, kAtBlock, kDone };

// What all lanes of a warp do together once the last of them has come: reads and writes what each lane has handed in.
using Together = void (*)(void* const* lanes, unsigned mask);

struct AsyncCopy {
    void* to;
    const void* from;
    std::size_t bytes, zeros;
    unsigned batch;
};

struct Fiber {
    Context context;
    StackNote note;
    State state;
    uint3 index;
    int line;  // of the barrier it waits at
    unsigned mask;
    Together together;
    void* handed_in;
    std::vector<AsyncCopy> copies;
    unsigned batches;
};

struct Warp {
    unsigned waiting, done;
};

// A way to go once through `count` places.
struct Order {
    unsigned count, first, stride;
    unsigned operator[](std::uint64_t i) const { return static_cast<unsigned>((first + i * stride) % count); }
};

class Scheduler {
  public:
    // Runs one block of `threads` fibers, each of which calls body(argument). False: a fault was reported.
    bool run_block(unsigned threads, void (*body)(void*), void* argument);

    void wait_for_block(int line) {
        current_->line = line;
        pause(State::kAtBlock);
    }

    void wait_for_warp(unsigned mask, Together together, void* handed_in, int line) {
        if (!(mask >> lane() & 1)) fail("line %d: a lane is missing from its own mask %08x", line, mask);
        current_->mask = mask, current_->together = together, current_->handed_in = handed_in, current_->line = line;
        pause(State::kAtWarp);
    }

    // Reports a fault and gives the launch up. In a fiber it does not return.
    __attribute__((format(printf, 2, 3))) void fail(const char* format, ...);

    Fiber& current() { return *current_; }
    unsigned lane() const { return static_cast<unsigned>(current_ - fibers_.data()) % warpSize; }
    // 0: forward, 1: reverse, more: the seed of a shuffle.
    void set_order(unsigned order) { order_ = order, random_ = 0x9e3779b9u * (order + 1); }
    Order order_of(unsigned count);
    const std::string& fault() const { return fault_; }
    void forget_fault() { fault_.clear(); }

  private:
    static void fiber_main();
    void pause(State state);
    void resume(Fiber& fiber);
    void run_warp(unsigned w, unsigned lanes);
    void settle(unsigned w);
    void release_lanes(unsigned w, unsigned mask);
    void release_block();

    std::vector<Fiber> fibers_;
    std::vector<Warp> warps_;
    Stacks stacks_;
    Context home_;
    StackNote home_note_;
    Fiber* current_ = nullptr;
    void (*body_)(void*) = nullptr;
    void* argument_ = nullptr;
    unsigned threads_ = 0;
    unsigned order_ = 0, random_ = 1;
    std::string fault_;
};

inline Scheduler scheduler;

inline void Scheduler::fiber_main() {
    scheduler.current_->note.arrived(&scheduler.home_note_);
    scheduler.body_(scheduler.argument_);
    scheduler.current_->state = State::kDone;
    scheduler.current_->note.leave_for(scheduler.home_note_, true);
    change(scheduler.current_->context, scheduler.home_);
    __builtin_unreachable();
}

inline void Scheduler::pause(State state) {
    Fiber& fiber = *current_;
    fiber.state = state;
    fiber.note.leave_for(home_note_);
    change(fiber.context, home_);
    fiber.note.arrived(&home_note_);
}

inline void Scheduler::resume(Fiber& fiber) {
    current_ = &fiber;
    threadIdx = fiber.index;
    home_note_.leave_for(fiber.note);
    change(home_, fiber.context);
    home_note_.arrived();
    current_ = nullptr;
}

inline void Scheduler::fail(const char* format, ...) {
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    const uint3 t = current_ ? current_->index : uint3{};
    char where[120];
    std::snprintf(where, sizeof(where),
                  current_ ? "block (%u, %u, %u) thread (%u, %u, %u): " : "block (%u, %u, %u): ", blockIdx.x, blockIdx.y,
                  blockIdx.z, t.x, t.y, t.z);
    if (fault_.empty()) {
        fault_ = std::string(where) + text;
        std::fprintf(stderr, "host shim: %s\n", fault_.c_str());
    }
    if (current_) pause(State::kDone);
}

// A stride without a common divisor visits every place once; no list of places is needed.
inline Order Scheduler::order_of(unsigned count) {
    if (order_ == 0) return Order{count, 0, 1};
    if (order_ == 1) return Order{count, count - 1, count - 1};
    random_ = random_ * 1664525u + 1013904223u;
    unsigned stride = (random_ >> 20) % count | 1;
    while (std::gcd(stride, count) != 1) ++stride;
    return Order{count, (random_ >> 8) % count, stride};
}

inline void Scheduler::run_warp(unsigned w, unsigned lanes) {
    for (bool moved = true; moved && fault_.empty();) {
        moved = false;
        const Order order = order_of(lanes);
        for (unsigned i = 0; i < lanes && fault_.empty(); ++i) {
            Fiber& fiber = fibers_[w * warpSize + order[i]];
            if (fiber.state != State::kReady) continue;
            moved = true;
            resume(fiber);
            settle(w);
        }
    }
}

// After a lane has stopped: notes it, and lets those go on whose company is complete now. Lanes that have returned from
// the kernel are not waited for.
inline void Scheduler::settle(unsigned w) {
    Warp& warp = warps_[w];
    warp.waiting = 0;
    for (unsigned lane = 0; lane < warpSize && w * warpSize + lane < threads_; ++lane) {
        const State state = fibers_[w * warpSize + lane].state;
        warp.waiting |= (state == State::kAtWarp ? 1u : 0u) << lane;
        warp.done |= (state == State::kDone ? 1u : 0u) << lane;
    }
    for (unsigned left = warp.waiting; left != 0 && fault_.empty();) {
        const unsigned mask = fibers_[w * warpSize + __builtin_ctz(left)].mask;
        if ((mask & ~warp.done & ~warp.waiting) == 0) release_lanes(w, mask & warp.waiting);
        left &= ~mask;
    }
}

inline void Scheduler::release_lanes(unsigned w, unsigned mask) {
    Fiber* warp = &fibers_[w * warpSize];
    const Fiber& first = warp[__builtin_ctz(mask)];
    void* handed_in[warpSize] = {};
    for (unsigned left = mask; left != 0; left &= left - 1) {
        const Fiber& other = warp[__builtin_ctz(left)];
        if (other.mask != first.mask || other.together != first.together) {
            return fail("lanes of one warp meet in different operations (line %d mask %08x, line %d mask %08x)", first.line,
                        first.mask, other.line, other.mask);
        }
        handed_in[__builtin_ctz(left)] = other.handed_in;
    }
    if (first.together) first.together(handed_in, mask);
    for (unsigned left = mask; left != 0; left &= left - 1) warp[__builtin_ctz(left)].state = State::kReady;
}

// No fiber can go on by itself: either all stand at one and the same __syncthreads, or somebody waits in vain.
inline void Scheduler::release_block() {
    const Fiber* at = nullptr;
    unsigned gone = 0;
    for (const Fiber& fiber : fibers_) {
        if (fiber.state == State::kAtWarp) {
            return fail("line %d: a warp waits for lanes %08x, and not all of them come", fiber.line, fiber.mask);
        }
        gone += fiber.state == State::kDone;
        if (fiber.state != State::kAtBlock) continue;
        if (at && at->line != fiber.line) {
            return fail("threads of one block stand at different barriers, lines %d and %d", at->line, fiber.line);
        }
        at = &fiber;
    }
    if (at && gone) return fail("line %d: __syncthreads, but %u threads have returned without it", at->line, gone);
    for (Fiber& fiber : fibers_) {
        if (fiber.state == State::kAtBlock) fiber.state = State::kReady;
    }
}

inline bool Scheduler::run_block(unsigned threads, void (*body)(void*), void* argument) {
    body_ = body, argument_ = argument, threads_ = threads;
    fibers_.resize(threads);
    warps_.assign((threads + warpSize - 1) / warpSize, Warp{0, 0});
    if (threads % warpSize) warps_.back().done = ~0u << threads % warpSize;
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers_[i];
        fiber.state = State::kReady;
        fiber.index = uint3{i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        fiber.copies.clear();
        fiber.batches = 0;
        fiber.note.forget(stacks_.bottom(i));
        prepare(fiber.context, stacks_.bottom(i), &Scheduler::fiber_main);
    }
    const auto count = static_cast<unsigned>(warps_.size());
    for (bool busy = true; busy && fault_.empty();) {
        const Order order = order_of(count);
        for (unsigned i = 0; i < count; ++i) {
            const unsigned first = order[i] * warpSize;
            run_warp(order[i], threads - first < warpSize ? threads - first : warpSize);
        }
        if (fault_.empty()) release_block();
        busy = false;
        for (const Fiber& fiber : fibers_) busy |= fiber.state == State::kReady;
    }
    return fault_.empty();
}

}  // namespace eamfmeg_shim
