// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/modulate/modulate.h"

#include "driver.h"

namespace fastgan::driver {
namespace {

// Element i of the maps belongs to this row of [n, channels].
int64_t channel_of(const Maps& maps, int64_t i) {
  if (!maps.is_channels_last) return i / maps.pixels;
  return i / (maps.channels * maps.pixels) * maps.channels + i % maps.channels;
}

int64_t size_of(const Maps& maps) { return maps.n * maps.channels * maps.pixels; }

void modulates(const Maps& maps, bool is_s_wide, int64_t misaligned) {
  const int64_t numel = size_of(maps);
  Floats x("x", maps.dtype, numel, misaligned), y("y", maps.dtype, numel, misaligned);
  Floats s("s", is_s_wide ? sum_type(maps.dtype) : maps.dtype, maps.n * maps.channels);
  x.fill(-2, 2);
  s.fill(-2, 2);
  expect_ok(modulate_kernels().modulate({x.data(), s.data(), y.data(), is_s_wide, maps}, exec()));
  std::vector<Exact> want(static_cast<size_t>(numel));
  for (int64_t i = 0; i < numel; ++i) want[size_t(i)].add(x[i] * s[channel_of(maps, i)]);
  expect_close(y, want);
}

void dots(const Maps& maps, int64_t misaligned) {
  const int64_t numel = size_of(maps), count = maps.n * maps.channels;
  const int64_t slices = numel == 0 ? 1 : modulate_kernels().slices(maps);
  Floats x("x", maps.dtype, numel, misaligned), y("y", maps.dtype, numel, misaligned);
  Floats z("z", sum_type(maps.dtype), count);
  Floats scratch("scratch", sum_type(maps.dtype), slices > 1 ? slices * count : 0);
  x.fill(-2, 2);
  y.fill(-2, 2);
  expect_ok(
      modulate_kernels().dot({x.data(), y.data(), z.data(), scratch.data(), slices, maps}, exec()));
  if (numel == 0) return;
  std::vector<Exact> want(static_cast<size_t>(count));
  for (int64_t i = 0; i < numel; ++i) want[size_t(channel_of(maps, i))].add(x[i] * y[i]);
  expect_close(z, want, maps.pixels > 512 ? 4 : 1);  // a thread adds hundreds of terms
}

// Both gradients in one pass, where the kernels do that.
void gradients(const Maps& maps, bool is_s_wide, int64_t misaligned) {
  const int64_t numel = size_of(maps), count = maps.n * maps.channels;
  Floats dz("dz", maps.dtype, numel, misaligned), x("x", maps.dtype, numel, misaligned);
  Floats dx("dx", maps.dtype, numel, misaligned), ds("ds", sum_type(maps.dtype), count);
  Floats s("s", is_s_wide ? sum_type(maps.dtype) : maps.dtype, count);
  dz.fill(-2, 2);
  x.fill(-2, 2);
  s.fill(-2, 2);
  ModulateBackwardParams p{};
  p.dz = dz.data();
  p.x = x.data();
  p.s = s.data();
  p.dx = dx.data();
  p.ds = ds.data();
  p.is_s_wide = is_s_wide;
  p.maps = maps;
  p.slices = numel == 0 ? 0 : modulate_kernels().backward_slices(p);
  if (p.slices == 0) return;
  Floats scratch("scratch", sum_type(maps.dtype), p.slices > 1 ? p.slices * count : 0);
  p.scratch = scratch.data();
  expect_ok(modulate_kernels().backward(p, exec()));
  std::vector<Exact> want_dx(static_cast<size_t>(numel)), want_ds(static_cast<size_t>(count));
  for (int64_t i = 0; i < numel; ++i) {
    want_dx[size_t(i)].add(dz[i] * s[channel_of(maps, i)]);
    want_ds[size_t(channel_of(maps, i))].add(dz[i] * x[i]);
  }
  expect_close(dx, want_dx);
  expect_close(ds, want_ds, maps.pixels > 512 ? 4 : 1);
}

const bool kRegistered = add_cases("modulate", [](Adder add) {
  struct Shape {
    int64_t n, channels, pixels, misaligned;
  };
  for (DType dtype : kDTypes) {
    for (bool is_channels_last : {false, true}) {
      for (const Shape& shape : {Shape{0, 3, 5, 0},
                                 {1, 1, 1, 0},
                                 {2, 3, 7, 0},
                                 {2, 3, 64, 0},
                                 {2, 16, 9, 0},
                                 {3, 8, 16, 1},
                                 {2, 24, 33, 0},
                                 {1, 520, 6, 0}}) {
        const Maps maps{shape.n, shape.channels, shape.pixels, is_channels_last, dtype};
        const std::string name = name_of(dtype) + (is_channels_last ? " channels last " : " ") +
                                 std::to_string(shape.n) + "x" + std::to_string(shape.channels) +
                                 "x" + std::to_string(shape.pixels) + "+" +
                                 std::to_string(shape.misaligned);
        const int64_t misaligned = shape.misaligned;
        add("modulate " + name, [=] { modulates(maps, false, misaligned); });
        add("modulate wide " + name, [=] { modulates(maps, true, misaligned); });
        add("dot " + name, [=] { dots(maps, misaligned); });
        add("gradients " + name, [=] { gradients(maps, false, misaligned); });
        add("gradients wide " + name, [=] { gradients(maps, true, misaligned); });
      }
    }
    for (bool is_wide : {false, true}) {  // several pieces and blocks of rows
      const std::string name = name_of(dtype) + (is_wide ? " wide" : "");
      add("gradients slices " + name, [=] { gradients({1, 1, 18440, false, dtype}, is_wide, 0); });
      add("gradients slices channels last " + name,
          [=] { gradients({2, 8, 1100, true, dtype}, is_wide, 0); });
      add("gradients rows channels last " + name,
          [=] { gradients({1, 24, 600, true, dtype}, is_wide, 0); });
    }
    add("dot slices " + name_of(dtype), [=] { dots({1, 3, 4099, false, dtype}, 0); });
    add("dot slices channels last " + name_of(dtype), [=] { dots({1, 8, 1030, true, dtype}, 0); });
    add("dot odd slices channels last " + name_of(dtype),
        [=] { dots({1, 3, 4100, true, dtype}, 1); });
  }
});

}  // namespace
}  // namespace fastgan::driver
