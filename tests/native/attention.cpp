// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/attention/attention.h"

#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "driver.h"

namespace fastgan::driver {
namespace {

// Sets the most blocks that a grid has along x on the emulator, while it lives.
class MostBlocks {
 public:
  explicit MostBlocks(const char* most) {
    if (const char* value = std::getenv(kName)) before_ = value;
    setenv(kName, most, 1);
  }
  ~MostBlocks() { before_.empty() ? unsetenv(kName) : setenv(kName, before_.c_str(), 1); }

 private:
  static constexpr const char* kName = "FASTGAN_EMULATOR_NARROW_LIMIT";
  std::string before_;
};

// mask_*: sizes of the mask, 0 where there is none. gq_k: what every gq · k has in common, so that
// the mean of u is so large. is_in_small_grids: at most 10 blocks along x.
struct Shape {
  int64_t batch, queries, keys, channels, values;
  int64_t masks = 0, mask_queries = 0, mask_keys = 0;
  int64_t misaligned = 0;
  double gq_k = 0;
  bool is_in_small_grids = false;

  std::string name() const {
    const auto text = [](int64_t n) { return std::to_string(n); };
    return text(batch) + "x" + text(queries) + "x" + text(keys) + " " + text(channels) + "/" +
           text(values) +
           (masks ? " mask " + text(masks) + "x" + text(mask_queries) + "x" + text(mask_keys)
                  : "") +
           (misaligned ? " misaligned" : "") + (gq_k > 0 ? " large mean" : "") +
           (is_in_small_grids ? " small grids" : "");
  }
};

// A sum of many products of sums, of which each p has the error of its s; in 16 bits the rounding
// of the result is more.
double limits(DType dtype) { return dtype == DType::kFloat64 || dtype == DType::kFloat32 ? 16 : 1; }

// Inputs, and everything that the three passes make of them, in double.
struct Problem {
  DType dtype, sums;
  Shape n;
  double scale = 0.4;
  Floats q, k, v, grad_o, gq, gk, gv, o, lse;
  Memory mask;
  std::vector<Exact> want_o, want_lse;
  std::vector<double> p;  // [batch, queries, keys]
  std::optional<MostBlocks> most_blocks;

  Problem(DType type, const Shape& shape)
      : dtype(type),
        sums(sum_type(type)),
        n(shape),
        q("q", type, n.batch * n.queries * n.channels, n.misaligned),
        k("k", type, n.batch * n.keys * n.channels, n.misaligned),
        v("v", type, n.batch * n.keys * n.values, n.misaligned),
        grad_o("grad_o", type, n.batch * n.queries * n.values, n.misaligned),
        gq("gq", type, q.size(), n.misaligned),
        gk("gk", type, k.size(), n.misaligned),
        gv("gv", type, v.size(), n.misaligned),
        o("o", type, grad_o.size(), n.misaligned),
        lse("lse", sums, n.batch * n.queries),
        mask("mask", n.masks * n.mask_queries * n.mask_keys) {
    for (Floats* array : {&q, &k, &v, &grad_o, &gq, &gk, &gv}) array->fill(-1, 1);
    if (n.gq_k > 0) {
      for (int64_t i = 0; i < k.size(); i += n.channels) k.set(i, 1);
      for (int64_t i = 0; i < gq.size(); i += n.channels) gq.set(i, n.gq_k);
    }
    for (int64_t i = 0; i < mask.bytes(); ++i)
      mask.at<unsigned char>(i) = i / n.mask_keys % 4 == 1 ? 0 : i * 7 % 5 != 0;  // some rows: none
    make_probabilities();
    if (n.is_in_small_grids) most_blocks.emplace("10");
  }

  bool counts(int64_t b, int64_t i, int64_t j) const {
    if (!n.masks) return true;
    const int64_t row = n.mask_queries == 1 ? 0 : i, column = n.mask_keys == 1 ? 0 : j;
    const int64_t item = b / (n.batch / n.masks);
    return mask.at<unsigned char>((item * n.mask_queries + row) * n.mask_keys + column) != 0;
  }

  double dot(const Floats& a, int64_t row, const Floats& b, int64_t other, int64_t width) const {
    double sum = 0;
    for (int64_t c = 0; c < width; ++c) sum += a[row * width + c] * b[other * width + c];
    return sum;
  }

  void make_probabilities() {
    p.resize(size_t(n.batch * n.queries * n.keys));
    want_o.resize(size_t(o.size()));
    want_lse.resize(size_t(lse.size()));
    for (int64_t row = 0; row < n.batch * n.queries; ++row) {
      const int64_t b = row / n.queries, i = row % n.queries;
      double total = 0, most = 0;
      double* share = p.data() + row * n.keys;
      for (int64_t j = 0; j < n.keys; ++j) {
        const double s = scale * dot(q, row, k, b * n.keys + j, n.channels);
        share[j] = counts(b, i, j) ? std::exp(s) : 0;
        total += share[j];
        most = std::fmax(most, std::fabs(s));
      }
      want_lse[size_t(row)].add(std::log(total));
      want_lse[size_t(row)].scale += most;
      for (int64_t j = 0; j < n.keys; ++j) {
        share[j] = total > 0 ? share[j] / total : 0;
        for (int64_t c = 0; c < n.values; ++c)
          want_o[size_t(row * n.values + c)].add(share[j] * v[(b * n.keys + j) * n.values + c]);
      }
    }
  }

