// SPDX-License-Identifier: Apache-2.0
// There is no CUDA kernel. The convolution, its adjoint by a flipped weight, and the weight's
// gradient, in both types.
#include "../../../csrc/ops/winograd_conv2d/winograd_conv2d.h"

#include <string>

#include "../driver.h"

namespace fastgan::driver {
namespace {

// What Winograd's transforms lose, in the limits of plain sums.
constexpr double kLimits = 16;

struct Sizes {
  int64_t n, c, k, h, w, pad_y, pad_x;
};

struct Call {
  const Sizes s;
  const DType dtype;
  const bool is_double;
  const int64_t oh, ow, bytes;
  Floats x, w, dy, y, dx, dw;
  std::vector<Exact> want_y, want_dx, want_dw;

  Call(const Sizes& sizes, DType type)
      : s(sizes),
        dtype(type),
        is_double(type == DType::kFloat64),
        oh(s.h + 2 * s.pad_y - 2),
        ow(s.w + 2 * s.pad_x - 2),
        bytes(is_double ? 8 : 4),
        x("x", type, s.n * s.h * s.w * s.c),
        w("w", type, s.k * s.c * 9),
        dy("dy", type, s.n * oh * ow * s.k),
        y("y", type, dy.size()),
        dx("dx", type, x.size()),
        dw("dw", type, w.size()),
        want_y(size_t(y.size())),
        want_dx(size_t(x.size())),
        want_dw(size_t(w.size())) {
    x.fill(-1, 1);
    w.fill(-1, 1);
    dy.fill(-1, 1);
    for (int64_t i = 0; i < s.n * oh * ow * 9; ++i) {
      const int64_t tap = i % 9, pixel = i / 9, n = pixel / (oh * ow);
      const int64_t row = pixel / ow % oh + tap / 3 - s.pad_y;
      const int64_t column = pixel % ow + tap % 3 - s.pad_x;
      if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
      for (int64_t k = 0; k < s.k; ++k)
        for (int64_t c = 0; c < s.c; ++c)
          add(((n * s.h + row) * s.w + column) * s.c + c, pixel * s.k + k, (k * s.c + c) * 9 + tap);
    }
  }

  void add(int64_t in, int64_t out, int64_t weight) {
    want_y[size_t(out)].add(x[in] * w[weight]);
    want_dx[size_t(in)].add(dy[out] * w[weight]);
    want_dw[size_t(weight)].add(dy[out] * x[in]);
  }

  void convolve(bool is_adjoint) {
    const WinogradConv2dKernels& kernels = winograd_conv2d_kernels();
    WinogradConvParams p{};
    p.shape = is_adjoint ? WinogradShape{s.n, s.k, oh, ow, s.c, s.h, s.w, 2 - s.pad_y, 2 - s.pad_x}
                         : WinogradShape{s.n, s.c, s.h, s.w, s.k, oh, ow, s.pad_y, s.pad_x};
    p.is_double = is_double;
    p.plan = kernels.plan_conv(p.shape, is_double, thread_count());
    Memory shared("shared", p.plan.shared * bytes), edges("edges", p.plan.edges * bytes);
    Memory scratch("scratch", p.plan.workers * p.plan.scratch * bytes);
    p.x = (is_adjoint ? dy : x).data();
    p.y = (is_adjoint ? dx : y).data();
    // The adjoint reads the taps from the last one backwards.
    p.weight = static_cast<const char*>(w.data()) + (is_adjoint ? 8 * bytes : 0);
    p.stride_k = is_adjoint ? 9 : 9 * s.c;
    p.stride_c = is_adjoint ? 9 * s.c : 9;
    p.stride_row = is_adjoint ? -3 : 3;
    p.stride_col = is_adjoint ? -1 : 1;
    p.shared = shared.data();
    p.edges = edges.data();
    p.scratch = scratch.data();
    expect_ok(kernels.conv(p, exec()));
  }

  void run() {
    convolve(false);
    expect_close(y, want_y, kLimits);
    convolve(true);
    expect_close(dx, want_dx, kLimits);
    const WinogradConv2dKernels& kernels = winograd_conv2d_kernels();
    WinogradWeightParams p{};
    p.shape = {s.n, s.c, s.h, s.w, s.k, oh, ow, s.pad_y, s.pad_x};
    p.is_double = is_double;
    p.plan = kernels.plan_weight(p.shape, is_double, thread_count());
    Memory shared("shared", p.plan.shared * bytes);
    Memory scratch("scratch", p.plan.workers * p.plan.scratch * bytes);
    p.x = x.data();
    p.dy = dy.data();
    p.dw = dw.data();
    p.stride_k = 9 * s.c;
    p.stride_c = 9;
    p.stride_row = 3;
    p.stride_col = 1;
    p.shared = shared.data();
    p.scratch = scratch.data();
    expect_ok(kernels.weight(p, exec()));
    expect_close(dw, want_dw, kLimits);
  }
};

const bool kRegistered = add_cases("winograd_conv2d", [](Adder add) {
  const Sizes sizes[] = {{1, 1, 1, 3, 3, 0, 0},   {2, 3, 5, 6, 11, 1, 1},  {3, 17, 33, 9, 7, 1, 0},
                         {1, 35, 66, 5, 5, 2, 1}, {1, 8, 3, 23, 14, 0, 2}, {1, 65, 34, 4, 5, 1, 1}};
  for (DType dtype : {DType::kFloat32, DType::kFloat64})
    for (const Sizes& s : sizes)
      add(name_of(dtype) + " " + std::to_string(s.c) + " to " + std::to_string(s.k) + " channels",
          [=] { Call(s, dtype).run(); });
});

}  // namespace
}  // namespace fastgan::driver
