// SPDX-License-Identifier: Apache-2.0
// A fiber: a stack and a place to go on from. The switches are told to the address and the thread
// sanitizer, to which each fiber is a thread of its own.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace fastgan::emulator {

class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  // Makes the next resume() call `entry`, which must end with leave(true).
  void prepare(void (*entry)());
  void resume();                         // from the scheduler, until the fiber leaves
  void leave(bool is_finished = false);  // from the fiber, back to the scheduler
  static void entered();                 // the first call of `entry`

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
  char* stack_ = nullptr;
  void* address_sanitizer_ = nullptr;
  void* thread_sanitizer_ = nullptr;
};

}  // namespace fastgan::emulator
