// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/bias_act/bias_act.h"

#include <array>
#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

constexpr double kAlpha = 0.25, kGain = 1.5, kClamp = 1.0;

struct Shape {
  int64_t outer, channels, inner, misaligned;

  int64_t numel() const { return outer * channels * inner; }
  int64_t channel(int64_t i) const { return i / inner % channels; }
  std::string name() const {
    return std::to_string(outer) + "x" + std::to_string(channels) + "x" + std::to_string(inner) +
           "+" + std::to_string(misaligned);
  }
};

double value(Activation act, double u) {
  switch (act) {
    case Activation::kLinear: return u;
    case Activation::kRelu: return u > 0 ? u : 0;
    case Activation::kLrelu: return u > 0 ? u : kAlpha * u;
    case Activation::kTanh: return std::tanh(u);
    case Activation::kSigmoid: return 1 / (1 + std::exp(-u));
    case Activation::kElu: return u > 0 ? u : std::expm1(u);
    case Activation::kSelu:
      return 1.0507009873554805 * (u > 0 ? u : 1.6732632423543772 * std::expm1(u));
    case Activation::kSoftplus: return std::log1p(std::exp(u));
    case Activation::kSwish: return u / (1 + std::exp(-u));
  }
  return NAN;
}

double slope(Activation act, double u) {
  const double s = 1 / (1 + std::exp(-u)), t = std::tanh(u);
  switch (act) {
    case Activation::kLinear: return 1;
    case Activation::kRelu: return u > 0;
    case Activation::kLrelu: return u > 0 ? 1 : kAlpha;
    case Activation::kTanh: return 1 - t * t;
    case Activation::kSigmoid: return s * (1 - s);
    case Activation::kElu: return u > 0 ? 1 : std::exp(u);
    case Activation::kSelu:
      return 1.0507009873554805 * (u > 0 ? 1 : 1.6732632423543772 * std::exp(u));
    case Activation::kSoftplus: return s;
    case Activation::kSwish: return s + u * s * (1 - s);
  }
  return NAN;
}

BiasActParams params(Activation act, DType dtype, const Shape& shape, double clamp) {
  BiasActParams p{};
  p.outer = shape.outer;
  p.channels = shape.channels;
  p.inner = shape.inner;
  p.act = act;
  p.alpha = act == Activation::kRelu ? 0 : act == Activation::kLinear ? 1 : kAlpha;
  p.gain = kGain;
  p.clamp = clamp;
  p.dtype = dtype;
  return p;
}

// Rounding u, and the functions themselves, cost a few units more than the result's own scale.
Exact near(double exact, double size) { return {exact, std::fabs(exact) + 2 * size}; }

void forward(Activation act, DType dtype, Shape shape, bool has_b) {
  Floats x("x", dtype, shape.numel(), shape.misaligned), y("y", dtype, shape.numel());
  Floats b("b", dtype, has_b ? shape.channels : 0);
  x.fill(-2, 2);
  if (has_b) b.fill(-1, 1);
  BiasActParams p = params(act, dtype, shape, kClamp);
  p.x = x.data();
  p.b = b.data();
  p.out = y.data();
  expect_ok(bias_act_kernels().forward(p, exec()));
  std::vector<Exact> want(size_t(shape.numel()));
  for (int64_t i = 0; i < shape.numel(); ++i) {
    const double add = has_b ? b[shape.channel(i)] : 0, v = kGain * value(act, x[i] + add);
    want[size_t(i)] =
        near(std::fmax(-kClamp, std::fmin(v, kClamp)), std::fabs(x[i]) + std::fabs(add));
  }
  expect_close(y, want);
}

// x as given, b 0: NaN stays, and so do infinities up to the clamp.
void forward_of_extremes(Activation act, DType dtype, double clamp) {
  const std::vector<double> given = {NAN, HUGE_VAL, -HUGE_VAL, 0, -0.5, 0.5, NAN, -4};
  const int64_t n = int64_t(given.size()) * 3;  // more than one vector, and a single one
  Floats x("x", dtype, n), y("y", dtype, n);
  for (int64_t i = 0; i < n; ++i) x.set(i, given[size_t(i) % given.size()]);
  BiasActParams p = params(act, dtype, {1, 1, n, 0}, clamp);
  p.x = x.data();
  p.out = y.data();
  expect_ok(bias_act_kernels().forward(p, exec()));
  std::vector<Exact> want(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const double v = kGain * (x[i] == -HUGE_VAL && act == Activation::kRelu ? 0 : value(act, x[i]));
    const bool is_bounded = std::fabs(v) > clamp;
    want[size_t(i)].add(std::isnan(x[i]) ? NAN : is_bounded ? std::copysign(clamp, v) : v);
  }
  expect_close(y, want);
}

