// SPDX-License-Identifier: Apache-2.0
// Host side of winograd_strided_conv2d: the checks that guard memory. What both Winograd ops do is
// in common/winograd/binding.h.
#include "winograd_strided_conv2d.h"

#include "../../common/winograd/binding.h"

namespace fastgan {
namespace {

// Pixels of y for those of x, in one dimension; 0 where x is smaller than the kernel.
int64_t strided_size(int64_t size, int64_t pad, int64_t side) {
  return size + 2 * pad < side ? 0 : (size + 2 * pad - side) / 2 + 1;
}

// Kernels for side×side taps: of 4×4 ones there are those of AMX alone.
const WinogradStridedConv2dKernels& kernels_for(const char* op, const Tensor& x, int64_t side) {
  const WinogradStridedConv2dKernels& kernels = strided_kernels(winograd_is_double(op, x));
  STD_TORCH_CHECK(side == 3 || (side == 4 && kernels.amx == nullptr && uses_amx()), op,
                  ": takes 3×3 taps, and in float32 on a processor with AMX 4×4");
  return kernels;
}

Tensor conv(const Tensor& x, const Tensor& w, int64_t pad_y, int64_t pad_x) {
  const char* op = "winograd_strided_conv2d";
  Guard guard(x);
  check_winograd_pair(op, x, w, pad_y, pad_x);
  const int64_t side = w.size(2);
  const WinogradStridedConv2dKernels& kernels = kernels_for(op, x, side);
  return winograd_conv(op, x, w, {1, false}, strided_size(x.size(2), pad_y, side),
                       strided_size(x.size(3), pad_x, side), pad_y, pad_x, kernels.plan_conv,
                       kernels.conv, side);
}

Tensor transposed(const Tensor& dy, const Tensor& w, int64_t pad_y, int64_t pad_x, int64_t h,
                  int64_t width) {
  const char* op = "winograd_strided_conv2d_transposed";
  Guard guard(dy);
  check_winograd_pair(op, dy, w, pad_y, pad_x);
  const int64_t side = w.size(2);
  STD_TORCH_CHECK(h >= 0 && width >= 0 && dy.size(2) == strided_size(h, pad_y, side) &&
                      dy.size(3) == strided_size(width, pad_x, side),
                  op, ": dy does not match the size of x");
  const WinogradStridedConv2dKernels& kernels = kernels_for(op, dy, side);
  return winograd_conv(op, dy, w, {0, false}, h, width, pad_y, pad_x, kernels.plan_transposed,
                       kernels.transposed, side);
}

Tensor weight(const Tensor& x, const Tensor& dy, int64_t pad_y, int64_t pad_x, int64_t side) {
  const char* op = "winograd_strided_conv2d_weight";
  Guard guard(x);
  check_winograd_pair(op, x, dy, pad_y, pad_x);
  STD_TORCH_CHECK(x.size(0) == dy.size(0) && dy.size(2) == strided_size(x.size(2), pad_y, side) &&
                      dy.size(3) == strided_size(x.size(3), pad_x, side),
                  op, ": dy does not match x");
  const WinogradStridedConv2dKernels& kernels = kernels_for(op, x, side);
  return winograd_weight(op, x, dy, pad_y, pad_x, kernels.plan_weight, kernels.weight, side);
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("winograd_strided_conv2d", TORCH_BOX(&conv));
  m.impl("winograd_strided_conv2d_transposed", TORCH_BOX(&transposed));
  m.impl("winograd_strided_conv2d_weight", TORCH_BOX(&weight));
}

}  // namespace
}  // namespace fastgan
