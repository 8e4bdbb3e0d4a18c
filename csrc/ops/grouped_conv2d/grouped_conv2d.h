// SPDX-License-Identifier: Apache-2.0
// grouped_conv2d: 3×3 convolution of stride 1 in groups of channels by Winograd's F(4×4, 3×3), on
// channels_last maps. What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

struct GroupedShape {
  int64_t n;
  int64_t c, h, w;       // maps that are read
  int64_t k, oh, ow;     // maps that are written, or the gradient of those
  int64_t groups;        // of c / groups channels read and k / groups written
  int64_t pad_y, pad_x;  // zeros before and after, 0 to 2
};

// Elements between the weights of two groups, outputs and inputs of one group, rows and columns.
struct GroupedStrides {
  int64_t group, k, c, row, col;
};

// How the work is cut; sizes are in elements of the dtype. For the convolution no result depends on
// it; for the weight gradient `parts`, which the shape alone decides, fixes the order of summation.
struct GroupedPlan {
  int64_t workers;  // each has `scratch` elements of its own
  int64_t scratch;  //
  int64_t shared;   // transformed weights, or partial weight gradients
  int64_t panels;   // vectors of output channels of one task
  int64_t parts;    // partial sums of the weight gradient
};

struct GroupedConvParams {
  void* x;                 // [n, h, w, c]
  const void* weight;      // of group 0, output 0, input 0, tap 0
  GroupedStrides strides;  // any, also negative: a flipped weight is not copied
  void* y;                 // [n, oh, ow, k]
  void* shared;
  void* scratch;
  GroupedShape shape;
  GroupedPlan plan;
  bool is_double;
};

struct GroupedWeightParams {
  void* x;   // [n, h, w, c]
  void* dy;  // [n, oh, ow, k]
  void* dw;  // [k, c / groups, 3, 3] by strides
  GroupedStrides strides;
  void* shared;
  void* scratch;
  GroupedShape shape;
  GroupedPlan plan;
  bool is_double;
};

struct GroupedConv2dKernels {
  GroupedPlan (*plan_conv)(const GroupedShape&, bool is_double, int64_t threads);
  GroupedPlan (*plan_weight)(const GroupedShape&, bool is_double, int64_t threads);
  int (*conv)(const GroupedConvParams&, const Exec&);
  int (*weight)(const GroupedWeightParams&, const Exec&);
};

FASTGAN_KERNELS(GroupedConv2dKernels, grouped_conv2d)

}  // namespace fastgan
