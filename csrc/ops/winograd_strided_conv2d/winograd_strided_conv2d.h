// SPDX-License-Identifier: Apache-2.0
// winograd_strided_conv2d: 3×3 convolution of stride 2 on channels_last maps, its adjoint and its
// weight gradient, with 81 products where the definition has 144; by direct sums on AMX.
#pragma once

#include "../../common/amx/support.h"
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
  const WinogradStridedConv2dKernels* amx;  // of float32, where this instruction set goes with AMX
};

FASTGAN_KERNELS(WinogradStridedConv2dKernels, winograd_strided_conv2d)

inline const WinogradStridedConv2dKernels& strided_kernels(bool is_double) {
  const WinogradStridedConv2dKernels& kernels = winograd_strided_conv2d_kernels();
  const bool has_amx = uses_amx() && !is_double && kernels.amx != nullptr;
  return has_amx ? *kernels.amx : kernels;
}

}  // namespace fastgan
