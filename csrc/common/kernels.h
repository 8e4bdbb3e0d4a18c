// SPDX-License-Identifier: Apache-2.0
// One table of launchers per op and instruction set, and the choice between them.
//
// <op>_cpu.cpp is compiled once per instruction set, each time into its own namespace; <op>_cuda.cu
// defines the same table in namespace cuda, for a GPU and for the emulator alike.
// FASTGAN_KERNELS(Table, op), used once in <op>.h, declares them and defines
// `const Table& op##_kernels()`, which a binding calls.
#pragma once

#include "isa.h"

#if defined(FASTGAN_BACKEND_CUDA) || defined(FASTGAN_EMULATOR)
#define FASTGAN_KERNELS(Table, op) \
  namespace cuda {                 \
  extern const Table op;           \
  }                                \
  inline const Table& op##_kernels() { return cuda::op; }
#elif defined(FASTGAN_X86_ISAS)
#define FASTGAN_KERNELS(Table, op)          \
  namespace baseline {                      \
  extern const Table op;                    \
  }                                         \
  namespace avx2 {                          \
  extern const Table op;                    \
  }                                         \
  namespace avx512 {                        \
  extern const Table op;                    \
  }                                         \
  inline const Table& op##_kernels() {      \
    switch (active_isa()) {                 \
      case Isa::kAvx512: return avx512::op; \
      case Isa::kAvx2: return avx2::op;     \
      default: return baseline::op;         \
    }                                       \
  }
#else
#define FASTGAN_KERNELS(Table, op) \
  namespace baseline {             \
  extern const Table op;           \
  }                                \
  inline const Table& op##_kernels() { return baseline::op; }
#endif
