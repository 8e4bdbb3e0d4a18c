// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/sample_random/sample_random.h"

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "driver.h"

namespace fastgan::driver {
namespace {

constexpr int64_t kOffset = -5, kFirst = 3, kStride = 7, kBegin = 11;

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

struct Key : Memory {
  Key() : Memory("key", 8) {
    at<int64_t>(0) = int64_t(0x0123456789ABCDEFu);
    freeze();
  }
  uint64_t word(int64_t row, int64_t j) const {
    const uint64_t key = uint64_t(at<int64_t>(0)) + uint64_t(kOffset);
    const uint64_t k = mix(key + uint64_t(kFirst + row * kStride) * kSampleGamma);
    return mix(k + uint64_t(kBegin + j) * kSampleGamma);
  }
};

SampleRandomParams params(const Key& key, void* out, int64_t rows, int64_t size) {
  SampleRandomParams p{};
  p.out = out;
  p.key = &key.at<int64_t>(0);
  p.offset = kOffset;
  p.first = kFirst;
  p.stride = kStride;
  p.begin = kBegin;
  p.rows = rows;
  p.size = p.words = size;
  return p;
}

void words(int64_t rows, int64_t size) {
  Key key;
  Memory out("out", 8 * rows * size);
  SampleRandomParams p = params(key, out.data(), rows, size);
  p.is_integral = true;
  expect_ok(sample_random_kernels().words(p, exec()));
  for (int64_t i = 0; i < rows * size; ++i)
    if (out.at<uint64_t>(i) != key.word(i / size, i % size))
      return fail("word " + std::to_string(i) + " is another");
}

#if defined(FASTGAN_EMULATOR)

void integers(int64_t rows, int64_t size) {
  Key key;
  Memory out("out", 8 * rows * size);
  SampleRandomParams p = params(key, out.data(), rows, size);
  p.is_integral = true;
  p.low = -3;
  p.range = 1000003;
  expect_ok(sample_random_kernels().integers(p, exec()));
  for (int64_t i = 0; i < rows * size; ++i) {
    const uint64_t top = key.word(i / size, i % size) >> 32;
    if (out.at<int64_t>(i) != int64_t(top * 1000003u >> 32) - 3)
      return fail("integer " + std::to_string(i) + " is another");
  }
}

void uniforms(DType dtype, int64_t rows, int64_t size, int64_t misaligned) {
  Key key;
  Floats out("out", dtype, rows * size, misaligned);
  SampleRandomParams p = params(key, out.data(), rows, size);
  p.dtype = dtype;
  expect_ok(sample_random_kernels().uniform(p, exec()));
  std::vector<Exact> want(static_cast<size_t>(rows * size));
  for (int64_t i = 0; i < rows * size; ++i)
    want[size_t(i)].add(std::ldexp(double(key.word(i / size, i % size) >> 11), -53));
  // float32 keeps 24 bits of the 53: up to one of its eps of 1 lower
  for (Exact& w : want) w.scale = 1;
  expect_close(out, want);
}

std::vector<Exact> exact_normals(const Key& key, int64_t begin, int64_t rows, int64_t size,
                                 double eps) {
  std::vector<Exact> want(static_cast<size_t>(rows * size));
  const int64_t words = (size + 1) / 2;
  for (int64_t i = 0; i < rows * size; ++i) {
    const int64_t row = i / size, j = i % size;
    const uint64_t word = key.word(row, begin - kBegin + j % words);
    const double a = std::fabs(double(int64_t(word) >> 32)), b = int32_t(uint32_t(word));
    const double radius = std::sqrt(-2 * std::log(a * 0x1p-31 + 0x1p-32));
    const double angle = b * 3.141592653589793 * 0x1p-31;
    // Of the rounding of u a small radius sees eps / radius.
    want[size_t(i)] = {radius * (j < words ? std::cos(angle) : std::sin(angle)),
                       2 * (radius + 1 / (radius + std::sqrt(eps)))};
  }
  return want;
}

void normals(DType dtype, int64_t rows, int64_t size, int64_t misaligned) {
  Key key;
  Floats out("out", dtype, rows * size, misaligned);
  SampleRandomParams p = params(key, out.data(), rows, size);
  p.words = (size + 1) / 2;
  p.dtype = dtype;
  expect_ok(sample_random_kernels().normal(p, exec()));
  const double eps = dtype == DType::kFloat64 ? 0x1p-52 : 0x1p-23;
  expect_close(out, exact_normals(key, kBegin, rows, size, eps));
}

// Tensors of unequal sizes, whose words follow each other.
void several(int64_t rows, const std::vector<int64_t>& sizes) {
  Key key;
  SampleNormalsParams p{};
  std::vector<std::unique_ptr<Floats>> outs;
  int64_t begin = kBegin;
  for (int64_t size : sizes) {
    outs.push_back(std::make_unique<Floats>("out", DType::kFloat32, rows * size));
    SampleRandomParams& one = p.tensors[p.count++];
    one = params(key, outs.back()->data(), rows, size);
    one.words = (size + 1) / 2;
    one.begin = begin;
    one.dtype = DType::kFloat32;
    begin += one.words;
  }
  expect_ok(sample_random_kernels().normals(p, exec()));
  begin = kBegin;
  for (size_t k = 0; k < sizes.size(); ++k) {
    expect_close(*outs[k], exact_normals(key, begin, rows, sizes[k], 0x1p-23));
    begin += (sizes[k] + 1) / 2;
  }
}

#endif

const bool kRegistered = add_cases("sample_random", [](Adder add) {
#if defined(FASTGAN_EMULATOR)
  add("several 3", [] { several(3, {16, 63, 1, 0, 1000}); });
  add("several 1", [] { several(1, {7}); });
  add("several 0", [] { several(0, {7, 8}); });
#endif
  for (auto [rows, size] :
       {std::array<int64_t, 2>{0, 5}, {1, 1}, {3, 7}, {2, 257}, {5, 300}, {600, 1}, {2, 0}}) {
    const std::string name = std::to_string(rows) + "x" + std::to_string(size);
    add("words " + name, [=] { words(rows, size); });
#if defined(FASTGAN_EMULATOR)
    add("integers " + name, [=] { integers(rows, size); });
    for (DType dtype : kDTypes)
      for (int64_t misaligned : {0, 1}) {
        const std::string full = name_of(dtype) + " " + name + "+" + std::to_string(misaligned);
        add("uniform " + full, [=] { uniforms(dtype, rows, size, misaligned); });
        add("normal " + full, [=] { normals(dtype, rows, size, misaligned); });
      }
#endif
  }
});

}  // namespace
}  // namespace fastgan::driver
