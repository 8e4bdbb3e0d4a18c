// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/minibatch_stddev/minibatch_stddev.h"

#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

constexpr double kEps = 0.01;

struct Shape {
  int64_t group, groups, runs, width, pixels, misaligned;  // width channels in each run
};

// x is [group, groups, channels, pixels], or [group, groups, pixels, channels].
struct Layout {
  Shape shape;
  bool is_channels_last;

  int64_t channels() const { return shape.runs * shape.width; }
  int64_t elements() const { return channels() * shape.pixels; }
  int64_t samples() const { return shape.group * shape.groups; }
  int64_t run_of(int64_t element) const {
    const int64_t c = is_channels_last ? element % channels() : element / shape.pixels;
    return c / shape.width;
  }
  MinibatchStddevParams params(DType dtype) const {
    MinibatchStddevParams p{};
    const bool is_strided = is_channels_last && shape.runs > 1;
    p.group = shape.group;
    p.groups = shape.groups;
    p.runs = shape.runs;
    p.elements = elements();
    p.rows = is_strided ? shape.pixels : 1;
    p.width = is_strided ? shape.width : elements() / shape.runs;
    p.row_stride = is_strided ? channels() : elements();
    p.slices = minibatch_stddev_kernels().slices(p.rows * p.width);
    p.eps = kEps;
    p.dtype = dtype;
    return p;
  }
};

// Mean, mean magnitude and deviation of one place of group m.
struct Moments {
  double mean = 0, magnitude = 0, sigma = 0;

  Moments(const Layout& at, const Floats& x, int64_t m, int64_t element) {
    const int64_t stride = at.shape.groups * at.elements(), first = m * at.elements() + element;
    for (int64_t g = 0; g < at.shape.group; ++g) {
      mean += x[first + g * stride] / at.shape.group;
      magnitude += std::fabs(x[first + g * stride]) / at.shape.group;
    }
    for (int64_t g = 0; g < at.shape.group; ++g) {
      const double c = x[first + g * stride] - mean;
      sigma += c * c / at.shape.group;
    }
    sigma = std::sqrt(sigma + kEps);
  }
};

void deviations(DType dtype, const Layout& at) {
  const Shape& shape = at.shape;
  MinibatchStddevParams p = at.params(dtype);
  Floats x("x", dtype, at.samples() * at.elements(), shape.misaligned);
  Floats y("y", dtype, at.samples() * shape.runs);
  Floats scratch("scratch", sum_type(dtype),
                 p.slices > 1 ? p.slices * shape.groups * shape.runs : 0);
  x.fill(-2, 2);
  p.x = x.data();
  p.out = y.data();
  p.scratch = scratch.data();
  expect_ok(minibatch_stddev_kernels().forward(p, exec()));
  std::vector<Exact> want(static_cast<size_t>(at.samples() * shape.runs));
  for (int64_t n = 0; n < at.samples(); ++n)
    for (int64_t e = 0; e < at.elements(); ++e)
      want[size_t(n * shape.runs + at.run_of(e))].add(Moments(at, x, n % shape.groups, e).sigma *
                                                      shape.runs / at.elements());
  expect_close(y, want, at.elements() > 512 ? 8 : 1);  // thousands of terms, here one by one
}

void gradients(DType dtype, const Layout& at) {
  const Shape& shape = at.shape;
  MinibatchStddevParams p = at.params(dtype);
  const int64_t numel = at.samples() * at.elements();
  Floats x("x", dtype, numel, shape.misaligned), dx("dx", dtype, numel, shape.misaligned);
  Floats dy("dy", dtype, at.samples() * shape.runs);
  x.fill(-2, 2);
  dy.fill(0, 2);
  p.x = x.data();
  p.dy = dy.data();
  p.out = dx.data();
  expect_ok(minibatch_stddev_kernels().backward(p, exec()));
  std::vector<Exact> want(static_cast<size_t>(numel));
  const double share = double(shape.runs) / (shape.group * at.elements());
  for (int64_t i = 0; i < numel; ++i) {
    const int64_t m = i / at.elements() % shape.groups, e = i % at.elements();
    double h = 0;
    for (int64_t g = 0; g < shape.group; ++g)
      h += dy[(g * shape.groups + m) * shape.runs + at.run_of(e)] * share;
    const Moments moments(at, x, m, e);
    // The difference is as exact as what it is made of.
    const double slope = h / moments.sigma;
    want[size_t(i)] = {slope * (x[i] - moments.mean),
                       slope * (std::fabs(x[i]) + moments.magnitude)};
  }
  expect_close(dx, want, 2);
}

const bool kRegistered = add_cases("minibatch_stddev", [](Adder add) {
  for (DType dtype : kDTypes) {
    for (bool is_channels_last : {false, true}) {
      for (const Shape& shape : {Shape{1, 0, 1, 3, 2, 0},
                                 {1, 3, 2, 2, 3, 0},
                                 {4, 1, 1, 1, 1, 0},
                                 {4, 2, 1, 8, 4, 0},
                                 {3, 2, 2, 8, 3, 0},
                                 {2, 3, 2, 3, 5, 0},
                                 {5, 1, 1, 7, 9, 0},
                                 {4, 1, 2, 16, 8, 1},
                                 {4, 2, 1, 16, 8, 0},
                                 {4, 1, 1, 16, 137, 0},
                                 {2, 1, 1, 16, 520, 0},
                                 {2, 1, 1, 3, 2739, 0}}) {
        const Layout at{shape, is_channels_last};
        const std::string name = name_of(dtype) + (is_channels_last ? " channels last " : " ") +
                                 std::to_string(shape.group) + "x" + std::to_string(shape.groups) +
                                 "x" + std::to_string(shape.runs) + "x" +
                                 std::to_string(shape.width) + "x" + std::to_string(shape.pixels) +
                                 "+" + std::to_string(shape.misaligned);
        add("forward " + name, [=] { deviations(dtype, at); });
        add("backward " + name, [=] { gradients(dtype, at); });
      }
    }
  }
});

}  // namespace
}  // namespace fastgan::driver
