// SPDX-License-Identifier: Apache-2.0
// attention: o = softmax(scale · q kᵀ) v, its gradient and the gradient of that. What crosses from
// the binding to the kernels. Formulas and letters: fastgan/ops/attention/__init__.py.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// Arrays are dense; what is said to be in the compute type is float64 for float64, else float32.
struct AttentionShape {
  int64_t batch, queries, keys;
  int64_t channels, values;  // of q and k, and of v and o
  const void* mask;          // bytes, 0: this key does not count for this query; null: all count
  int64_t items_per_mask;    // so many adjacent items of the batch share a mask
  int64_t mask_item, mask_query, mask_key;  // steps in the mask; 0 along what shares one value
  double scale;
  DType dtype;
};

struct AttentionParams {
  AttentionShape shape;
  const void *q, *k, *v;
  void* o;    // [batch, queries, values]
  void* lse;  // [batch, queries], compute type; -∞ where no key counts
};

struct AttentionBackwardParams {
  AttentionShape shape;
  const void *grad_o, *q, *k, *v, *o, *lse;
  void *dq, *dk, *dv;
  void* delta;  // scratch, compute type [batch, queries]: grad_o · o
};

// The gradients, by grad_o, q, k and v, of <gq, dq> + <gk, dk> + <gv, dv>.
struct AttentionDoubleBackwardParams {
  AttentionShape shape;
  const void *gq, *gk, *gv;
  const void *grad_o, *q, *k, *v, *o, *lse;
  void *by_grad_o, *by_q, *by_k, *by_v;
  // Scratch in the compute type, [batch, queries] each: grad_o · o, and Σ p u.
  void *delta, *mean;
  // [parts, batch, queries]: grad_o · by_grad_o over some of the channels, whose sum is Σ p t.
  void* correction;
  int64_t parts;
};

struct AttentionKernels {
  // How many parts `correction` has.
  int64_t (*parts)(const AttentionShape&);
  int (*forward)(const AttentionParams&, const Exec&);
  int (*backward)(const AttentionBackwardParams&, const Exec&);
  int (*double_backward)(const AttentionDoubleBackwardParams&, const Exec&);
};

FASTGAN_KERNELS(AttentionKernels, attention)

}  // namespace fastgan
