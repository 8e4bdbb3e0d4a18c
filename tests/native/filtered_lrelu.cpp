// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/filtered_lrelu/filtered_lrelu.h"

#include <algorithm>
#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

// A filter: separable, or of two dimensions, of any values or radially symmetric.
enum class Form { kLine, kGrid, kRadial };

struct Shape {
  int64_t planes, channels, height, width, up, down, up_taps, down_taps, pad;
  Form up_form = Form::kLine, down_form = Form::kLine;
};

FilteredLreluParams params_of(DType dtype, const Shape& s) {
  FilteredLreluParams p{};
  p.planes = s.planes;
  p.channels = s.channels;
  p.up = s.up;
  p.down = s.down;
  for (auto [axis, in] : {std::pair{&p.ay, s.height}, {&p.ax, s.width}}) {
    *axis = {in, 0, s.up_taps, s.down_taps, s.pad, 0};
    axis->out = (in * s.up + 2 * s.pad - s.up_taps + 1 - s.down_taps) / s.down + 1;
  }
  p.sign_rows = (p.ay.out - 1) * s.down + s.down_taps;
  p.sign_columns = (p.ax.out - 1) * s.down + s.down_taps;
  p.sign_bytes = (p.sign_columns + 3) / 4;
  p.up_gain = double(s.up * s.up);
  p.gain = 1.5;
  p.slope = 0.25;
  p.clamp = 1.0;
  p.fu_is_separable = s.up_form == Form::kLine;
  p.fd_is_separable = s.down_form == Form::kLine;
  p.dtype = dtype;
  return p;
}

// Index i of u that tap k of v's place j meets, or -1.
int64_t met(int64_t j, int64_t k, const FilteredAxis& a, int64_t up) {
  const int64_t top = j + k - a.pad;
  return top >= 0 && top % up == 0 && top / up < a.in ? top / up : -1;
}

// f as it is correlated.
std::vector<double> taps_of(const Floats& f, bool is_flipped) {
  std::vector<double> taps;
  for (int64_t k = 0; k < f.size(); ++k) taps.push_back(f[is_flipped ? k : f.size() - 1 - k]);
  return taps;
}

// v of one plane: [sign_rows, sign_columns].
std::vector<Exact> wide_of(const FilteredLreluParams& p, const Floats& x, const Floats& b,
                           const std::vector<double>& f, int64_t plane) {
  std::vector<Exact> v(size_t(p.sign_rows * p.sign_columns));
  for (int64_t j = 0; j < p.sign_rows; ++j)
    for (int64_t i = 0; i < p.sign_columns; ++i)
      for (int64_t ky = 0; ky < p.ay.up_taps; ++ky)
        for (int64_t kx = 0; kx < p.ax.up_taps; ++kx) {
          const int64_t iy = met(j, ky, p.ay, p.up), ix = met(i, kx, p.ax, p.up);
          if (iy < 0 || ix < 0) continue;
          const double u = x[(plane * p.ay.in + iy) * p.ax.in + ix];
          const double bias = b.size() ? b[plane % p.channels] : 0;
          const double weight = p.up_gain * (p.fu_is_separable ? f[size_t(ky)] * f[size_t(kx)]
                                                               : f[size_t(ky * p.ax.up_taps + kx)]);
          Exact& out = v[size_t(j * p.sign_columns + i)];
          out.value += weight * (u + bias);
          out.scale += std::abs(weight) * (std::abs(u) + std::abs(bias));
        }
  return v;
}

// Adds what a plane's w gives to y.
void narrow_into(std::vector<Exact>& y, const FilteredLreluParams& p, const std::vector<Exact>& w,
                 const std::vector<double>& g, int64_t plane) {
  const int64_t n = p.ax.down_taps;
  for (int64_t o = 0; o < p.ay.out; ++o)
    for (int64_t q = 0; q < p.ax.out; ++q)
      for (int64_t ky = 0; ky < p.ay.down_taps; ++ky)
        for (int64_t kx = 0; kx < n; ++kx) {
          const double weight =
              p.fd_is_separable ? g[size_t(ky)] * g[size_t(kx)] : g[size_t(ky * n + kx)];
          const Exact& from = w[size_t((o * p.down + ky) * p.sign_columns + q * p.down + kx)];
          Exact& to = y[size_t((plane * p.ay.out + o) * p.ax.out + q)];
          to.value += weight * from.value;
          to.scale += std::abs(weight) * from.scale;
        }
}

