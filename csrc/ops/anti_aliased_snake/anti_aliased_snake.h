// SPDX-License-Identifier: Apache-2.0
// anti_aliased_snake: y = down(snake(up(x))) along time. What crosses from the binding to the
// kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// Rows are dense and of `dtype`: N samples of `channels` signals each. Everything smaller is of its
// compute type. With U = up_ratio, V = down_ratio, taps f and g:
//   u[j] = U · Σ_i f[j + up_lead - U·i] · x[i]       0 ≤ j < U·length
//   v[j] = u[j] + sin²(α·u[j]) / (β + kSnakeEps)
//   y[t] = Σ_k g[k] · v[V·t + k - down_lead]         0 ≤ t < outputs
// where an index beyond an end is that end.
struct AntiAliasedSnakeParams {
  const void* x;             // [rows, length]
  const void* dy;            // backward: [rows, outputs]
  const void *alpha, *beta;  // [channels]
  const void* up_filter;     // f [up_taps]
  const void* down_filter;   // g [down_taps]
  void* out;                 // forward: y [rows, outputs]. backward: dx [rows, length] or null
  void *dalpha, *dbeta;      // backward: [channels], or both null
  void* scratch;             // backward: anti_aliased_snake_kernels().scratch(p) elements
  int64_t rows, channels, length, outputs;
  int64_t up_ratio, down_ratio, up_taps, down_taps;
  int64_t up_lead, down_lead;  // (up_taps - U)/2; down_taps/2, less 1 where that is even
  DType dtype;
};

// What published layers add to β before they divide by it.
constexpr double kSnakeEps = 1e-9;

struct AntiAliasedSnakeKernels {
  int64_t (*scratch)(const AntiAliasedSnakeParams&);
  int (*forward)(const AntiAliasedSnakeParams&, const Exec&);
  int (*backward)(const AntiAliasedSnakeParams&, const Exec&);
};

FASTGAN_KERNELS(AntiAliasedSnakeKernels, anti_aliased_snake)

}  // namespace fastgan
