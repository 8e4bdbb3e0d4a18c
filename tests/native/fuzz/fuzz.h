// SPDX-License-Identifier: Apache-2.0
// What the fuzzing harness of one op is written with. ops/<op>.cpp includes the op's
// binding, whose functions no header declares, and defines fuzz_one(), which decodes a fuzzer's
// bytes to arguments, mostly valid ones, and calls a function of the binding. A binding refuses
// with an exception; whatever a sanitizer or the emulator reports is a finding.
//
// fuzz.py builds each harness with libFuzzer, or with blind.cpp where clang is missing.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "../../../csrc/common/binding.h"

namespace fastgan::fuzz {

using Sizes = std::vector<int64_t>;

// Reads a fuzzer's bytes; after the last one they are 0, which stands for the most usual choice.
// What it gave lives as long as it does.
class Draw {
 public:
  Draw(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  uint8_t byte() { return at_ < end_ ? *at_++ : 0; }
  int64_t number(int64_t count) { return byte() % count; }  // 0 to count - 1, at most 255
  bool flip() { return byte() & 1; }
  bool rarely() { return byte() % 16 == 15; }

  // Of one dimension; now and then 0.
  int64_t size();
  // [.., ..] of this many dimensions, together at most kMostElements elements.
  Sizes sizes(int64_t dims);
  // One of `usual`; now and then any number, such as the largest.
  int64_t integer(std::initializer_list<int64_t> usual);
  double real();  // now and then NaN or infinite
  std::optional<double> maybe_real();
  StringHandle text(std::initializer_list<const char*> usual);
  ScalarType dtype();       // float64, float32, bfloat16, float16; now and then an integer
  ScalarType wide_dtype();  // float32 or float64

  // Of these sizes and this type but now and then another, in any layout, with what lies around its
  // elements outside of the allocation. Floats are now and then NaN or infinite.
  Tensor tensor(ScalarType type, const Sizes& sizes);
  // Contiguous, as an op wants what it writes to; now and then not.
  Tensor buffer(ScalarType type, const Sizes& sizes);
  std::optional<Tensor> maybe(ScalarType type, const Sizes& sizes);

 private:
  Tensor made(ScalarType type, const Sizes& sizes, const Sizes& strides);
  void spoil(ScalarType& type, Sizes& sizes);

  const uint8_t *at_, *end_;
  std::vector<std::unique_ptr<unsigned char[]>> memory_;
};

// float64 for float64, else float32: of sums, parameters and filters.
inline ScalarType wide(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline int64_t product(const Sizes& sizes) {
  int64_t count = 1;
  for (int64_t n : sizes) count *= n;
  return count;
}

}  // namespace fastgan::fuzz

namespace fastgan {

// Defined by the harness of the op: one call of one function of its binding.
void fuzz_one(fuzz::Draw& d);

}  // namespace fastgan