int code_of(const uint8_t* signs, const FilteredLreluParams& p, int64_t plane, int64_t row,
            int64_t column) {
  return signs[(plane * p.sign_rows + row) * p.sign_bytes + column / 4] >> column % 4 * 2 & 3;
}

int64_t size_of(Form form, int64_t taps) { return form == Form::kLine ? taps : taps * taps; }

void fill(Floats& f, Form form, int64_t taps) {
  f.fill(-0.5, 0.5);
  if (form != Form::kRadial) return;
  for (int64_t i = 0; i < taps; ++i)
    for (int64_t j = 0; j < taps; ++j) {
      const int64_t a = std::min(i, taps - 1 - i), b = std::min(j, taps - 1 - j);
      f.set(i * taps + j, f[std::min(a, b) * taps + std::max(a, b)]);
    }
}

// Forward, with codes and without, which must agree; then the codes are read back with another
// offset, by what is the op's own second order.
void runs(DType dtype, const Shape& s, bool is_flipped) {
  FilteredLreluParams p = params_of(dtype, s);
  p.is_flipped = is_flipped;
  const DType type = sum_type(dtype);
  const int64_t outs = p.planes * p.ay.out * p.ax.out;
  Floats x("x", dtype, p.planes * p.ay.in * p.ax.in), b("b", dtype, p.channels);
  Floats fu("fu", type, size_of(s.up_form, s.up_taps)),
      fd("fd", type, size_of(s.down_form, s.down_taps));
  Floats y("y", dtype, outs), same("same", dtype, outs), dy("masked", dtype, outs);
  Memory signs("signs", p.planes * p.sign_rows * p.sign_bytes);
  x.fill(-2, 2);
  b.fill(-1, 1);
  fill(fu, s.up_form, s.up_taps);
  fill(fd, s.down_form, s.down_taps);
  p.x = x.data();
  p.b = b.data();
  p.fu = fu.data();
  p.fd = fd.data();
  p.out = same.data();
  expect_ok(filtered_lrelu_kernels().run(p, exec()));
  p.mode = Signs::kWrite;
  p.signs = static_cast<uint8_t*>(signs.data());
  p.out = y.data();
  expect_ok(filtered_lrelu_kernels().run(p, exec()));
  const std::vector<double> f = taps_of(fu, is_flipped), g = taps_of(fd, is_flipped);
  std::vector<Exact> want(static_cast<size_t>(outs)), want_masked(static_cast<size_t>(outs));
  FilteredLreluParams q = p;  // reads: one row and two columns further, without a bias
  q.mode = Signs::kRead;
  q.b = nullptr;
  q.gain = 1;
  q.ay.sign_offset = 1;
  q.ax.sign_offset = -2;
  q.out = dy.data();
  expect_ok(filtered_lrelu_kernels().run(q, exec()));
  const Floats none("none", dtype, 0);
  for (int64_t plane = 0; plane < p.planes; ++plane) {
    std::vector<Exact> w = wide_of(p, x, b, f, plane), t = wide_of(q, x, none, f, plane);
    const double eps = dtype == DType::kFloat64 ? 0x1p-48 : 0x1p-19;
    for (int64_t j = 0; j < p.sign_rows; ++j)
      for (int64_t i = 0; i < p.sign_columns; ++i) {
        Exact& v = w[size_t(j * p.sign_columns + i)];
        const double out = p.gain * (v.value > 0 ? v.value : p.slope * v.value);
        const int code = std::abs(out) >= p.clamp ? 2 : v.value > 0 ? 0 : 1;
        const bool is_sure = std::abs(v.value) > eps * v.scale &&
                             std::abs(std::abs(out) - p.clamp) > eps * p.gain * v.scale;
        const int got = code_of(p.signs, p, plane, j, i);
        const bool is_met = j % p.down < p.ay.down_taps && i % p.down < p.ax.down_taps;
        if (is_sure && is_met && got != code)
          fail("code " + std::to_string(got) + " at " + std::to_string(j) + ", " +
               std::to_string(i) + ", expected " + std::to_string(code));
        v.value = std::fmax(-p.clamp, std::fmin(p.clamp, out));
        v.scale *= p.gain;
        Exact& m = t[size_t(j * p.sign_columns + i)];
        const int64_t row = j + q.ay.sign_offset, column = i + q.ax.sign_offset;
        const bool is_in = row >= 0 && row < p.sign_rows && column >= 0 && column < p.sign_columns;
        const int read = is_in ? code_of(p.signs, p, plane, row, column) : 2;
        const double factor = read == 0 ? 1 : read == 1 ? p.slope : 0;
        m.value *= factor;
        m.scale *= factor;
      }
    narrow_into(want, p, w, g, plane);
    narrow_into(want_masked, p, t, g, plane);
    for (int64_t j = 0; j < p.sign_rows && p.sign_columns % 4; ++j)
      if (p.signs[(plane * p.sign_rows + j + 1) * p.sign_bytes - 1] >> p.sign_columns % 4 * 2)
        fail("codes beyond the last column are not 0");
  }
  expect_close(y, want);
  expect_close(same, want);
  expect_close(dy, want_masked);
}

