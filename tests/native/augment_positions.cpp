// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/augment_positions/augment_positions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "driver.h"

namespace fastgan::driver {
namespace {

#if defined(FASTGAN_EMULATOR)

struct Shape {
  int64_t images, height, width;
};

// A position folded into the image one step at a time.
double reflect(double position, int64_t size) {
  const double last = double(size - 1);
  if (size == 1) return 0;
  while (position < 0 || position > last) position = position < 0 ? -position : 2 * last - position;
  return position;
}

AugmentPositionsParams params(const Floats& inverse, void* out, const Shape& shape) {
  AugmentPositionsParams p{};
  p.inverse = inverse.data();
  p.out = out;
  p.images = shape.images;
  p.height = shape.height;
  p.width = shape.width;
  p.dtype = inverse.dtype();
  return p;
}

void indexes(DType dtype, const Shape& shape) {
  const auto [images, height, width] = shape;
  Floats inverse("inverse", dtype, images * 9);
  Memory out("out", 8 * images * height * width);
  inverse.fill(-1, 1);
  for (int64_t n = 0; n < images; ++n) {
    const bool is_turned = n % 2 == 1 && height == width;
    const double sign = n % 3 == 0 ? -1 : 1;
    const std::array<double, 9> matrix = {is_turned ? 0 : sign,
                                          is_turned ? -1.0 : 0,
                                          double(n * 7 - 20),
                                          is_turned ? sign : 0,
                                          is_turned ? 0 : 1.0,
                                          double(30 - n * 5),
                                          0,
                                          0,
                                          1};
    for (int64_t k = 0; k < 9; ++k) inverse.set(n * 9 + k, matrix[size_t(k)]);
  }
  AugmentPositionsParams p = params(inverse, out.data(), shape);
  p.rows = height;
  p.columns = width;
  expect_ok(augment_positions_kernels().index(p, exec()));
  for (int64_t i = 0; i < images * height * width; ++i) {
    const int64_t n = i / (height * width), row = i / width % height, column = i % width;
    const double x = double(column) - double(width - 1) / 2,
                 y = double(row) - double(height - 1) / 2;
    auto entry = [&, n = n](int64_t k) { return inverse[n * 9 + k]; };
    const double u = entry(0) * x + entry(1) * y + entry(2) + double(width - 1) / 2;
    const double v = entry(3) * x + entry(4) * y + entry(5) + double(height - 1) / 2;
    const int64_t want = int64_t(reflect(v, height)) * width + int64_t(reflect(u, width));
    if (out.at<int64_t>(i) != want) return fail("index " + std::to_string(i) + " is another");
  }
}

void grids(DType dtype, const Shape& shape, int64_t lead) {
  const auto [images, height, width] = shape;
  const int64_t rows = 2 * (height + lead), columns = 2 * (width + lead);
  const double center = 0.375;
  Floats inverse("inverse", dtype, images * 9), out("out", dtype, images * rows * columns * 2);
  inverse.fill(-2, 2);
  AugmentPositionsParams p = params(inverse, out.data(), shape);
  p.rows = rows;
  p.columns = columns;
  p.lead = lead;
  p.center = center;
  expect_ok(augment_positions_kernels().grid(p, exec()));
  std::vector<Exact> want;
  for (int64_t i = 0; i < images * rows * columns; ++i) {
    const int64_t n = i / (rows * columns), row = i / columns % rows, column = i % columns;
    const double x = (double(column - lead) - center) / 2 - double(width - 1) / 2;
    const double y = (double(row - lead) - center) / 2 - double(height - 1) / 2;
    for (int64_t axis = 0; axis < 2; ++axis) {
      const int64_t size = axis == 0 ? width : height;
      auto entry = [&, n = n](int64_t k) { return inverse[n * 9 + axis * 3 + k]; };
      const double at = entry(0) * x + entry(1) * y + entry(2) + double(size - 1) / 2;
      // What is added up before the position is mirrored, in units of half the image.
      const double reach =
          std::fabs(entry(0) * x) + std::fabs(entry(1) * y) + std::fabs(entry(2)) + double(size);
      const double value = (2 * (2 * reflect(at, size) + center) + 1) / double(2 * size) - 1;
      want.push_back({value, 2 + 2 * reach / double(size)});
    }
  }
  expect_close(out, want);
}

#endif

const bool kRegistered = add_cases("augment_positions", []([[maybe_unused]] Adder add) {
#if defined(FASTGAN_EMULATOR)
  for (DType dtype : {DType::kFloat32, DType::kFloat64})
    for (const Shape& shape :
         {Shape{0, 4, 4}, {2, 1, 1}, {3, 1, 5}, {3, 6, 1}, {4, 9, 9}, {2, 3, 7}, {3, 17, 20}}) {
      const std::string name = name_of(dtype) + " " + std::to_string(shape.images) + "x" +
                               std::to_string(shape.height) + "x" + std::to_string(shape.width);
      add("index " + name, [=] { indexes(dtype, shape); });
      add("grid " + name, [=] { grids(dtype, shape, 5); });
    }
#endif
});

}  // namespace
}  // namespace fastgan::driver
