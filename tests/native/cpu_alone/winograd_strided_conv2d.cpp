// SPDX-License-Identifier: Apache-2.0
// There is no CUDA kernel. Both tables where the processor has AMX.
#include "../../../csrc/ops/winograd_strided_conv2d/winograd_strided_conv2d.h"

#include <string>

#include "winograd.h"

namespace fastgan::driver {
namespace {

void run(const WinogradSizes& s, const WinogradStridedConv2dKernels& kernels) {
  WinogradCase call(s, 2);
  call.convolve(false, false, kernels.plan_conv, kernels.conv);
  call.convolve(true, false, kernels.plan_transposed, kernels.transposed);
  call.weight(kernels.plan_weight, kernels.weight);
}

const bool kRegistered = add_cases("winograd_strided_conv2d", [](Adder add) {
  const WinogradSizes sizes[] = {{1, 1, 1, 3, 3, 0, 0},   {2, 3, 5, 10, 11, 0, 0},
                                 {3, 17, 33, 9, 7, 1, 1}, {1, 35, 66, 6, 5, 2, 0},
                                 {1, 8, 3, 41, 23, 0, 1}, {2, 65, 34, 5, 5, 1, 0}};
  auto add_amx = [&](const std::string& name, const WinogradSizes& s) {
    add("AMX " + name, [=] {
      const WinogradStridedConv2dKernels* amx = winograd_strided_conv2d_kernels().amx;
      if (amx != nullptr) run(s, *amx);  // null below AVX-512
    });
  };
  for (const WinogradSizes& s : sizes) {
    add(s.name(), [=] { run(s, winograd_strided_conv2d_kernels()); });
    if (!supports_amx()) continue;
    add_amx(s.name(), s);
    WinogradSizes four = s;
    four.side = 4;
    if (four.h + 2 * four.pad_y >= 4 && four.w + 2 * four.pad_x >= 4)
      add_amx("4x4 taps, " + four.name(), four);
  }
});

}  // namespace
}  // namespace fastgan::driver
