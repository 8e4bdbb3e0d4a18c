// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/anti_aliased_snake/anti_aliased_snake.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "driver.h"

namespace fastgan::driver {
namespace {

struct Shape {
  int64_t samples, channels, length, up, down, up_taps, down_taps, misaligned, filters_misaligned;
};

// A GPU of one multiprocessor, on which a warp makes several steps of a row that is not long.
class SmallGpu {
 public:
  SmallGpu() {
    if (const char* value = std::getenv(kName)) before_ = value;
    setenv(kName, "1", 1);
  }
  ~SmallGpu() { before_.empty() ? unsetenv(kName) : setenv(kName, before_.c_str(), 1); }

 private:
  static constexpr const char* kName = "FASTGAN_EMULATOR_MULTIPROCESSORS";
  std::string before_;
};

// A naive loop over one row: sizes are what the tolerance is measured in.
struct Row {
  std::vector<Exact> u;
  AntiAliasedSnakeParams p;

  int64_t size() const { return p.length * p.up_ratio; }
  static int64_t held(int64_t i, int64_t n) { return std::clamp<int64_t>(i, 0, n - 1); }

  Row(const AntiAliasedSnakeParams& params, const Floats& x, const Floats& f, int64_t row)
      : u(size_t(params.length * params.up_ratio)), p(params) {
    for (int64_t j = 0; j < size(); ++j)
      each_up(j, [&](int64_t k, int64_t i) {
        u[size_t(j)].add(double(p.up_ratio) * f[k] * x[row * p.length + i]);
      });
  }

