// SPDX-License-Identifier: Apache-2.0
// There is no CUDA kernel. The convolution, its adjoint by a flipped weight, and the weight's
// gradient, in both types.
#include "../../../csrc/ops/winograd_conv2d/winograd_conv2d.h"

#include <string>

#include "winograd.h"

namespace fastgan::driver {
namespace {

void run(const WinogradSizes& s, DType dtype) {
  const WinogradConv2dKernels& kernels = winograd_conv2d_kernels();
  WinogradCase call(s, 1, dtype);
  call.convolve(false, false, kernels.plan_conv, kernels.conv);
  call.convolve(true, true, kernels.plan_conv, kernels.conv);
  call.weight(kernels.plan_weight, kernels.weight);
}

const bool kRegistered = add_cases("winograd_conv2d", [](Adder add) {
  const WinogradSizes sizes[] = {{1, 1, 1, 3, 3, 0, 0},   {2, 3, 5, 6, 11, 1, 1},
                                 {3, 17, 33, 9, 7, 1, 0}, {1, 35, 66, 5, 5, 2, 1},
                                 {1, 8, 3, 23, 14, 0, 2}, {1, 65, 34, 4, 5, 1, 1}};
  for (DType dtype : {DType::kFloat32, DType::kFloat64})
    for (const WinogradSizes& s : sizes)
      add(name_of(dtype) + " " + s.name(), [=] { run(s, dtype); });
});

}  // namespace
}  // namespace fastgan::driver
