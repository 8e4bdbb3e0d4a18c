// SPDX-License-Identifier: Apache-2.0
// Host side of winograd_strided_conv2d: the checks that guard memory. What both Winograd ops do is
// in common/winograd/binding.h.
#include "winograd_strided_conv2d.h"

#include "../../common/winograd/binding.h"

namespace fastgan {
namespace {

// Pixels of y for those of x, in one dimension; 0 where x is smaller than the kernel.
int64_t strided_size(int64_t size, int64_t pad) {
  return size + 2 * pad < 3 ? 0 : (size + 2 * pad - 3) / 2 + 1;
}

Tensor conv(const Tensor& x, const Tensor& w, int64_t pad_y, int64_t pad_x) {
  const char* op = "winograd_strided_conv2d";
  Guard guard(x);
  check_winograd_pair(op, x, w, pad_y, pad_x);
  const WinogradStridedConv2dKernels& kernels = strided_kernels(winograd_is_double(op, x));
  return winograd_conv(op, x, w, {1, false}, strided_size(x.size(2), pad_y),
                       strided_size(x.size(3), pad_x), pad_y, pad_x, kernels.plan_conv,
                       kernels.conv);
}

Tensor transposed(const Tensor& dy, const Tensor& w, int64_t pad_y, int64_t pad_x, int64_t h,
                  int64_t width) {
  const char* op = "winograd_strided_conv2d_transposed";
  Guard guard(dy);
  check_winograd_pair(op, dy, w, pad_y, pad_x);
  STD_TORCH_CHECK(h >= 0 && width >= 0 && dy.size(2) == strided_size(h, pad_y) &&
                      dy.size(3) == strided_size(width, pad_x),
                  op, ": dy does not match the size of x");
  const WinogradStridedConv2dKernels& kernels = strided_kernels(winograd_is_double(op, dy));
  return winograd_conv(op, dy, w, {0, false}, h, width, pad_y, pad_x, kernels.plan_transposed,
                       kernels.transposed);
}

Tensor weight(const Tensor& x, const Tensor& dy, int64_t pad_y, int64_t pad_x) {
  const char* op = "winograd_strided_conv2d_weight";
  Guard guard(x);
  check_winograd_pair(op, x, dy, pad_y, pad_x);
  STD_TORCH_CHECK(x.size(0) == dy.size(0) && dy.size(2) == strided_size(x.size(2), pad_y) &&
                      dy.size(3) == strided_size(x.size(3), pad_x),
                  op, ": dy does not match x");
  const WinogradStridedConv2dKernels& kernels = strided_kernels(winograd_is_double(op, x));
  return winograd_weight(op, x, dy, pad_y, pad_x, kernels.plan_weight, kernels.weight);
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("winograd_strided_conv2d", TORCH_BOX(&conv));
  m.impl("winograd_strided_conv2d_transposed", TORCH_BOX(&transposed));
  m.impl("winograd_strided_conv2d_weight", TORCH_BOX(&weight));
}

}  // namespace
}  // namespace fastgan