const bool kRegistered = add_cases("filtered_lrelu", [](Adder add) {
  constexpr Form kLine = Form::kLine, kGrid = Form::kGrid, kRadial = Form::kRadial;
  const Shape small{2, 2, 9, 11, 2, 2, 12, 12, 9}, tiles{1, 1, 34, 8, 2, 2, 12, 12, 11};
  const Shape more{1, 1, 10, 9, 4, 2, 24, 12, 18}, fewer{1, 1, 40, 20, 2, 4, 12, 24, 16};
  // More columns than a tile has.
  const Shape broad{1, 1, 3, 140, 2, 2, 12, 12, 9}, broad_more{1, 1, 4, 64, 4, 2, 24, 12, 18},
      broad_fewer{1, 1, 9, 130, 2, 4, 12, 24, 16};
  const Shape general{2, 1, 11, 7, 3, 2, 5, 4, 3}, grid{1, 1, 9, 9, 2, 2, 12, 6, 8, kLine, kGrid};
  const Shape sparse{1, 1, 37, 6, 1, 3, 2, 2, 1}, wide{1, 1, 3, 40, 2, 1, 6, 1, 3};
  // Other phases than those of StyleGAN3's layers.
  const Shape phase{1, 2, 8, 9, 2, 2, 12, 12, 10};
  const auto with = [](Shape s, Form up, Form down) {
    s.up_form = up;
    s.down_form = down;
    return s;
  };
  const auto all = [&](DType dtype, std::initializer_list<std::pair<const char*, Shape>> shapes) {
    for (const auto& [name, s] : shapes) {
      const Shape shape = s;
      add(name_of(dtype) + " " + name, [=] { runs(dtype, shape, false); });
      if (shape.up == 2 && shape.width < 20)
        add(name_of(dtype) + " flipped " + name, [=] { runs(dtype, shape, true); });
    }
  };
  for (DType dtype : kDTypes)
    all(dtype, {{"2:2", small},
                {"2:2 tiles", tiles},
                {"4:2", more},
                {"2:4", fewer},
                {"3:2", general},
                {"grid", grid},
                {"1:3", sparse},
                {"2:1", wide}});
  for (DType dtype : kFloat32And16)
    all(dtype, {{"radial down 2:2", with(small, kLine, kRadial)},
                {"radial down 4:2", with(more, kLine, kRadial)},
                {"radial up 2:2", with(small, kRadial, kLine)},
                {"radial up 2:4", with(fewer, kRadial, kLine)}});
  all(DType::kFloat32, {{"2:2 broad", broad},
                        {"4:2 broad", broad_more},
                        {"2:4 broad", broad_fewer},
                        {"2:2 phase", phase},
                        {"radial down 2:2 tiles", with(tiles, kLine, kRadial)},
                        {"radial down 2:2 broad", with(broad, kLine, kRadial)},
                        {"radial up 2:2 tiles", with(tiles, kRadial, kLine)},
                        {"radial up 2:2 broad", with(broad, kRadial, kLine)},
                        {"square down 2:2", with(small, kLine, kGrid)},
                        {"square down 4:2", with(more, kLine, kGrid)},
                        {"square up 2:2", with(small, kGrid, kLine)},
                        {"square up 2:4", with(fewer, kGrid, kLine)}});
});

}  // namespace
}  // namespace fastgan::driver
