// SPDX-License-Identifier: Apache-2.0
// The register-blocked matrix product: kRows × kVectors vectors of sums that stay in registers.
#pragma once

#include "transform_tile.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// What one element type computes with. Float32 takes the vectors of the instruction set; float64,
// which is there so that derivatives can be checked, is scalar.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kConvRows = 8, kWeightRows = 8;  // 32 registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kConvRows = 6, kWeightRows = 6;  // 16 registers
#else
constexpr int kVectorBytes = 16, kConvRows = 4, kWeightRows = 4;  // 16, and products take one
#endif
typedef float FloatVector __attribute__((vector_size(kVectorBytes)));

struct Float32 {
  using T = float;
  using V = FloatVector;
  static constexpr int conv_rows = kConvRows, weight_rows = kWeightRows;
};
struct Float64 {
  using T = double;
  using V = double;
  static constexpr int conv_rows = 2, weight_rows = 2;
};

constexpr int kVectors = 2;
template <class M>
constexpr int64_t kLanes = int64_t(sizeof(typename M::V) / sizeof(typename M::T));
template <class M>
constexpr int64_t kPanel = kVectors * kLanes<M>;  // columns of one product

// sums[r][v] += Σ_i a[i · a_step + r · kRowStride] · b[i · b_step + v-th vector]
template <class M, int kRows, int64_t kRowStride>
inline __attribute__((always_inline)) void multiply(const typename M::T* a, int64_t a_step,
                                                    const typename M::T* b, int64_t b_step,
                                                    int64_t depth,
                                                    typename M::V (&sums)[kRows][kVectors]) {
  using V = typename M::V;
  for (int64_t i = 0; i < depth; ++i, a += a_step, b += b_step) {
    V columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = load_lanes<V>(b + v * kLanes<M>);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const V row = a[r * kRowStride] - V{};  // minus zero, unlike plus, changes no value: no code
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] += row * columns[v];
    }
  }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
