// SPDX-License-Identifier: Apache-2.0
// There is no CUDA kernel. Both tables where the processor has AMX.
#include "../../../csrc/ops/winograd_strided_conv2d/winograd_strided_conv2d.h"

#include <string>

#include "../driver.h"

namespace fastgan::driver {
namespace {

// What Winograd's transforms lose, in the limits of plain sums.
constexpr double kLimits = 16;

struct Sizes {
  int64_t n, c, k, h, w, pad_y, pad_x;
  int64_t side = 3;  // of the kernel

  int64_t taps() const { return side * side; }
  int64_t strided(int64_t size, int64_t pad) const { return (size + 2 * pad - side) / 2 + 1; }
};

struct Call {
  const Sizes s;
  const int64_t oh, ow;
  Floats x, w, dy, y, dx, dw;
  std::vector<Exact> want_y, want_dx, want_dw;

  explicit Call(const Sizes& sizes)
      : s(sizes),
        oh(s.strided(s.h, s.pad_y)),
        ow(s.strided(s.w, s.pad_x)),
        x("x", DType::kFloat32, s.n * s.h * s.w * s.c),
        w("w", DType::kFloat32, s.k * s.c * s.taps()),
        dy("dy", DType::kFloat32, s.n * oh * ow * s.k),
        y("y", DType::kFloat32, dy.size()),
        dx("dx", DType::kFloat32, x.size()),
        dw("dw", DType::kFloat32, w.size()),
        want_y(size_t(y.size())),
        want_dx(size_t(x.size())),
        want_dw(size_t(w.size())) {
    x.fill(-1, 1);
    w.fill(-1, 1);
    dy.fill(-1, 1);
    for (int64_t i = 0; i < s.n * oh * ow * s.taps(); ++i) {
      const int64_t tap = i % s.taps(), pixel = i / s.taps(), n = pixel / (oh * ow);
      const int64_t row = 2 * (pixel / ow % oh) + tap / s.side - s.pad_y;
      const int64_t column = 2 * (pixel % ow) + tap % s.side - s.pad_x;
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

  void convolve(bool is_adjoint, WinogradPlan (*plan)(const WinogradShape&, bool, int64_t),
                int (*run)(const WinogradConvParams&, const Exec&)) {
    WinogradConvParams p{};
    p.shape = is_adjoint ? WinogradShape{s.n, s.k, oh, ow, s.c, s.h, s.w, s.pad_y, s.pad_x, s.side}
                         : WinogradShape{s.n, s.c, s.h, s.w, s.k, oh, ow, s.pad_y, s.pad_x, s.side};
    p.plan = plan(p.shape, false, thread_count());
    Memory shared("shared", p.plan.shared * 4), edges("edges", p.plan.edges * 4);
    Memory scratch("scratch", p.plan.workers * p.plan.scratch * 4);
    p.x = (is_adjoint ? dy : x).data();
    p.y = (is_adjoint ? dx : y).data();
    p.weight = w.data();
    p.stride_k = is_adjoint ? s.taps() : s.taps() * s.c;
    p.stride_c = is_adjoint ? s.taps() * s.c : s.taps();
    p.stride_row = s.side;
    p.stride_col = 1;
    p.shared = shared.data();
    p.edges = edges.data();
    p.scratch = scratch.data();
    expect_ok(run(p, exec()));
  }

  void run(const WinogradStridedConv2dKernels& kernels) {
    convolve(false, kernels.plan_conv, kernels.conv);
    expect_close(y, want_y, kLimits);
    convolve(true, kernels.plan_transposed, kernels.transposed);
    expect_close(dx, want_dx, kLimits);
    WinogradWeightParams p{};
    p.shape = {s.n, s.c, s.h, s.w, s.k, oh, ow, s.pad_y, s.pad_x, s.side};
    p.plan = kernels.plan_weight(p.shape, false, thread_count());
    Memory shared("shared", p.plan.shared * 4);
    Memory scratch("scratch", p.plan.workers * p.plan.scratch * 4);
    p.x = x.data();
    p.dy = dy.data();
    p.dw = dw.data();
    p.stride_k = s.taps() * s.c;
    p.stride_c = s.taps();
    p.stride_row = s.side;
    p.stride_col = 1;
    p.shared = shared.data();
    p.scratch = scratch.data();
    expect_ok(kernels.weight(p, exec()));
    expect_close(dw, want_dw, kLimits);
  }
};

const bool kRegistered = add_cases("winograd_strided_conv2d", [](Adder add) {
  const Sizes sizes[] = {{1, 1, 1, 3, 3, 0, 0},   {2, 3, 5, 10, 11, 0, 0}, {3, 17, 33, 9, 7, 1, 1},
                         {1, 35, 66, 6, 5, 2, 0}, {1, 8, 3, 41, 23, 0, 1}, {2, 65, 34, 5, 5, 1, 0}};
  auto add_amx = [&](const std::string& name, const Sizes& s) {
    add("AMX " + name, [=] {
      const WinogradStridedConv2dKernels* amx = winograd_strided_conv2d_kernels().amx;
      if (amx != nullptr) Call(s).run(*amx);  // null below AVX-512
    });
  };
  for (const Sizes& s : sizes) {
    const std::string name = std::to_string(s.c) + " to " + std::to_string(s.k) + " channels";
    add(name, [=] { Call(s).run(winograd_strided_conv2d_kernels()); });
    if (!supports_amx()) continue;
    add_amx(name, s);
    Sizes four = s;
    four.side = 4;
    if (four.h + 2 * four.pad_y >= 4 && four.w + 2 * four.pad_x >= 4)
      add_amx("4x4 taps, " + name, four);
  }
});

}  // namespace
}  // namespace fastgan::driver
