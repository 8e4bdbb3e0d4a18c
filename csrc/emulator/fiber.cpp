// SPDX-License-Identifier: Apache-2.0
#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FASTGAN_ASAN(...) __VA_ARGS__
#else
#define FASTGAN_ASAN(...)
#endif

// Defined for a build under the thread sanitizer, in which the emulator itself is not instrumented:
// what it does between two fibers is no access of either.
#if defined(FASTGAN_EMULATOR_TSAN)
#include <sanitizer/tsan_interface.h>
#define FASTGAN_TSAN(...) __VA_ARGS__
#else
#define FASTGAN_TSAN(...)
#endif

namespace fastgan::emulator {
namespace {

constexpr size_t kStackBytes = 64 * 1024, kGuardBytes = 4096;

// Where the scheduler goes on when a fiber leaves.
struct Scheduler {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* address_sanitizer = nullptr;
  void* thread_sanitizer = nullptr;
  const void* stack = nullptr;
  size_t stack_bytes = 0;
} scheduler;

}  // namespace

#if defined(__x86_64__)

// Saves the registers that a call must keep, and takes over another stack with the same.
extern "C" void fastgan_switch_stack(void** save, void* load);
asm(R"(.text
.globl fastgan_switch_stack
.hidden fastgan_switch_stack
.type fastgan_switch_stack,@function
fastgan_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fastgan_switch_stack,.-fastgan_switch_stack
)");

#endif

Fiber::~Fiber() {
  if (stack_) munmap(stack_ - kGuardBytes, kStackBytes + kGuardBytes);
  FASTGAN_TSAN(if (thread_sanitizer_) __tsan_destroy_fiber(thread_sanitizer_));
}

void Fiber::prepare(void (*entry)()) {
  if (!stack_) {
    void* memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, kGuardBytes, PROT_NONE);
    stack_ = static_cast<char*>(memory) + kGuardBytes;
  }
  FASTGAN_ASAN(__asan_unpoison_memory_region(stack_, kStackBytes));
  FASTGAN_TSAN(if (!thread_sanitizer_) thread_sanitizer_ = __tsan_create_fiber(0));
#if defined(__x86_64__)
  // Six registers and a return address, with the stack as a call would leave it.
  auto* top = reinterpret_cast<uintptr_t*>(stack_ + kStackBytes) - 3;
  *top = 0;
  *--top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  stack_pointer_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#endif
}

void Fiber::resume() {
  FASTGAN_ASAN(__sanitizer_start_switch_fiber(&scheduler.address_sanitizer, stack_, kStackBytes));
  FASTGAN_TSAN(scheduler.thread_sanitizer = __tsan_get_current_fiber();
               __tsan_switch_to_fiber(thread_sanitizer_, __tsan_switch_to_fiber_no_sync));
#if defined(__x86_64__)
  fastgan_switch_stack(&scheduler.stack_pointer, stack_pointer_);
#else
  swapcontext(&scheduler.context, &context_);
#endif
  FASTGAN_ASAN(__sanitizer_finish_switch_fiber(scheduler.address_sanitizer, nullptr, nullptr));
}

void Fiber::leave(bool is_finished) {
  (void)is_finished;
  FASTGAN_ASAN(__sanitizer_start_switch_fiber(is_finished ? nullptr : &address_sanitizer_,
                                              scheduler.stack, scheduler.stack_bytes));
  FASTGAN_TSAN(__tsan_switch_to_fiber(scheduler.thread_sanitizer, __tsan_switch_to_fiber_no_sync));
#if defined(__x86_64__)
  fastgan_switch_stack(&stack_pointer_, scheduler.stack_pointer);
#else
  swapcontext(&context_, &scheduler.context);
#endif
  FASTGAN_ASAN(__sanitizer_finish_switch_fiber(address_sanitizer_, &scheduler.stack,
                                               &scheduler.stack_bytes));
}

void Fiber::entered() {
  FASTGAN_ASAN(__sanitizer_finish_switch_fiber(nullptr, &scheduler.stack, &scheduler.stack_bytes));
}

}  // namespace fastgan::emulator