  // What a backward pass gets: o and lse as their types hold them.
  void round() {
    for (int64_t i = 0; i < o.size(); ++i) o.set(i, want_o[size_t(i)].value);
    for (int64_t i = 0; i < lse.size(); ++i) lse.set(i, want_lse[size_t(i)].value);
  }

  AttentionShape shape() const {
    AttentionShape s{};
    s.batch = n.batch;
    s.queries = n.queries;
    s.keys = n.keys;
    s.channels = n.channels;
    s.values = n.values;
    s.mask = n.masks ? mask.data() : nullptr;
    s.items_per_mask = n.masks ? n.batch / n.masks : 1;
    s.mask_item = n.mask_queries * n.mask_keys;
    s.mask_query = n.mask_queries == 1 ? 0 : n.mask_keys;
    s.mask_key = n.mask_keys == 1 ? 0 : 1;
    s.scale = scale;
    s.dtype = dtype;
    return s;
  }
};

void add_row(std::vector<Exact>& to, int64_t row, double factor, const Floats& from, int64_t other,
             int64_t width) {
  for (int64_t c = 0; c < width; ++c)
    to[size_t(row * width + c)].add(factor * from[other * width + c]);
}

void forward(DType dtype, const Shape& n) {
  Problem a(dtype, n);
  AttentionParams p{};
  p.shape = a.shape();
  p.q = a.q.data();
  p.k = a.k.data();
  p.v = a.v.data();
  p.o = a.o.data();
  p.lse = a.lse.data();
  expect_ok(attention_kernels().forward(p, exec()));
  expect_close(a.o, a.want_o, limits(dtype));
  expect_close(a.lse, a.want_lse, limits(a.sums));
}

void backward(DType dtype, const Shape& n) {
  Problem a(dtype, n);
  a.round();
  Floats dq("dq", dtype, a.q.size(), n.misaligned), dk("dk", dtype, a.k.size(), n.misaligned);
  Floats dv("dv", dtype, a.v.size(), n.misaligned), delta("delta", a.sums, a.lse.size());
  AttentionBackwardParams p{};
  p.shape = a.shape();
  p.grad_o = a.grad_o.data();
  p.q = a.q.data();
  p.k = a.k.data();
  p.v = a.v.data();
  p.o = a.o.data();
  p.lse = a.lse.data();
  p.dq = dq.data();
  p.dk = dk.data();
  p.dv = dv.data();
  p.delta = delta.data();
  expect_ok(attention_kernels().backward(p, exec()));
  std::vector<Exact> want_q(static_cast<size_t>(dq.size())), want_k(static_cast<size_t>(dk.size()));
  std::vector<Exact> want_v(static_cast<size_t>(dv.size()));
  for (int64_t row = 0; row < n.batch * n.queries; ++row) {
    const double mean = a.dot(a.grad_o, row, a.o, row, n.values);
    for (int64_t j = 0; j < n.keys; ++j) {
      const int64_t key = row / n.queries * n.keys + j;
      const double share = a.p[size_t(row * n.keys + j)];
      // ds in two terms, which may be larger than their difference.
      for (const double part : {a.dot(a.grad_o, row, a.v, key, n.values), -mean}) {
        add_row(want_q, row, a.scale * share * part, a.k, key, n.channels);
        add_row(want_k, key, a.scale * share * part, a.q, row, n.channels);
      }
      add_row(want_v, key, share, a.grad_o, row, n.values);
    }
  }
  expect_close(dq, want_q, limits(dtype));
  expect_close(dk, want_k, limits(dtype));
  expect_close(dv, want_v, limits(dtype));
}

void double_backward(DType dtype, const Shape& n) {
  Problem a(dtype, n);
  a.round();
  AttentionDoubleBackwardParams p{};
  p.shape = a.shape();
  p.parts = attention_kernels().parts(p.shape);
  Floats by_grad_o("by_grad_o", dtype, a.o.size(), n.misaligned);
  Floats by_q("by_q", dtype, a.q.size(), n.misaligned);
  Floats by_k("by_k", dtype, a.k.size(), n.misaligned);
  Floats by_v("by_v", dtype, a.v.size(), n.misaligned);
  Floats delta("delta", a.sums, a.lse.size()), mean("mean", a.sums, a.lse.size());
  Floats correction("correction", a.sums, (p.parts > 1 ? p.parts : 1) * a.lse.size());
  p.gq = a.gq.data();
  p.gk = a.gk.data();
  p.gv = a.gv.data();
  p.grad_o = a.grad_o.data();
  p.q = a.q.data();
  p.k = a.k.data();
  p.v = a.v.data();
  p.o = a.o.data();
  p.lse = a.lse.data();
  p.by_grad_o = by_grad_o.data();
  p.by_q = by_q.data();
  p.by_k = by_k.data();
  p.by_v = by_v.data();
  p.delta = delta.data();
  p.mean = mean.data();
  p.correction = correction.data();
  expect_ok(attention_kernels().double_backward(p, exec()));
  std::vector<Exact> want_o(static_cast<size_t>(by_grad_o.size()));
  std::vector<Exact> want_q(static_cast<size_t>(by_q.size()));
  std::vector<Exact> want_k(static_cast<size_t>(by_k.size()));
  std::vector<Exact> want_v(static_cast<size_t>(by_v.size()));
  std::vector<double> u(static_cast<size_t>(n.keys)), t(u);
  for (int64_t row = 0; row < n.batch * n.queries; ++row) {
    const int64_t first = row / n.queries * n.keys;
    const double* share = a.p.data() + row * n.keys;
    const double of_row = a.dot(a.grad_o, row, a.o, row, n.values);
    double m = 0, mean_t = 0;
    for (int64_t j = 0; j < n.keys; ++j) {
      u[size_t(j)] = a.scale * (a.dot(a.gq, row, a.k, first + j, n.channels) +
                                a.dot(a.q, row, a.gk, first + j, n.channels));
      m += share[j] * u[size_t(j)];
    }
    for (int64_t j = 0; j < n.keys; ++j) {
      const double centred = a.dot(a.grad_o, row, a.v, first + j, n.values) - of_row;
      t[size_t(j)] = (u[size_t(j)] - m) * centred + a.dot(a.grad_o, row, a.gv, first + j, n.values);
      mean_t += share[j] * t[size_t(j)];
    }
    for (int64_t j = 0; j < n.keys; ++j) {
      const int64_t key = first + j;
      const auto add_h = [&](double factor) {
        add_row(want_o, row, factor, a.v, key, n.values);
        add_row(want_v, key, factor, a.grad_o, row, n.values);
      };
      // Each factor in two terms, which may be larger than their difference; u - m as one where m
      // is large on purpose.
      if (n.gq_k > 0) {
        add_h(share[j] * (u[size_t(j)] - m));
      } else {
        add_h(share[j] * u[size_t(j)]);
        add_h(-share[j] * m);
      }
      add_row(want_o, row, share[j], a.gv, key, n.values);
      for (const double part : {t[size_t(j)], -mean_t}) {
        add_row(want_q, row, a.scale * share[j] * part, a.k, key, n.channels);
        add_row(want_k, key, a.scale * share[j] * part, a.q, row, n.channels);
      }
      for (const double part : {a.dot(a.grad_o, row, a.v, key, n.values), -of_row}) {
        add_row(want_q, row, a.scale * share[j] * part, a.gk, key, n.channels);
        add_row(want_k, key, a.scale * share[j] * part, a.gq, row, n.channels);
      }
    }
  }
  expect_close(by_grad_o, want_o, limits(dtype));
  expect_close(by_q, want_q, limits(dtype));
  expect_close(by_k, want_k, limits(dtype));
  expect_close(by_v, want_v, limits(dtype));
}

const bool kRegistered = add_cases("attention", [](Adder add) {
  const auto add_shape = [&](DType dtype, const Shape& shape) {
    const std::string name = name_of(dtype) + " " + shape.name();
    add(name, [=] { forward(dtype, shape); });
    add(name + " gradients", [=] { backward(dtype, shape); });
    add(name + " second", [=] { double_backward(dtype, shape); });
  };
  for (DType dtype : kDTypes) {
    add_shape(dtype, {1, 70, 67, 9, 5});
    add_shape(dtype, {2, 3, 5, 40, 72});
  }
  for (DType dtype : kFloat32And16) {
    for (const Shape& shape : {Shape{0, 3, 3, 4, 4},
                               {2, 0, 3, 4, 4},
                               {2, 3, 0, 4, 4},
                               {2, 3, 3, 0, 4},
                               {2, 3, 3, 4, 0},
                               {1, 1, 1, 1, 1},
                               {1, 5, 130, 72, 8},
                               {2, 3, 5, 8, 8, 0, 0, 0, 1},
                               {4, 66, 6, 8, 8, 2, 1, 6},
                               {2, 6, 66, 8, 8, 1, 6, 66},
                               {2, 5, 6, 4, 8, 2, 5, 1}})
      add_shape(dtype, shape);
  }
  add_shape(DType::kFloat32, {12, 1, 3, 4, 4, 0, 0, 0, 0, 0, true});  // more than one grid
  // In 16 bits alone, where what the mean is taken from is a result that has been rounded.
  add_shape(DType::kBFloat16, {1, 5, 6, 8, 8, 0, 0, 0, 0, 512});
});

}  // namespace
}  // namespace fastgan::driver
