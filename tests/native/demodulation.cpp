#include "../../csrc/ops/demodulation/demodulation.h"

#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

struct Shape {
  int64_t n, outputs, inputs, taps, misaligned;
};

void demodulates(DType dtype, const Shape& shape) {
  const auto [n, outputs, inputs, taps, misaligned] = shape;
  const DType type = sum_type(dtype);
  const double eps = 0.01;
  Floats w("w", dtype, outputs * inputs * taps, misaligned), s("s", type, n * inputs);
  Floats d("d", type, n * outputs), energy("energy", type, outputs * inputs);
  w.fill(-2, 2);
  s.fill(-2, 2);
  expect_ok(demodulation_kernels().forward(
      {w.data(), s.data(), d.data(), energy.data(), n, outputs, inputs, taps, eps, dtype}, exec()));
  std::vector<Exact> want_energy(static_cast<size_t>(outputs * inputs));
  for (int64_t i = 0; i < outputs * inputs * taps; ++i)
    want_energy[size_t(i / taps)].add(w[i] * w[i]);
  std::vector<Exact> want(static_cast<size_t>(n * outputs));
  for (int64_t i = 0; i < n * outputs; ++i) {
    double sum = eps;
    for (int64_t k = 0; k < inputs; ++k) {
      const double style = s[i / outputs * inputs + k];
      sum += style * style * want_energy[size_t(i % outputs * inputs + k)].value;
    }
    want[size_t(i)].add(1 / std::sqrt(sum));
  }
  expect_close(energy, want_energy);
  expect_close(d, want, 4);  // of a sum of up to a thousand terms
}

const bool kRegistered = add_cases("demodulation", [](Adder add) {
  for (DType dtype : kDTypes) {
    for (const Shape& shape : {Shape{2, 0, 3, 9, 0},
                               {0, 3, 8, 9, 0},
                               {2, 3, 0, 9, 0},
                               {1, 1, 1, 1, 0},
                               {2, 3, 8, 9, 0},
                               {9, 2, 24, 1, 0},
                               {3, 5, 7, 9, 0},
                               {2, 3, 16, 9, 1},
                               {2, 2, 63, 25, 0},
                               {17, 3, 1032, 1, 0},
                               {9, 2, 2050, 2, 0}}) {
      add(name_of(dtype) + " " + std::to_string(shape.outputs) + "x" +
              std::to_string(shape.inputs) + "x" + std::to_string(shape.taps) + "+" +
              std::to_string(shape.misaligned) + " for " + std::to_string(shape.n),
          [=] { demodulates(dtype, shape); });
    }
  }
});

}  // namespace
}  // namespace fastgan::driver
