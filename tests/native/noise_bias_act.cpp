// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/noise_bias_act/noise_bias_act.h"

#include <array>
#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

constexpr double kAlpha = 0.25, kGain = 1.5, kClamp = 1.0;

struct Shape {
  int64_t outer, channels, inner, misaligned;
  bool is_channels_last, is_noise_shared;

  int64_t numel() const { return outer * channels * inner; }
  int64_t n(int64_t i) const { return i / (channels * inner); }
  int64_t c(int64_t i) const { return is_channels_last ? i % channels : i / inner % channels; }
  int64_t s(int64_t i) const { return is_channels_last ? i / channels % inner : i % inner; }
  int64_t map(int64_t i) const { return n(i) * channels + c(i); }
  int64_t noise(int64_t i) const { return (is_noise_shared ? 0 : n(i) * inner) + s(i); }
  int64_t noise_numel() const { return (is_noise_shared ? 1 : outer) * inner; }
  std::string name() const {
    return std::to_string(outer) + "x" + std::to_string(channels) + "x" + std::to_string(inner) +
           "+" + std::to_string(misaligned) + (is_channels_last ? " last" : "") +
           (is_noise_shared ? " shared" : "");
  }
};

NoiseBiasActParams params(DType dtype, const Shape& shape, double clamp) {
  NoiseBiasActParams p{};
  p.outer = shape.outer;
  p.channels = shape.channels;
  p.inner = shape.inner;
  p.is_channels_last = shape.is_channels_last;
  p.is_noise_shared = shape.is_noise_shared;
  p.alpha = kAlpha;
  p.gain = kGain;
  p.clamp = clamp;
  p.dtype = dtype;
  return p;
}

// What all cases of one shape share; absent ones are empty.
struct Inputs {
  Floats scale, noise, strength, b;

  Inputs(DType dtype, const Shape& shape, bool is_given)
      : scale("scale", sum_type(dtype), is_given ? shape.outer * shape.channels : 0),
        noise("noise", dtype, is_given ? shape.noise_numel() : 0),
        strength("strength", sum_type(dtype), is_given ? 1 : 0),
        b("b", sum_type(dtype), is_given ? shape.channels : 0) {
    for (Floats* t : {&scale, &noise, &strength, &b}) t->fill(-2, 2);
  }
};

void forward(DType dtype, Shape shape, bool is_given) {
  Inputs in(dtype, shape, is_given);
  Floats x("x", dtype, shape.numel(), shape.misaligned), y("y", dtype, shape.numel());
  x.fill(-2, 2);
  NoiseBiasActParams p = params(dtype, shape, 4 * kClamp);
  p.x = x.data();
  p.scale = in.scale.data();
  p.noise = in.noise.data();
  p.strength = in.strength.data();
  p.b = in.b.data();
  p.out = y.data();
  expect_ok(noise_bias_act_kernels().forward(p, exec()));
  std::vector<Exact> want(size_t(shape.numel()));
  for (int64_t i = 0; i < shape.numel(); ++i) {
    Exact u;
    u.add(is_given ? in.scale[shape.map(i)] * x[i] : x[i]);
    if (is_given) u.add(in.strength[0] * in.noise[shape.noise(i)]);
    if (is_given) u.add(in.b[shape.c(i)]);
    const double slope = kGain * (u.value > 0 ? 1 : kAlpha);
    want[size_t(i)] = {std::fmax(-4 * kClamp, std::fmin(slope * u.value, 4 * kClamp)),
                       kGain * u.scale};
  }
  expect_close(y, want);
}

