// SPDX-License-Identifier: Apache-2.0
// Whether AMX is used: tiles of bfloat16 beside AVX-512. Asked once and only ever lowered, as in
// isa.h; few ops have kernels for it, so it is no instruction set of its own there.
#pragma once

#include "../isa.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastgan {

// Linux wants to be asked for the registers, once in a process; it refuses where a signal stack is
// too small for them.
inline bool supports_amx() {
#if defined(__x86_64__) && defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned tiles = 1u << 24, bfloat16 = 1u << 22;  // CPUID 7.0, EDX
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tiles) == 0 || (d & bfloat16) == 0)
    return false;
  constexpr long ask_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, ask_permission, tile_data) == 0;
#else
  return false;
#endif
}

inline bool& amx_slot() {
  static bool is_used = supports_amx();
  return is_used;
}

inline bool uses_amx() { return active_isa() == Isa::kAvx512 && amx_slot(); }

// Never where it is not supported.
inline void limit_amx(bool is_wanted) {
  static const bool top = supports_amx();
  amx_slot() = is_wanted && top;
}

}  // namespace fastgan
