// SPDX-License-Identifier: Apache-2.0
// winograd_conv2d: 3×3 convolution of stride 1 by Winograd's F(4×4, 3×3) on channels_last maps.
#pragma once

#include "../../common/kernels.h"
#include "../../common/winograd/params.h"

namespace fastgan {

struct WinogradConv2dKernels {
  WinogradPlan (*plan_conv)(const WinogradShape&, bool is_double, int64_t threads);
  WinogradPlan (*plan_weight)(const WinogradShape&, bool is_double, int64_t threads);
  int (*conv)(const WinogradConvParams&, const Exec&);
  int (*weight)(const WinogradWeightParams&, const Exec&);
};

FASTGAN_KERNELS(WinogradConv2dKernels, winograd_conv2d)

}  // namespace fastgan