  // f(k, i): tap k meets sample i of x to make u[j].
  template <class F>
  void each_up(int64_t j, F&& f) const {
    const int64_t top = j + p.up_lead;
    for (int64_t i = (top - p.up_taps) / p.up_ratio - 1; i <= top / p.up_ratio; ++i) {
      const int64_t k = top - p.up_ratio * i;
      if (k >= 0 && k < p.up_taps) f(k, held(i, p.length));
    }
  }
  // f(k, j): tap k meets up-sampled sample j to make y[t].
  template <class F>
  void each_down(int64_t t, F&& f) const {
    for (int64_t k = 0; k < p.down_taps; ++k)
      f(k, held(t * p.down_ratio + k - p.down_lead, size()));
  }
};

AntiAliasedSnakeParams params_of(DType dtype, const Shape& s) {
  AntiAliasedSnakeParams p{};
  p.rows = s.samples * s.channels;
  p.channels = s.channels;
  p.length = s.length;
  p.outputs = (s.length * s.up + s.down - 1) / s.down;
  p.up_ratio = s.up;
  p.down_ratio = s.down;
  p.up_taps = s.up_taps;
  p.down_taps = s.down_taps;
  p.up_lead = (s.up_taps - s.up) / 2;
  p.down_lead = s.down_taps / 2 - (s.down_taps % 2 == 0 ? 1 : 0);
  p.dtype = dtype;
  return p;
}

// A sine errs as its argument does, and the up-sampled signal is made anew in the backward pass.
void snakes(DType dtype, const Shape& s, bool has_dx, bool has_sums) {
  AntiAliasedSnakeParams p = params_of(dtype, s);
  const DType type = sum_type(dtype);
  const auto signal = [&](const char* name, int64_t n) {
    return Floats(name, dtype, n, s.misaligned);
  };
  Floats x = signal("x", p.rows * p.length), dy = signal("dy", p.rows * p.outputs);
  Floats y = signal("y", p.rows * p.outputs), dx = signal("dx", has_dx ? p.rows * p.length : 0);
  Floats alpha("alpha", type, p.channels), beta("beta", type, p.channels);
  Floats f("f", type, p.up_taps, s.filters_misaligned);
  Floats g("g", type, p.down_taps, s.filters_misaligned);
  Floats dalpha("dalpha", type, has_sums ? p.channels : 0);
  Floats dbeta("dbeta", type, has_sums ? p.channels : 0);
  x.fill(-2, 2);
  dy.fill(-2, 2);
  alpha.fill(0.5, 2);
  beta.fill(0.5, 2);
  f.fill(-1, 1);
  g.fill(-1, 1);
  p.x = x.data();
  p.alpha = alpha.data();
  p.beta = beta.data();
  p.up_filter = f.data();
  p.down_filter = g.data();
  AntiAliasedSnakeParams q = p;
  p.out = y.data();
  expect_ok(anti_aliased_snake_kernels().forward(p, exec()));
  q.dy = dy.data();
  q.out = dx.data();
  q.dalpha = dalpha.data();
  q.dbeta = dbeta.data();
  Floats scratch("scratch", type, anti_aliased_snake_kernels().scratch(q));
  q.scratch = scratch.data();
  expect_ok(anti_aliased_snake_kernels().backward(q, exec()));

  std::vector<Exact> want_y(size_t(p.rows * p.outputs)), want_dx(size_t(p.rows * p.length));
  std::vector<Exact> want_dalpha(size_t(p.channels)), want_dbeta(size_t(p.channels));
  for (int64_t row = 0; row < p.rows; ++row) {
    const size_t c = size_t(row % p.channels);
    const Row r(p, x, f, row);
    const double a = alpha[row % p.channels], h = 1 / (beta[row % p.channels] + kSnakeEps);
    std::vector<Exact> dv(size_t(r.size()));
    for (int64_t t = 0; t < p.outputs; ++t) {
      Exact& out = want_y[size_t(row * p.outputs + t)];
      r.each_down(t, [&](int64_t k, int64_t j) {
        const Exact& u = r.u[size_t(j)];
        const double sine = std::sin(a * u.value);
        out.value += g[k] * (u.value + h * sine * sine);
        out.scale += std::abs(g[k]) * (u.scale * (1 + 2 * a * h) + h * sine * sine);
        dv[size_t(j)].add(g[k] * dy[row * p.outputs + t]);
      });
    }
    for (int64_t j = 0; j < r.size(); ++j) {
      const Exact &u = r.u[size_t(j)], &v = dv[size_t(j)];
      const double sine = std::sin(a * u.value), twice = std::sin(2 * a * u.value);
      const double slope = 1 + a * h * twice, size = std::abs(v.value);
      want_dalpha[c].value += h * v.value * u.value * twice;
      want_dalpha[c].scale +=
          h * (v.scale * std::abs(u.value) + size * u.scale * (1 + 2 * a * std::abs(u.value)));
      want_dbeta[c].value -= h * h * v.value * sine * sine;
      want_dbeta[c].scale += h * h * (v.scale + size * (1 + 2 * a * u.scale));
      const double scale = v.scale * (1 + a * h) + size * 2 * a * a * h * u.scale;
      r.each_up(j, [&](int64_t k, int64_t i) {
        Exact& d = want_dx[size_t(row * p.length + i)];
        d.value += double(p.up_ratio) * f[k] * v.value * slope;
        d.scale += double(p.up_ratio) * std::abs(f[k]) * scale;
      });
    }
  }
  expect_close(y, want_y);
  if (has_dx) expect_close(dx, want_dx);
  if (!has_sums) return;
  expect_close(dalpha, want_dalpha);
  expect_close(dbeta, want_dbeta);
}

const bool kRegistered = add_cases("anti_aliased_snake", [](Adder add) {
  for (DType dtype : kDTypes) {
    for (const Shape& s : {Shape{1, 1, 1, 2, 2, 12, 12, 0},
                           {2, 3, 40, 2, 2, 12, 12, 0},
                           {1, 2, 63, 2, 2, 12, 12, 0},
                           {1, 2, 128, 2, 2, 12, 12, 1},
                           {1, 2, 544, 2, 2, 12, 12, 0, 1},
                           {1, 1, 2040, 2, 2, 12, 12, 0},
                           {1, 1, 2048, 2, 2, 12, 12, 0},
                           {2, 2, 21, 3, 2, 9, 7, 0},
                           {1, 2, 17, 2, 5, 6, 4, 0},
                           {1, 1, 5, 2, 2, 41, 64, 0},
                           {1, 1, 1500, 2, 2, 7, 9, 0}}) {
      const std::string name = name_of(dtype) + " " + std::to_string(s.samples) + "x" +
                               std::to_string(s.channels) + "x" + std::to_string(s.length) + "+" +
                               std::to_string(s.misaligned) + " by " + std::to_string(s.up) + ":" +
                               std::to_string(s.down) + " with " + std::to_string(s.up_taps) + "," +
                               std::to_string(s.down_taps);
      add(name, [=] { snakes(dtype, s, true, true); });
    }
    add(name_of(dtype) + " several steps", [=] {
      const SmallGpu gpu;
      snakes(dtype, {1, 8, 1044, 2, 2, 12, 12, 0}, true, true);
    });
    const Shape small{2, 2, 33, 2, 2, 12, 12, 0}, general{2, 2, 33, 4, 1, 8, 5, 0};
    for (const Shape& s : {small, general}) {
      const std::string name = name_of(dtype) + (s.down == 1 ? " general" : "");
      add(name + " dx alone", [=] { snakes(dtype, s, true, false); });
      add(name + " sums alone", [=] { snakes(dtype, s, false, true); });
    }
  }
});

}  // namespace
}  // namespace fastgan::driver
