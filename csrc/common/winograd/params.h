// SPDX-License-Identifier: Apache-2.0
// What crosses from the bindings of winograd_conv2d and winograd_strided_conv2d to the kernels.
#pragma once

#include <cstdint>

#include "../exec.h"

namespace fastgan {

struct WinogradShape {
  int64_t n;
  int64_t c, h, w;       // maps that are read
  int64_t k, oh, ow;     // maps that are written, or the gradient of those
  int64_t pad_y, pad_x;  // zeros before and after the larger of the two maps, 0 to 2
  int64_t side = 3;      // of the kernel
};

// How the work is cut; sizes are in elements of the dtype. For the convolution no result depends on
// it; for the weight gradient `parts`, which the shape alone decides, fixes the order of summation.
struct WinogradPlan {
  int64_t workers;           // each has `scratch` elements of its own
  int64_t scratch;           //
  int64_t shared;            // transformed weights, or partial weight gradients
  int64_t edges;             // what tiles add to the pixels of their neighbours
  int64_t tiles;             // most of one block
  int64_t blocks;            // of tiles: strips in all (convolution), of one part (weight gradient)
  int64_t parts;             // partial sums of the weight gradient
  int64_t block_c, block_k;  // channels of one task of the weight gradient; block_k also: output
                             // channels whose transformed weights exist at a time (convolution)
};

struct WinogradConvParams {
  const void* x;                   // [n, h, w, c]
  const void* weight;              // of output channel 0, input channel 0, tap 0, in elements:
  int64_t stride_k, stride_c;      // any strides, also negative: a flipped weight is not copied
  int64_t stride_row, stride_col;  //
  void* y;                         // [n, oh, ow, k]
  void* shared;
  void* edges;
  void* scratch;
  WinogradShape shape;
  WinogradPlan plan;
  bool is_double;
};

struct WinogradWeightParams {
  const void* x;   // [n, h, w, c]
  const void* dy;  // [n, oh, ow, k]
  void* dw;        // [k, c, side, side] by strides
  int64_t stride_k, stride_c, stride_row, stride_col;
  void* shared;
  void* scratch;
  WinogradShape shape;
  WinogradPlan plan;
  bool is_double;
};

}  // namespace fastgan
