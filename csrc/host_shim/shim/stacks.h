// Stacks for the fibers and the switch between them: a few instructions on x86-64, ucontext (a system call each) elsewhere.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__x86_64__) && !defined(EAMFMEG_SHIM_UCONTEXT)
#define EAMFMEG_SHIM_UCONTEXT
#endif
#ifdef EAMFMEG_SHIM_UCONTEXT
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace [[gnu::visibility("hidden")]] eamfmeg_shim {

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kStackBytes = 256 << 10;  // redzones make frames several times larger
#else
constexpr std::size_t kStackBytes = 64 << 10;
#endif
constexpr std::size_t kGuardBytes = 4096;

// Lives as long as the process: pages are given by the system only when a fiber first touches them.
class Stacks {
  public:
    // The lowest usable byte of stack `number`; below it lies a page that faults.
    char* bottom(unsigned number) {
        if (memory_ == nullptr) reserve();
        return memory_ + number * (kStackBytes + kGuardBytes) + kGuardBytes;
    }

  private:
    static constexpr unsigned kStacks = 1024;

    void reserve() {
        const std::size_t step = kStackBytes + kGuardBytes;
        void* memory =
            mmap(nullptr, kStacks * step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        memory_ = static_cast<char*>(memory);
        for (unsigned i = 0; i < kStacks; ++i) mprotect(memory_ + i * step, kGuardBytes, PROT_NONE);
    }

    char* memory_ = nullptr;
};

#ifdef EAMFMEG_SHIM_UCONTEXT
struct Context {
    ucontext_t registers;
};

inline void prepare(Context& context, char* bottom, void (*entry)()) {
    getcontext(&context.registers);
    context.registers.uc_stack.ss_sp = bottom;
    context.registers.uc_stack.ss_size = kStackBytes;
    context.registers.uc_link = nullptr;
    makecontext(&context.registers, entry, 0);
}

inline void change(Context& from, Context& to) {
    swapcontext(&from.registers, &to.registers);
}
#else
struct Context {
    void* top;
};

// Saves what a called function must keep, changes stacks, restores the same of the other. The rest the compiler has
// saved, because to it this is a call like any other.
__attribute__((naked, noinline, noclone)) inline void change_stack(void**, void*) {
    asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret");
}

inline void prepare(Context& context, char* bottom, void (*entry)()) {
    void** top = reinterpret_cast<void**>(bottom + kStackBytes) - 2;
    *--top = nullptr;  // where `entry` would return to; also makes its frame as aligned as a call does
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    context.top = top;
}

inline void change(Context& from, Context& to) {
    change_stack(&from.top, to.top);
}
#endif

// Tells AddressSanitizer which stack is in use; nothing without it.
struct StackNote {
    void* fake = nullptr;
    const void* bottom = nullptr;
    std::size_t size = 0;

    void forget([[maybe_unused]] char* at) {
#ifdef __SANITIZE_ADDRESS__
        __asan_unpoison_memory_region(at, kStackBytes);
#endif
        *this = StackNote{nullptr, at, kStackBytes};
    }
    void leave_for([[maybe_unused]] const StackNote& other, [[maybe_unused]] bool forever = false) {
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_start_switch_fiber(forever ? nullptr : &fake, other.bottom, other.size);
#endif
    }
    void arrived([[maybe_unused]] StackNote* from = nullptr) {
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_finish_switch_fiber(fake, from ? &from->bottom : nullptr, from ? &from->size : nullptr);
#endif
    }
};

}  // namespace eamfmeg_shim
