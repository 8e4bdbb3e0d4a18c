// SPDX-License-Identifier: Apache-2.0
// CPU kernel of sample_random: the words alone. What torch's functions make of them has their bits.
#include "../../common/cpu.h"
#include "sample_random.h"

namespace fastgan::FASTGAN_ISA {
namespace {

inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

int words(const SampleRandomParams& p, const Exec& exec) {
  if (p.rows == 0 || p.words == 0) return 0;
  const uint64_t key = uint64_t(*p.key) + uint64_t(p.offset);
  auto range = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t row = i / p.words, j = i - row * p.words;
      const int64_t length = smaller(p.words - j, end - i);
      const uint64_t sample = uint64_t(p.first) + uint64_t(row) * uint64_t(p.stride);
      const uint64_t k = mix(key + sample * kSampleGamma);
      uint64_t* out = static_cast<uint64_t*>(p.out) + i;
      const uint64_t at = k + (uint64_t(p.begin) + uint64_t(j)) * kSampleGamma;
#pragma omp simd
      for (int64_t q = 0; q < length; ++q) out[q] = mix(at + uint64_t(q) * kSampleGamma);
      i += length;
    }
  };
  parallel(exec, p.rows * p.words, kGrainBytes / 8, range);
  return 0;
}

}  // namespace

extern const SampleRandomKernels sample_random;
const SampleRandomKernels sample_random = {words, nullptr, nullptr, nullptr, nullptr};

}  // namespace fastgan::FASTGAN_ISA
