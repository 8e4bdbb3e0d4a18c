// SPDX-License-Identifier: Apache-2.0
// What every Winograd kernel transforms tiles with.
#pragma once

#include "../cpu.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int kTap = 3;
constexpr int64_t kSkew = 16;  // elements that keep planes out of each other's cache sets

inline int64_t round_up(int64_t n, int64_t to) { return divide_up(n, to) * to; }

template <class V>
inline V load_lanes(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
}
template <class V>
inline void store_lanes(void* p, V v) {
  std::memcpy(p, &v, sizeof(V));
}

// Both dimensions of one tile, for as many channels as V has lanes: read(row, column) gives, and
// write(row, column, value) takes.
template <class V, class Transform, class Read, class Write>
inline __attribute__((always_inline)) void transform_tile(Read&& read, Write&& write) {
  V columns[Transform::kTo][Transform::kFrom];
#pragma GCC unroll 9
  for (int j = 0; j < Transform::kFrom; ++j) {
    V from[Transform::kFrom], to[Transform::kTo];
#pragma GCC unroll 9
    for (int i = 0; i < Transform::kFrom; ++i) from[i] = read(i, j);
    Transform::apply(from, to);
#pragma GCC unroll 9
    for (int i = 0; i < Transform::kTo; ++i) columns[i][j] = to[i];
  }
#pragma GCC unroll 9
  for (int i = 0; i < Transform::kTo; ++i) {
    V to[Transform::kTo];
    Transform::apply(columns[i], to);
#pragma GCC unroll 9
    for (int j = 0; j < Transform::kTo; ++j) write(i, j, to[j]);
  }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