// `sums`: whether dscale, dstrength and db are wanted. y is any array: only its sign and size
// count.
void backward(DType dtype, Shape shape, bool is_given, std::array<bool, 3> sums, bool has_y) {
  Inputs in(dtype, shape, is_given || sums[1]);
  const DType sum = sum_type(dtype);
  Floats dy("dy", dtype, shape.numel()), dx("dx", dtype, shape.numel());
  Floats y("y", dtype, has_y ? shape.numel() : 0, shape.misaligned);
  Floats x("x", dtype, sums[0] ? shape.numel() : 0);
  dy.fill(-2, 2);
  y.fill(-1.5, 1.5);
  x.fill(-2, 2);
  Floats dscale("dscale", sum, sums[0] ? shape.outer * shape.channels : 0);
  Floats dstrength("dstrength", sum, sums[1] ? 1 : 0);
  Floats db("db", sum, sums[2] ? shape.channels : 0);
  NoiseBiasActParams p = params(dtype, shape, has_y ? kClamp : NAN);
  if (!has_y) p.alpha = 1;
  p.dy = dy.data();
  p.y = y.data();
  p.x = x.data();
  p.scale = is_given ? in.scale.data() : nullptr;
  p.noise = sums[1] ? in.noise.data() : nullptr;
  p.out = dx.data();
  p.dscale = dscale.data();
  p.dstrength = dstrength.data();
  p.db = db.data();
  Floats scratch("scratch", sum, noise_bias_act_kernels().scratch(p));
  p.scratch = scratch.data();
  expect_ok(noise_bias_act_kernels().backward(p, exec()));
  std::vector<Exact> want(size_t(shape.numel())), want_dscale(size_t(dscale.size()));
  std::vector<Exact> want_dstrength(size_t(dstrength.size())), want_db(size_t(db.size()));
  for (int64_t i = 0; i < shape.numel(); ++i) {
    const bool is_out = has_y && std::fabs(y[i]) >= kClamp;
    const double slope = has_y && y[i] <= 0 ? kGain * kAlpha : kGain;
    const double du = is_out ? 0 : dy[i] * slope;
    want[size_t(i)].add(is_given ? in.scale[shape.map(i)] * du : du);
    if (sums[0]) want_dscale[size_t(shape.map(i))].add(du * x[i]);
    if (sums[1]) want_dstrength[0].add(du * in.noise[shape.noise(i)]);
    if (sums[2]) want_db[size_t(shape.c(i))].add(du);
  }
  expect_close(dx, want);
  expect_close(dscale, want_dscale, 2);  // long sums
  expect_close(dstrength, want_dstrength, 2);
  expect_close(db, want_db, 2);
}

const bool kRegistered = add_cases("noise_bias_act", [](Adder add) {
  constexpr Shape kShapes[] = {
      {0, 3, 4, 0, false, false},  {2, 3, 7, 0, false, false},    {3, 70, 16, 0, false, true},
      {2, 5, 24, 1, false, false}, {1, 2, 2056, 0, false, false}, {2, 3, 600, 0, false, true},
      {2, 40, 9, 0, true, false},  {1, 8, 700, 0, true, true},    {3, 24, 10, 1, true, false},
      {2, 300, 7, 0, true, false}, {5, 7, 13, 0, true, true},     {9, 16, 1, 0, true, false}};
  for (DType dtype : kDTypes)
    for (Shape shape : kShapes) {
      const std::string name = name_of(dtype) + " " + shape.name();
      add("forward " + name, [=] { forward(dtype, shape, true); });
      add("backward " + name, [=] {
        const bool has_sums = shape.numel() != 0;  // of nothing they are the binding's to make
        backward(dtype, shape, true, {has_sums, has_sums, has_sums}, true);
      });
    }
  for (DType dtype : kFloat32And16)  // pieces of a plane, and second blocks of rows of channels
    for (Shape shape : {Shape{1, 1, 18440, 0, false, true},
                        {3, 2, 2080, 0, false, false},
                        {1, 8, 2100, 0, true, true},
                        {3, 24, 90, 0, true, false}})
      add("forward " + name_of(dtype) + " " + shape.name(), [=] { forward(dtype, shape, true); });
  for (DType dtype : kFloat32And16)
    for (Shape shape : {kShapes[1], kShapes[2], kShapes[6], kShapes[10]}) {
      const std::string name = name_of(dtype) + " " + shape.name();
      add("forward of x alone " + name, [=] { forward(dtype, shape, false); });
      for (int wanted = 0; wanted < 8; ++wanted)
        add("backward of sums " + std::to_string(wanted) + " " + name, [=] {
          backward(dtype, shape, false, {(wanted & 1) != 0, (wanted & 2) != 0, (wanted & 4) != 0},
                   (wanted & 1) != 0);
        });
    }
});

}  // namespace
}  // namespace fastgan::driver
