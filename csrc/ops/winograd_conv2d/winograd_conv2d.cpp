// SPDX-License-Identifier: Apache-2.0
// Host side of winograd_conv2d: the checks that guard memory. What both Winograd ops do is in
// common/winograd/binding.h.
#include "winograd_conv2d.h"

#include "../../common/winograd/binding.h"

namespace fastgan {
namespace {

Tensor conv(const Tensor& x, const Tensor& w, int64_t pad_y, int64_t pad_x, bool transposed) {
  const char* op = "winograd_conv2d";
  Guard guard(x);
  check_winograd_pair(op, x, w, pad_y, pad_x);
  // The adjoint is the convolution with flipped taps and what the other padding leaves of 2.
  if (transposed) {
    pad_y = 2 - pad_y;
    pad_x = 2 - pad_x;
  }
  const int64_t oh = x.size(2) + 2 * pad_y - 2, ow = x.size(3) + 2 * pad_x - 2;
  STD_TORCH_CHECK(oh >= 0 && ow >= 0, op, ": x is smaller than the kernel");
  const WinogradConv2dKernels& kernels = winograd_conv2d_kernels();
  return winograd_conv(op, x, w, {transposed ? 0 : 1, transposed}, oh, ow, pad_y, pad_x,
                       kernels.plan_conv, kernels.conv);
}

Tensor weight(const Tensor& x, const Tensor& dy, int64_t pad_y, int64_t pad_x) {
  const char* op = "winograd_conv2d_weight";
  Guard guard(x);
  check_winograd_pair(op, x, dy, pad_y, pad_x);
  STD_TORCH_CHECK(x.size(0) == dy.size(0) && dy.size(2) == x.size(2) + 2 * pad_y - 2 &&
                      dy.size(3) == x.size(3) + 2 * pad_x - 2,
                  op, ": dy does not match x");
  const WinogradConv2dKernels& kernels = winograd_conv2d_kernels();
  return winograd_weight(op, x, dy, pad_y, pad_x, kernels.plan_weight, kernels.weight);
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("winograd_conv2d", TORCH_BOX(&conv));
  m.impl("winograd_conv2d_weight", TORCH_BOX(&weight));
}

}  // namespace
}  // namespace fastgan
