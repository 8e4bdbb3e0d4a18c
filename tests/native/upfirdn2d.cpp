// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/upfirdn2d/upfirdn2d.h"

#include <string>

#include "driver.h"

namespace fastgan::driver {
namespace {

struct Kind {
  const char* name;
  int64_t up, down, taps;
  bool is_separable, is_product;
  int64_t before, after;  // padding of both axes
};
constexpr Kind kKinds[] = {
    {"up2", 2, 1, 4, false, true, 2, 1},         {"up2-odd", 2, 1, 4, false, false, 3, 2},
    {"down2", 1, 2, 4, false, true, 1, 1},       {"down2-square", 1, 2, 4, false, false, 2, 1},
    {"blur", 1, 1, 4, true, false, 2, 1},        {"blur-square", 1, 1, 4, false, false, 2, 2},
    {"wavelet-up", 2, 1, 12, true, false, 7, 4}, {"wavelet-down", 1, 2, 12, true, false, 6, 5},
    {"general", 3, 2, 5, false, false, 4, 2},
};

struct Planes {
  int64_t n, c, h, w, misaligned;
};

// Σ f[ky, kx]·x[iy, ix] by taps that meet a sample, one output after the other.
void filters(DType dtype, const Kind& k, const Planes& s, bool is_channels_last, bool is_flipped) {
  Upfirdn2dParams p{};
  p.n = s.n;
  p.c = s.c;
  p.ay = {s.h, 0, k.taps, k.up, k.down, k.before};
  p.ax = {s.w, 0, k.taps, k.up, k.down, k.before};
  for (Axis* a : {&p.ay, &p.ax}) a->out = (a->in * k.up + k.before + k.after - k.taps) / k.down + 1;
  const DType wide = sum_type(dtype);
  const int64_t square = k.taps * k.taps;
  Floats x("x", dtype, s.n * s.c * s.h * s.w, s.misaligned);
  Floats f("f", wide, k.is_separable ? k.taps : square);
  Floats y("y", dtype, s.n * s.c * p.ay.out * p.ax.out, s.misaligned == 2 ? 0 : s.misaligned);
  x.fill(-2, 2);
  f.fill(-1, 1);
  if (k.is_product)
    for (int64_t i = 0; i < square; ++i) f.set(i, double((1 + i / 4) * (3 - i % 4)) / 16);
  p.x = x.data();
  p.f = f.data();
  p.out = y.data();
  p.gain = -1.5;
  p.is_separable = k.is_separable;
  p.is_flipped = is_flipped;
  p.is_channels_last = is_channels_last;
  p.dtype = dtype;
  expect_ok(upfirdn2d_kernels().run(p, exec()));

  const auto tap = [&](int64_t ky, int64_t kx) {
    const int64_t last = k.taps - 1;
    if (!is_flipped) ky = last - ky, kx = last - kx;
    return k.is_separable ? f[ky] * f[kx] : f[ky * k.taps + kx];
  };
  const auto at = [&](int64_t n, int64_t c, int64_t row, int64_t column, int64_t rows,
                      int64_t columns) {
    return is_channels_last ? ((n * rows + row) * columns + column) * s.c + c
                            : ((n * s.c + c) * rows + row) * columns + column;
  };
  std::vector<Exact> want(size_t(y.size()));
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t c = 0; c < s.c; ++c)
      for (int64_t oy = 0; oy < p.ay.out; ++oy)
        for (int64_t ox = 0; ox < p.ax.out; ++ox) {
          Exact& sum = want[size_t(at(n, c, oy, ox, p.ay.out, p.ax.out))];
          for (int64_t ky = 0; ky < k.taps; ++ky)
            for (int64_t kx = 0; kx < k.taps; ++kx) {
              const int64_t v = oy * k.down + ky - k.before, u = ox * k.down + kx - k.before;
              if (v < 0 || u < 0 || v % k.up != 0 || u % k.up != 0) continue;
              if (v / k.up >= s.h || u / k.up >= s.w) continue;
              sum.add(-1.5 * tap(ky, kx) * x[at(n, c, v / k.up, u / k.up, s.h, s.w)]);
            }
        }
  expect_close(y, want);
}

const bool kRegistered = add_cases("upfirdn2d", [](Adder add) {
  // Odd rows; one strip; rows wider than a tile; several tiles down; several planes in a block, and
  // fewer in the last one; rows of outputs that are aligned.
  constexpr Planes kPlanes[] = {{1, 2, 7, 9, 0},  {2, 1, 5, 16, 1},  {1, 1, 3, 150, 2},
                                {1, 1, 70, 3, 0}, {1, 531, 2, 3, 0}, {1, 0, 4, 4, 0},
                                {1, 2, 16, 32, 0}};
  // Several strips down, several across, channels one by one and by vectors.
  constexpr Planes kPixels[] = {
      {2, 3, 5, 4, 0}, {1, 8, 13, 5, 0}, {1, 24, 3, 3, 1}, {1, 128, 2, 3, 0}};
  for (const Kind& kind : kKinds)
    for (DType dtype : kDTypes) {
      const bool is_flipped = kind.before % 2 == 0;
      const auto name = [&](const char* layout, const Planes& s) {
        return std::string(kind.name) + " " + layout + " " + name_of(dtype) + " " +
               std::to_string(s.n) + "x" + std::to_string(s.c) + "x" + std::to_string(s.h) + "x" +
               std::to_string(s.w) + "+" + std::to_string(s.misaligned);
      };
      for (const Planes& s : kPlanes)
        add(name("NCHW", s), [=] { filters(dtype, kind, s, false, is_flipped); });
      for (const Planes& s : kPixels)
        add(name("NHWC", s), [=] { filters(dtype, kind, s, true, is_flipped); });
    }
});

}  // namespace
}  // namespace fastgan::driver
