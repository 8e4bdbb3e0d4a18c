// SPDX-License-Identifier: Apache-2.0
// sample_random: random numbers that belong to a sample, counted, not stepped: word j of sample s
// is mix(k(s) + j·γ) with k(s) = mix(key + offset + s·γ), modulo 2^64. What crosses from the
// binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"
#include "../../common/sample_gamma.h"

namespace fastgan {

// Row r of `out` belongs to sample first + r·stride and is made of its words begin, begin + 1, …
struct SampleRandomParams {
  void* out;           // [rows, size], contiguous
  const int64_t* key;  // []
  int64_t offset, first, stride, begin;
  int64_t rows, size;
  int64_t words;  // of each row: size, but (size + 1) / 2 for normal, of which a word gives two
  int64_t low, range;  // integers: of low … low + range - 1
  DType dtype;         // of out, where that is not int64
  bool is_integral;    // whether out is int64
};

// Normal float32 numbers of several tensors of as many rows, in one launch.
constexpr int kNormalTensors = 24;
struct SampleNormalsParams {
  SampleRandomParams tensors[kNormalTensors];
  int count;
};

struct SampleRandomKernels {
  int (*words)(const SampleRandomParams&, const Exec&);
  // Null on a CPU, where torch's functions make numbers of the words.
  int (*uniform)(const SampleRandomParams&, const Exec&);
  int (*integers)(const SampleRandomParams&, const Exec&);
  int (*normal)(const SampleRandomParams&, const Exec&);
  int (*normals)(const SampleNormalsParams&, const Exec&);
};

FASTGAN_KERNELS(SampleRandomKernels, sample_random)

}  // namespace fastgan
