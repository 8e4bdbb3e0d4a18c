// SPDX-License-Identifier: Apache-2.0
// gradient_penalty: per-sample squared norms of gradients and the penalty on them, in two stages.
// What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// Elements of one sample that one partial sum covers: fixed by the shape alone, so that the
// result does not depend on the number of threads or blocks.
constexpr int64_t kPenaltyChunk = 8192;

inline int64_t penalty_chunks(int64_t inner) { return (inner + kPenaltyChunk - 1) / kPenaltyChunk; }

struct SquareParams {
  const void* g;  // [n, inner], dense
  void* partial;  // [n, columns] in the sum's type; this tensor fills columns from `column` on
  int64_t n, inner, columns, column;
  DType dtype;
};

struct PenaltyParams {
  const void* partial;  // [n, columns]
  void* penalty;        // [n]
  void* squared_norm;   // [n]
  int64_t n, columns;
  double target;
  bool is_one_sided;
  bool is_double;
};

struct ScaleParams {
  const void* c;  // [n] in the sum's type
  const void* g;  // [n, inner], dense
  void* out;      // [n, inner]: c[n] · g
  int64_t n, inner;
  DType dtype;
};

struct GradientPenaltyKernels {
  int (*square)(const SquareParams&, const Exec&);
  int (*penalty)(const PenaltyParams&, const Exec&);
  int (*scale)(const ScaleParams&, const Exec&);
};

FASTGAN_KERNELS(GradientPenaltyKernels, gradient_penalty)

}  // namespace fastgan
