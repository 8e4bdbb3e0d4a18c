// SPDX-License-Identifier: Apache-2.0
// What the cases of both Winograd ops have in common: maps, the exact results, and three calls.
#pragma once

#include "../../../csrc/common/winograd/params.h"

#include <string>

#include "../driver.h"

namespace fastgan::driver {
namespace {

// What Winograd's transforms lose, in the limits of plain sums.
constexpr double kWinogradLimits = 16;

struct WinogradSizes {
  int64_t n, c, k, h, w, pad_y, pad_x;
  int64_t side = 3;  // of the kernel

  int64_t taps() const { return side * side; }
  std::string name() const { return std::to_string(c) + " to " + std::to_string(k) + " channels"; }
};

using WinogradPlanner = WinogradPlan (*)(const WinogradShape&, bool, int64_t);

struct WinogradCase {
  const WinogradSizes s;
  const bool is_double;
  const int64_t oh, ow, bytes;
  Floats x, w, dy, y, dx, dw;
  std::vector<Exact> want_y, want_dx, want_dw;

  WinogradCase(const WinogradSizes& sizes, int64_t stride, DType type = DType::kFloat32)
      : s(sizes),
        is_double(type == DType::kFloat64),
        oh((s.h + 2 * s.pad_y - s.side) / stride + 1),
        ow((s.w + 2 * s.pad_x - s.side) / stride + 1),
        bytes(is_double ? 8 : 4),
        x("x", type, s.n * s.h * s.w * s.c),
        w("w", type, s.k * s.c * s.taps()),
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
    for (int64_t i = 0; i < s.n * oh * ow * s.taps(); ++i) {
      const int64_t tap = i % s.taps(), pixel = i / s.taps(), n = pixel / (oh * ow);
      const int64_t row = stride * (pixel / ow % oh) + tap / s.side - s.pad_y;
      const int64_t column = stride * (pixel % ow) + tap % s.side - s.pad_x;
      if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
      for (int64_t k = 0; k < s.k; ++k)
        for (int64_t c = 0; c < s.c; ++c)
          add(((n * s.h + row) * s.w + column) * s.c + c, pixel * s.k + k,
              (k * s.c + c) * s.taps() + tap);
    }
  }

  void add(int64_t in, int64_t out, int64_t weight) {
    want_y[size_t(out)].add(x[in] * w[weight]);
    want_dx[size_t(in)].add(dy[out] * w[weight]);
    want_dw[size_t(weight)].add(dy[out] * x[in]);
  }

  // y, or with is_adjoint dx: by a kernel of its own, or by the convolution, which reads the taps
  // from the last one backwards and has what the other padding leaves (is_flipped).
  void convolve(bool is_adjoint, bool is_flipped, WinogradPlanner plan,
                int (*run)(const WinogradConvParams&, const Exec&)) {
    WinogradConvParams p{};
    p.shape = is_adjoint ? WinogradShape{s.n, s.k, oh, ow, s.c, s.h, s.w, s.pad_y, s.pad_x, s.side}
                         : WinogradShape{s.n, s.c, s.h, s.w, s.k, oh, ow, s.pad_y, s.pad_x, s.side};
    if (is_flipped) {
      p.shape.pad_y = s.side - 1 - s.pad_y;
      p.shape.pad_x = s.side - 1 - s.pad_x;
    }
    p.is_double = is_double;
    p.plan = plan(p.shape, is_double, thread_count());
    Memory shared("shared", p.plan.shared * bytes), edges("edges", p.plan.edges * bytes);
    Memory scratch("scratch", p.plan.workers * p.plan.scratch * bytes);
    p.x = (is_adjoint ? dy : x).data();
    p.y = (is_adjoint ? dx : y).data();
    p.weight = static_cast<const char*>(w.data()) + (is_flipped ? (s.taps() - 1) * bytes : 0);
    p.stride_k = is_adjoint ? s.taps() : s.taps() * s.c;
    p.stride_c = is_adjoint ? s.taps() * s.c : s.taps();
    p.stride_row = is_flipped ? -s.side : s.side;
    p.stride_col = is_flipped ? -1 : 1;
    p.shared = shared.data();
    p.edges = edges.data();
    p.scratch = scratch.data();
    expect_ok(run(p, exec()));
    is_adjoint ? expect_close(dx, want_dx, kWinogradLimits)
               : expect_close(y, want_y, kWinogradLimits);
  }

  void weight(WinogradPlanner plan, int (*run)(const WinogradWeightParams&, const Exec&)) {
    WinogradWeightParams p{};
    p.shape = {s.n, s.c, s.h, s.w, s.k, oh, ow, s.pad_y, s.pad_x, s.side};
    p.is_double = is_double;
    p.plan = plan(p.shape, is_double, thread_count());
    Memory shared("shared", p.plan.shared * bytes);
    Memory scratch("scratch", p.plan.workers * p.plan.scratch * bytes);
    p.x = x.data();
    p.dy = dy.data();
    p.dw = dw.data();
    p.stride_k = s.taps() * s.c;
    p.stride_c = s.taps();
    p.stride_row = s.side;
    p.stride_col = 1;
    p.shared = shared.data();
    p.scratch = scratch.data();
    expect_ok(run(p, exec()));
    expect_close(dw, want_dw, kWinogradLimits);
  }
};

}  // namespace
}  // namespace fastgan::driver
