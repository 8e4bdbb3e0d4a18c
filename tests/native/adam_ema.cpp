// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/adam_ema/adam_ema.h"

#include <array>
#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

constexpr int64_t kStep = 4;  // so many steps before the one under test
constexpr double kBeta2 = 0.75, kEps = 1e-3, kDecay = 0.125, kScale = 0.5;

// The arrays of one call. `misaligned`: elements by which all of them start off a 16-byte boundary,
// or, if negative, by which the gradient alone does.
struct Call {
  Floats param, exp_avg, exp_avg_sq, ema, grad, lr, ema_weight;
  Memory step{"step", 8}, nonfinite{"nonfinite", 8};
  Memory scratch{"scratch", 8 * (kAdamScratch)};
  bool has_ema, has_beta2_tensor = false;
  double beta2 = kBeta2;

  Call(DType dtype, int64_t n, int64_t misaligned, bool is_with_ema)
      : Call(dtype, sum_type(dtype), n, misaligned > 0 ? misaligned : 0, std::abs(misaligned),
             is_with_ema) {}
  Call(DType dtype, DType wide, int64_t n, int64_t shift, int64_t grad_shift, bool is_with_ema)
      : param("param", wide, n, shift),
        exp_avg("exp_avg", wide, n, shift),
        exp_avg_sq("exp_avg_sq", wide, n, shift),
        ema("ema", wide, n, shift),
        grad("grad", dtype, n, grad_shift),
        lr("lr", wide, 1),
        ema_weight("ema_weight", wide, 1),
        has_ema(is_with_ema) {
    step.at<int64_t>(0) = kStep;
    nonfinite.at<int64_t>(0) = 10;
    lr.fill(0.01, 0.02);
    ema_weight.fill(0.1, 0.9);
  }

  void run(double beta1) {
    AdamEmaParams p{};
    p.param = param.data();
    p.grad = grad.data();
    p.exp_avg = exp_avg.data();
    p.exp_avg_sq = exp_avg_sq.data();
    p.ema = has_ema ? ema.data() : nullptr;
    p.step = &step.at<int64_t>(0);
    p.nonfinite = &nonfinite.at<int64_t>(0);
    p.lr = lr.data();
    p.ema_weight = has_ema ? ema_weight.data() : nullptr;
    p.scratch = &scratch.at<int64_t>(0);
    p.numel = grad.size();
    p.beta1 = beta1;
    p.beta2 = has_beta2_tensor ? 0.25 : kBeta2;
    p.beta2_tensor = has_beta2_tensor ? &beta2 : nullptr;
    p.eps = kEps;
    p.weight_decay = kDecay;
    p.grad_scale = kScale;
    p.dtype = grad.dtype();
    expect_ok(adam_ema_kernels().step(p, exec()));
  }

  void expect_counts(int64_t steps, int64_t elements) const {
    if (step.at<int64_t>(0) != steps) fail("step is " + std::to_string(step.at<int64_t>(0)));
    if (nonfinite.at<int64_t>(0) != elements)
      fail("nonfinite is " + std::to_string(nonfinite.at<int64_t>(0)));
  }
};

void updates(DType dtype, int64_t n, int64_t misaligned, double beta1, bool has_ema,
             bool has_beta2_tensor = false) {
  Call call(dtype, n, misaligned, has_ema);
  call.has_beta2_tensor = has_beta2_tensor;
  call.grad.fill(-2, 2);
  call.param.fill_in_place(-2, 2);
  call.exp_avg.fill_in_place(-1, 1);
  call.exp_avg_sq.fill_in_place(0.1, 1);
  call.ema.fill_in_place(-2, 2);
  if (!has_ema) call.ema.fill(-2, 2);
  std::vector<Exact> param(static_cast<size_t>(n)), exp_avg = param, exp_avg_sq = param,
                                                    ema = param;
  const double w = call.ema_weight[0];
  const double rate = call.lr[0] / (1 - std::pow(beta1, kStep + 1));
  const double correction = 1 - std::pow(kBeta2, kStep + 1);
  for (int64_t i = 0; i < n; ++i) {
    const size_t k = size_t(i);
    Exact g;
    g.add(kScale * call.grad[i]);
    g.add(kDecay * call.param[i]);
    exp_avg[k] = {beta1 * call.exp_avg[i] + (1 - beta1) * g.value,
                  beta1 * std::fabs(call.exp_avg[i]) + (1 - beta1) * g.scale};
    exp_avg_sq[k] = {kBeta2 * call.exp_avg_sq[i] + (1 - kBeta2) * g.value * g.value,
                     kBeta2 * call.exp_avg_sq[i] + (1 - kBeta2) * g.scale * g.scale};
    const double root = std::sqrt(exp_avg_sq[k].value / correction) + kEps;
    param[k] = {call.param[i] - rate * exp_avg[k].value / root,
                std::fabs(call.param[i]) + rate * exp_avg[k].scale / root *
                                               (1 + exp_avg_sq[k].scale / exp_avg_sq[k].value)};
    ema[k] = {call.ema[i] + w * (param[k].value - call.ema[i]),
              (1 - w) * std::fabs(call.ema[i]) + w * param[k].scale};
  }
  call.run(beta1);
  expect_close(call.param, param);
  expect_close(call.exp_avg, exp_avg);
  expect_close(call.exp_avg_sq, exp_avg_sq);
  if (has_ema) expect_close(call.ema, ema);
  call.expect_counts(kStep + 1, 10);
}

// Two bad elements, one of them at `where`: whatever fill() has frozen may not be written to.
void skips(DType dtype, int64_t n, int64_t misaligned, int64_t where, double bad) {
  Call call(dtype, n, misaligned, true);
  call.grad.fill(-2, 2);
  call.grad.set(where, bad);
  call.grad.set((where + n / 2) % n, bad);
  call.param.fill(-2, 2);
  call.exp_avg.fill(-1, 1);
  call.exp_avg_sq.fill(0.1, 1);
  call.ema.fill(-2, 2);
  call.run(0.5);
  call.expect_counts(kStep, 12);
}

const bool kRegistered = add_cases("adam_ema", [](Adder add) {
  for (DType dtype : kDTypes) {
    for (auto [n, misaligned] :
         {std::array<int64_t, 2>{0, 0}, {1, 0}, {7, 1}, {63, -1}, {2100, 0}, {1030, 1}}) {
      const std::string name =
          name_of(dtype) + " " + std::to_string(n) + "+" + std::to_string(misaligned);
      for (double beta1 : {0.0, 0.5})
        add("update " + name + (beta1 == 0 ? "" : " with memory"),
            [=] { updates(dtype, n, misaligned, beta1, true); });
      add("update " + name + " no average", [=] { updates(dtype, n, misaligned, 0.5, false); });
      add("update " + name + " beta2 on the device",
          [=] { updates(dtype, n, misaligned, 0, true, true); });
      if (n < 2) continue;
      add("skip NaN " + name, [=] { skips(dtype, n, misaligned, n - 1, NAN); });
      add("skip infinity " + name, [=] { skips(dtype, n, misaligned, 0, -HUGE_VAL); });
    }
  }
});

}  // namespace
}  // namespace fastgan::driver
