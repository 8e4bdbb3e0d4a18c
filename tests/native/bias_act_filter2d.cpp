// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/bias_act_filter2d/bias_act_filter2d.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include "driver.h"

namespace fastgan::driver {
namespace {

constexpr double kAlpha = 0.25, kGain = 1.5, kClamp = 1.0;

struct Shape {
  int64_t n, c, h, w, after_y, after_x;
  bool is_product;
};

// Element c of pixel (y, x) of sample n.
int64_t at(const Upfirdn2dParams& p, const Axis& rows, const Axis& columns, bool is_out, int64_t n,
           int64_t c, int64_t y, int64_t x) {
  const int64_t h = is_out ? rows.out : rows.in, w = is_out ? columns.out : columns.in;
  return ((n * h + y) * w + x) * p.c + c;
}

// Maps in, filter and maps out; `before` pixels of padding. w(i): what element i of the maps is
// where the filter meets it; times(i): what its result at i is multiplied by.
struct Filtered {
  BiasActFilter2dParams p{};
  Floats f;

  Filtered(DType dtype, const Shape& s, bool is_backward) : f("f", sum_type(dtype), 16) {
    f.fill(-1, 1);
    if (s.is_product)
      for (int64_t i = 0; i < 16; ++i) f.set(i, double((1 + i / 4) * (3 - i % 4)) / 16);
    Upfirdn2dParams& q = p.filter;
    q.n = s.n;
    q.c = s.c;
    const int64_t out_h = s.h + s.after_y - 1, out_w = s.w + s.after_x - 1;
    q.ay = {s.h, out_h, 4, 1, 1, 2};
    q.ax = {s.w, out_w, 4, 1, 1, 2};
    if (is_backward) {
      q.ay = {out_h, s.h, 4, 1, 1, 1};
      q.ax = {out_w, s.w, 4, 1, 1, 1};
    }
    q.f = f.data();
    q.gain = 1;
    q.is_flipped = is_backward;
    q.is_channels_last = true;
    q.dtype = dtype;
    p.alpha = kAlpha;
    p.gain = kGain;
    p.clamp = kClamp;
  }
  int64_t ins() const { return p.filter.n * p.filter.c * p.filter.ay.in * p.filter.ax.in; }
  int64_t outs() const { return p.filter.n * p.filter.c * p.filter.ay.out * p.filter.ax.out; }

  // Whether the kernels take the call, which `error` must say: samples are counted in 32 bits.
  bool is_taken(int error) const {
    const char* given = std::getenv("FASTGAN_EMULATOR_NARROW_LIMIT");
    const int64_t limit = given && *given ? std::atoll(given) : INT32_MAX;
    const bool is_small = std::max(ins(), outs()) / p.filter.n <= limit;
    if (is_small)
      expect_ok(error);
    else if (error == 0)
      fail("a sample of more than the limit is taken");
    return is_small;
  }

