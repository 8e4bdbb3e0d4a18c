// SPDX-License-Identifier: Apache-2.0
// The CPU instruction set that kernels are chosen for, asked once and only ever lowered.
#pragma once

namespace fastgan {

enum class Isa : int { kBaseline, kAvx2, kAvx512 };

inline Isa supported_isa() {
#if defined(FASTGAN_X86_ISAS)
  __builtin_cpu_init();
  // Exactly what _build.py compiles each set for: a virtual machine may mask any of them.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::kBaseline;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return Isa::kAvx512;
  return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}

inline Isa& isa_slot() {
  static Isa isa = supported_isa();
  return isa;
}

inline Isa active_isa() { return isa_slot(); }

// Never above what the processor supports.
inline void limit_isa(Isa isa) {
  const Isa top = supported_isa();
  isa_slot() = isa < top ? isa : top;
}

}  // namespace fastgan
