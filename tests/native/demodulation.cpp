// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/demodulation/demodulation.h"

#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

struct Shape {
  int64_t n, outputs, inputs, taps, misaligned;
};

void demodulates(DType dtype, const Shape& shape, bool is_taps_outer) {
  const auto [n, outputs, inputs, taps, misaligned] = shape;
  const DType type = sum_type(dtype);
  const double eps = 0.01;
  Floats w("w", dtype, outputs * inputs * taps, misaligned), s("s", type, n * inputs);
  Floats d("d", type, n * outputs), energy("energy", type, outputs * inputs);
  w.fill(-2, 2);
  s.fill(-2, 2);
  expect_ok(demodulation_kernels().forward({w.data(), s.data(), d.data(), energy.data(), n, outputs,
                                            inputs, taps, eps, dtype, is_taps_outer},
                                           exec()));
  std::vector<Exact> want_energy(static_cast<size_t>(outputs * inputs));
  for (int64_t i = 0; i < outputs * inputs * taps; ++i) {
    const int64_t at = is_taps_outer ? i / (taps * inputs) * inputs + i % inputs : i / taps;
    want_energy[size_t(at)].add(w[i] * w[i]);
  }
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

// Both gradients in one call, from arrays that no forward pass made: the formulas hold for any.
void gradients(DType dtype, const Shape& shape, bool has_de, bool is_taps_outer) {
  const auto [n, outputs, inputs, taps, misaligned] = shape;
  const DType type = sum_type(dtype);
  const int64_t weights = outputs * inputs * taps;
  Floats w("w", dtype, weights, misaligned), s("s", type, n * inputs), d("d", type, n * outputs);
  Floats dd("dd", type, n * outputs), de("de", type, has_de ? outputs * inputs : 0);
  Floats energy("energy", type, outputs * inputs);
  Floats dw("dw", dtype, weights, misaligned), ds("ds", type, n * inputs);
  for (Floats* array : {&w, &s, &d, &dd, &de, &energy}) array->fill(-2, 2);
  DemodulationBackwardParams p{};
  p.dd = dd.data();
  p.de = de.data();
  p.w = w.data();
  p.s = s.data();
  p.d = d.data();
  p.energy = energy.data();
  p.dw = dw.data();
  p.ds = ds.data();
  p.n = n;
  p.outputs = outputs;
  p.inputs = inputs;
  p.taps = taps;
  p.dtype = dtype;
  p.is_taps_outer = is_taps_outer;
  expect_ok(demodulation_kernels().backward(p, exec()));
  const auto g = [&](int64_t k, int64_t o) {
    const double root = d[k * outputs + o];
    return dd[k * outputs + o] * root * root * root;
  };
  std::vector<Exact> want_w(static_cast<size_t>(weights)), want_s(static_cast<size_t>(n * inputs));
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < inputs; ++i) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t at =
            is_taps_outer ? (o * taps + tap) * inputs + i : (o * inputs + i) * taps + tap;
        if (has_de) want_w[size_t(at)].add(w[at] * 2 * de[o * inputs + i]);
        for (int64_t k = 0; k < n; ++k) {
          const double style = s[k * inputs + i];
          want_w[size_t(at)].add(-w[at] * g(k, o) * style * style);
        }
      }
      for (int64_t k = 0; k < n; ++k)
        want_s[size_t(k * inputs + i)].add(-s[k * inputs + i] * g(k, o) * energy[o * inputs + i]);
    }
  }
  expect_close(dw, want_w, 2);  // of a third power
  expect_close(ds, want_s, 2);
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
      for (bool is_taps_outer : {false, true}) {
        add(name_of(dtype) + " " + std::to_string(shape.outputs) + "x" +
                std::to_string(shape.inputs) + "x" + std::to_string(shape.taps) + "+" +
                std::to_string(shape.misaligned) + " for " + std::to_string(shape.n) +
                (is_taps_outer ? " taps outside" : ""),
            [=] { demodulates(dtype, shape, is_taps_outer); });
      }
    }
    for (const Shape& shape : {Shape{2, 0, 3, 9, 0},
                               {0, 3, 8, 9, 0},
                               {2, 3, 0, 9, 0},
                               {2, 3, 8, 0, 0},
                               {1, 1, 1, 1, 0},
                               {3, 5, 7, 9, 0},
                               {2, 3, 16, 9, 1},
                               {9, 3, 40, 1, 0},
                               {5, 2, 264, 2, 0},
                               {130, 3, 24, 4, 0},
                               {2, 259, 33, 1, 0}}) {
      for (bool is_taps_outer : {false, true}) {
        const bool has_de = is_taps_outer == (shape.inputs % 2 == 0);
        add(name_of(dtype) + " gradients " + std::to_string(shape.outputs) + "x" +
                std::to_string(shape.inputs) + "x" + std::to_string(shape.taps) + "+" +
                std::to_string(shape.misaligned) + " for " + std::to_string(shape.n) +
                (is_taps_outer ? " taps outside" : "") + (has_de ? " de" : ""),
            [=] { gradients(dtype, shape, has_de, is_taps_outer); });
      }
    }
  }
});

}  // namespace
}  // namespace fastgan::driver
