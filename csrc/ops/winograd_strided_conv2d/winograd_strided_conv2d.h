// SPDX-License-Identifier: Apache-2.0
// winograd_strided_conv2d: 3×3 convolution of stride 2 on channels_last maps, its adjoint and its
// weight gradient, with 81 products where the definition has 144.
#pragma once

#include "../../common/kernels.h"
#include "../../common/winograd/params.h"

namespace fastgan {

struct WinogradStridedConv2dKernels {
  WinogradPlan (*plan_conv)(const WinogradShape&, bool is_double, int64_t threads);
  WinogradPlan (*plan_transposed)(const WinogradShape&, bool is_double, int64_t threads);
  WinogradPlan (*plan_weight)(const WinogradShape&, bool is_double, int64_t threads);
  int (*conv)(const WinogradConvParams&, const Exec&);
  int (*transposed)(const WinogradConvParams&, const Exec&);
  int (*weight)(const WinogradWeightParams&, const Exec&);
};

FASTGAN_KERNELS(WinogradStridedConv2dKernels, winograd_strided_conv2d)

}  // namespace fastgan