  template <class W, class Times>
  std::vector<Exact> want(W&& w, Times&& times) const {
    const Upfirdn2dParams& q = p.filter;
    std::vector<Exact> sums(static_cast<size_t>(outs()));
    for (int64_t n = 0; n < q.n; ++n)
      for (int64_t c = 0; c < q.c; ++c)
        for (int64_t y = 0; y < q.ay.out; ++y)
          for (int64_t x = 0; x < q.ax.out; ++x) {
            const int64_t o = at(q, q.ay, q.ax, true, n, c, y, x);
            const double factor = times(o);
            for (int64_t ky = 0; ky < 4; ++ky)
              for (int64_t kx = 0; kx < 4; ++kx) {
                const int64_t v = y + ky - q.ay.pad, u = x + kx - q.ax.pad;
                if (v < 0 || u < 0 || v >= q.ay.in || u >= q.ax.in) continue;
                const double tap = f[q.is_flipped ? 4 * ky + kx : 15 - 4 * ky - kx];
                sums[size_t(o)].add(factor * tap * w(at(q, q.ay, q.ax, false, n, c, v, u)));
              }
          }
    return sums;
  }
};

// Elements of x + b and of w that 16 bits hold, none of them at a kink.
void fill_eighths(Floats& values) {
  values.fill(-2, 2);
  for (int64_t i = 0; i < values.size(); ++i) {
    const double v = std::floor(values[i] * 4) / 4 + 0.125;
    values.set(i, v);
  }
}

double activated(double u) {
  const double v = kGain * (u > 0 ? u : kAlpha * u);
  return std::fmax(-kClamp, std::fmin(v, kClamp));
}
unsigned code(double u) { return std::fabs(activated(u)) >= kClamp ? 2 : u > 0 ? 0 : 1; }

void forward(DType dtype, const Shape& s, bool has_b, bool has_codes) {
  Filtered call(dtype, s, false);
  Floats x("x", dtype, call.ins()), b("b", dtype, has_b ? s.c : 0), y("y", dtype, call.outs());
  Memory codes("codes", has_codes ? call.ins() / 4 : 0);
  fill_eighths(x);
  if (has_b)
    for (int64_t c = 0; c < s.c; ++c) b.set(c, double(c % 5 - 2) / 2);
  BiasActFilter2dParams& p = call.p;
  p.filter.x = x.data();
  p.filter.out = y.data();
  p.b = b.data();
  p.codes = codes.data();
  if (!call.is_taken(bias_act_filter2d_kernels().forward(p, exec()))) return;
  const auto u = [&](int64_t i) { return x[i] + (has_b ? b[i % s.c] : 0); };
  auto want = call.want([&](int64_t i) { return activated(u(i)); }, [](int64_t) { return 1.0; });
  expect_close(y, want);
  if (!has_codes) return;
  int64_t wrong = 0;
  for (int64_t i = 0; i < call.ins(); ++i) {
    const unsigned got = codes.at<uint8_t>(i / 4) >> 2 * (i % 4) & 3;
    wrong += (got == 3 ? 2 : got) != code(u(i));
  }
  if (wrong) fail("codes: " + std::to_string(wrong) + " of them are wrong");
}

// Codes 0 to 3, whatever map they may belong to.
void fill_codes(Memory& codes) {
  for (int64_t i = 0; i < codes.bytes(); ++i) {
    unsigned byte = 0;
    for (int64_t k = 0; k < 4; ++k) byte |= unsigned((i * 7 + k * 5 + i / 11) % 4) << 2 * k;
    codes.at<uint8_t>(i) = uint8_t(byte);
  }
}

double slope(const Memory& codes, int64_t i) {
  const unsigned code = codes.at<uint8_t>(i / 4) >> 2 * (i % 4) & 3;
  return code >= 2 ? 0 : code == 1 ? kGain * kAlpha : kGain;
}

void masked(DType dtype, const Shape& s) {
  Filtered call(dtype, s, false);
  Floats x("x", dtype, call.ins()), y("y", dtype, call.outs());
  Memory codes("codes", call.ins() / 4);
  x.fill(-2, 2);
  fill_codes(codes);
  BiasActFilter2dParams& p = call.p;
  p.filter.x = x.data();
  p.filter.out = y.data();
  p.codes = codes.data();
  if (!call.is_taken(bias_act_filter2d_kernels().masked(p, exec()))) return;
  const auto want =
      call.want([&](int64_t i) { return x[i] * slope(codes, i); }, [](int64_t) { return 1.0; });
  expect_close(y, want, dtype == DType::kFloat64 || dtype == DType::kFloat32 ? 1 : 2);
}

void backward(DType dtype, const Shape& s, bool has_db) {
  Filtered call(dtype, s, true);
  Floats dy("dy", dtype, call.ins()), dx("dx", dtype, call.outs());
  Floats db("db", dtype, has_db ? s.c : 0);
  Memory codes("codes", call.outs() / 4);
  dy.fill(-2, 2);
  fill_codes(codes);
  BiasActFilter2dParams& p = call.p;
  p.filter.x = dy.data();
  p.filter.out = dx.data();
  p.codes = codes.data();
  Floats scratch("scratch", sum_type(dtype), has_db ? bias_act_filter2d_kernels().scratch(p) : 0);
  p.db = db.data();
  p.scratch = scratch.data();
  if (!call.is_taken(bias_act_filter2d_kernels().backward(p, exec()))) return;
  const auto want =
      call.want([&](int64_t i) { return dy[i]; }, [&](int64_t o) { return slope(codes, o); });
  expect_close(dx, want);
  std::vector<Exact> sums(size_t(db.size()));
  for (int64_t o = 0; has_db && o < call.outs(); ++o) {
    sums[size_t(o % s.c)].value += want[size_t(o)].value;
    sums[size_t(o % s.c)].scale += want[size_t(o)].scale;
  }
  expect_close(db, sums, 2);  // up to some hundred terms one after another
}

const bool kRegistered = add_cases("bias_act_filter2d", [](Adder add) {
  // Several strips down, and across with a last one of one column; padding as StyleGAN2's, of odd
  // sizes, and so much that a strip reads none of the map; more channels than a block has side by
  // side; one pixel.
  constexpr Shape kShapes[] = {{2, 8, 13, 6, 2, 2, true},  {1, 24, 5, 7, 3, 1, false},
                               {1, 8, 3, 4, 9, 8, true},   {2, 128, 3, 3, 2, 2, false},
                               {1, 8, 1, 1, 1, 1, true},   {3, 136, 6, 2, 1, 2, true},
                               {1, 8, 38, 21, 1, 1, false}};
  for (DType dtype : kDTypes)
    for (const Shape& s : kShapes) {
      const std::string name = name_of(dtype) + " " + std::to_string(s.n) + "x" +
                               std::to_string(s.c) + "x" + std::to_string(s.h) + "x" +
                               std::to_string(s.w);
      add("forward " + name, [=] { forward(dtype, s, true, true); });
      add("masked " + name, [=] { masked(dtype, s); });
      add("backward " + name, [=] { backward(dtype, s, true); });
      if (s.h != 13) continue;
      add("forward without b and codes " + name, [=] { forward(dtype, s, false, false); });
      add("backward without db " + name, [=] { backward(dtype, s, false); });
    }
});

}  // namespace
}  // namespace fastgan::driver