// From y where act is piecewise linear, else from x and b. y is any array: only its sign and size
// count. No clamp where rounding could move an element across it.
void backward(Activation act, DType dtype, Shape shape, bool has_db) {
  const bool is_from_y = act <= Activation::kLrelu;
  Floats dy("dy", dtype, shape.numel()), dx("dx", dtype, shape.numel());
  Floats reference(is_from_y ? "y" : "x", dtype, shape.numel(), shape.misaligned);
  Floats b("b", dtype, is_from_y ? 0 : shape.channels),
      db("db", dtype, has_db ? shape.channels : 0);
  dy.fill(-2, 2);
  reference.fill(-1.5, 1.5);
  if (!is_from_y) b.fill(-1, 1);
  const double clamp = is_from_y ? kClamp : NAN;
  BiasActParams p = params(act, dtype, shape, clamp);
  (is_from_y ? p.y : p.x) = reference.data();
  p.b = b.data();
  p.dy = dy.data();
  p.out = dx.data();
  const int64_t slices = has_db ? bias_act_kernels().slices(p) : 0;
  Floats scratch("scratch", sum_type(dtype), slices * shape.channels);
  p.db = db.data();
  p.scratch = scratch.data();
  expect_ok(bias_act_kernels().backward(p, exec()));
  std::vector<Exact> want(size_t(shape.numel())), want_db(size_t(db.size()));
  for (int64_t i = 0; i < shape.numel(); ++i) {
    const int64_t c = shape.channel(i);
    const double u = reference[i] + (is_from_y ? 0 : b[c]);
    const double d = std::fabs(u) >= clamp ? 0 : dy[i] * kGain * slope(act, u);
    want[size_t(i)] = near(d, is_from_y ? 0 : std::fabs(dy[i]));
    if (has_db) {
      want_db[size_t(c)].value += d;
      want_db[size_t(c)].scale += want[size_t(i)].scale;
    }
  }
  expect_close(dx, want);
  expect_close(db, want_db, 2);  // up to some hundred terms one after another
}

const bool kRegistered = add_cases("bias_act", [](Adder add) {
  constexpr Shape kShapes[] = {{0, 3, 4, 0},    {2, 3, 7, 0},    {3, 70, 16, 0}, {3, 5, 24, 1},
                               {1, 1, 5000, 0}, {2, 2, 2056, 0}, {9, 40, 1, 0},  {300, 8, 1, 0},
                               {70, 24, 1, 1},  {33, 300, 1, 0}, {130, 7, 1, 0}};
  for (DType dtype : kDTypes) {
    for (Shape shape : kShapes) {
      const std::string name = name_of(dtype) + " " + shape.name();
      add("forward " + name, [=] { forward(Activation::kLrelu, dtype, shape, true); });
      for (bool has_db : {false, true}) {
        if (has_db && shape.numel() == 0) continue;  // the binding's to answer
        add("backward " + name + (has_db ? " with db" : ""),
            [=] { backward(Activation::kLrelu, dtype, shape, has_db); });
      }
    }
    add("forward without b " + name_of(dtype),
        [=] { forward(Activation::kRelu, dtype, {1, 1, 99, 0}, false); });
  }
  // Pieces of a plane, second blocks of outer items, and of rows of channels.
  for (DType dtype : kFloat32And16) {
    for (Shape shape : {Shape{1, 1, 18440, 0}, {11, 3, 16, 0}, {2100, 8, 1, 0}, {3, 2, 2080, 0}})
      for (Activation act : {Activation::kRelu, Activation::kLrelu})
        add("forward " + name_of(dtype) + " " + shape.name() + " activation " +
                std::to_string(int(act)),
            [=] { forward(act, dtype, shape, true); });
    for (Activation act : {Activation::kLinear, Activation::kRelu, Activation::kLrelu})
      for (double clamp : {double(NAN), kClamp})
        add("forward of extremes " + name_of(dtype) + " " + std::to_string(int(act)) +
                (clamp == kClamp ? " clamped" : ""),
            [=] { forward_of_extremes(act, dtype, clamp); });
  }
  for (int k = 0; k < 9; ++k)
    for (DType dtype : kFloat32And16)
      for (Shape shape : {Shape{2, 3, 40, 0}, Shape{20, 16, 1, 0}, Shape{2, 3, 5, 0}}) {
        const Activation act = Activation(k);
        const std::string name =
            "activation " + std::to_string(k) + " " + name_of(dtype) + " " + shape.name();
        add("forward " + name, [=] { forward(act, dtype, shape, true); });
        add("backward " + name, [=] { backward(act, dtype, shape, false); });
        add("backward " + name + " with db", [=] { backward(act, dtype, shape, true); });
      }
});

}  // namespace
}  // namespace fastgan::driver
