// SPDX-License-Identifier: Apache-2.0
// Products of float32 matrices on AMX, which multiplies bfloat16: each number is split into three
// of these, and six of their nine products are summed in float32.
//
//   v = h + m + l        each the nearest bfloat16 to what is left, so that nothing is
//   a b ≈ l h + m h + m m + h m + h l, then h h      what is left out is below 2⁻²⁴ |a b|
//
// The five small products are summed before the large one, whose sum then rounds as that of float32
// products does. AMX takes numbers below 2⁻¹²⁶ for 0; the lower parts of numbers below 2⁻¹⁰² are.
// For <op>_cpu.cpp compiled for AVX-512. Source: Henry, Tang & Heinecke, "Leveraging the bfloat16
// Artificial Intelligence Datatype For Higher-Precision Computations" (2019).
#pragma once

#include <immintrin.h>

#include "../cpu.h"

namespace fastgan::FASTGAN_ISA {
namespace {
namespace amx {

constexpr int kParts = 3;              // of a number: h, m, l
constexpr int64_t kRows = 16;          // of a tile of a or of the sums; columns of a tile of b
constexpr int64_t kDepth = 32;         // of a product: columns of a, rows of b two by two
constexpr int64_t kTileBytes = 1024;   // 16 rows of 64 bytes
constexpr int64_t kBlock = 2 * kRows;  // rows and columns of the sums of one product

inline int64_t round_up(int64_t n, int64_t to) { return divide_up(n, to) * to; }

struct Parts {
  __m512i part[kParts];  // bfloat16 in the upper halves of 32-bit lanes, zeros below
};

// Rounds to nearest, halves away from zero; toward zero where the exponent is the greatest or the
// next: no number becomes an infinity by it, and no NaN a number.
inline __attribute__((always_inline)) Parts split(__m512 v) {
  const __m512i half = _mm512_set1_epi32(0x8000), mask = _mm512_set1_epi32(int(0xffff0000u));
  const __m512i huge = _mm512_set1_epi32(0x7f000000);
  const __mmask16 is_rounded =
      _mm512_cmpneq_epi32_mask(_mm512_and_si512(_mm512_castps_si512(v), huge), huge);
  Parts p;
  for (int i = 0; i < kParts; ++i) {
    const __m512i bits = _mm512_castps_si512(v);
    p.part[i] = _mm512_and_si512(_mm512_mask_add_epi32(bits, is_rounded, bits, half), mask);
    v = _mm512_sub_ps(v, _mm512_castsi512_ps(p.part[i]));
  }
  return p;
}

// The upper halves of lanes in the lower ones. (_mm512_srli_epi32 makes GCC warn of its own
// header.)
inline __attribute__((always_inline)) __m512i lower(__m512i v) {
  typedef uint32_t Words __attribute__((vector_size(64)));
  return (__m512i)((Words)v >> 16);
}

// Lane i of a below lane i of b.
inline __attribute__((always_inline)) __m512i pair_lanes(__m512i a, __m512i b) {
  return _mm512_or_si512(lower(a), b);
}

// The lanes of a, then those of b, 16 bits each.
inline __attribute__((always_inline)) __m512i join_lanes(__m512i a, __m512i b) {
  alignas(64) static constexpr uint16_t upper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                     23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                     45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  return _mm512_permutex2var_epi16(a, _mm512_load_si512(upper), b);
}

inline __mmask16 first_lanes(int64_t count) {
  return count >= kRows ? __mmask16(-1) : count <= 0 ? __mmask16(0) : __mmask16((1u << count) - 1u);
}

// v[i][j] becomes v[j][i].
inline void transpose(__m512 (&v)[kRows]) {
  __m512 t[kRows];
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows / 2; ++i) {
      t[2 * i] = _mm512_permutex2var_ps(v[i], low, v[i + kRows / 2]);
      t[2 * i + 1] = _mm512_permutex2var_ps(v[i], high, v[i + kRows / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) v[i] = t[i];
  }
}

// Sanitizers do not see what the instructions of tiles read: under them, plain code reads it, too.
inline void read_in_sight([[maybe_unused]] const char* from, [[maybe_unused]] int64_t row) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  for (int64_t i = 0; i < kRows; ++i)
    for (int64_t at = 0; at < 64; at += 63)
      static_cast<void>(*static_cast<const volatile char*>(from + i * row + at));
#endif
}

// Tile registers 0 to 3 are the sums, [row tile, column tile]; 4 and 5 are a's, 6 and 7 b's.
template <int tile>
inline __attribute__((always_inline)) void load_tile(const char* from, int64_t row) {
  read_in_sight(from, row);
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row), "i"(tile) : "memory");
}
template <int tile>
inline __attribute__((always_inline)) void store_tile(float* to, int64_t row) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row), "i"(tile) : "memory");
}
template <int tile>
inline __attribute__((always_inline)) void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(tile));
}
template <int sum, int a, int b>
inline __attribute__((always_inline)) void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

// Eight whole tiles, for as long as this lives, in this thread.
struct Tiles {
  Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, zeros[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~Tiles() { asm volatile("tilerelease"); }
};

// Where both sides of a sum of products lie, in bytes. Its steps are of kDepth: `inner` of them for
// each of the `outer` places of a; b's follow each other.
struct Walk {
  const char* a;  // [row tile, row, kDepth], of part h
  int64_t a_tile, a_row, a_part, a_step;
  const int64_t* a_places;
  int64_t outer, inner;
  const char* b;  // [column tile, kDepth / 2, kRows, 2], of part h
  int64_t b_tile, b_part, b_step;
};

template <int tile, int kTiles>
inline __attribute__((always_inline)) void load_pair(const char* from, int64_t next, int64_t row) {
  load_tile<tile>(from, row);
  if constexpr (kTiles == 2) load_tile<tile + 1>(from + next, row);
}

template <int kRowTiles, int kColumnTiles>
inline __attribute__((always_inline)) void multiply_pairs() {
  multiply_tiles<0, 4, 6>();
  if constexpr (kColumnTiles == 2) multiply_tiles<1, 4, 7>();
  if constexpr (kRowTiles == 2) multiply_tiles<2, 5, 6>();
  if constexpr (kRowTiles == 2 && kColumnTiles == 2) multiply_tiles<3, 5, 7>();
}

template <int kRowTiles, int kColumnTiles>
inline void multiply_tiled(const Walk& w, float* sums) {
  constexpr int64_t row = 64, sums_row = kBlock * int64_t(sizeof(float));
  clear_tile<0>();
  clear_tile<1>();
  clear_tile<2>();
  clear_tile<3>();
  auto load_a = [&](const char* a) { load_pair<4, kRowTiles>(a, w.a_tile, w.a_row); };
  auto load_b = [&](const char* b) { load_pair<6, kColumnTiles>(b, w.b_tile, row); };
  for (int pass = 0; pass < 2; ++pass) {
    const char* b = w.b;
    for (int64_t o = 0; o < w.outer; ++o) {
      const char* a = w.a + w.a_places[o];
      for (int64_t i = 0; i < w.inner; ++i, a += w.a_step, b += w.b_step) {
        if (pass == 0) {
          load_a(a + 2 * w.a_part);
          load_b(b);
          multiply_pairs<kRowTiles, kColumnTiles>();
          load_a(a + w.a_part);
          multiply_pairs<kRowTiles, kColumnTiles>();
          load_b(b + w.b_part);
          multiply_pairs<kRowTiles, kColumnTiles>();
          load_a(a);
          multiply_pairs<kRowTiles, kColumnTiles>();
          load_b(b + 2 * w.b_part);
          multiply_pairs<kRowTiles, kColumnTiles>();
        } else {
          load_a(a);
          load_b(b);
          multiply_pairs<kRowTiles, kColumnTiles>();
        }
      }
    }
  }
  store_tile<0>(sums, sums_row);
  if constexpr (kColumnTiles == 2) store_tile<1>(sums + kRows, sums_row);
  if constexpr (kRowTiles == 2) store_tile<2>(sums + kRows * kBlock, sums_row);
  if constexpr (kRowTiles == 2 && kColumnTiles == 2)
    store_tile<3>(sums + kRows * kBlock + kRows, sums_row);
}

// sums [kBlock, kBlock] = a b; of fewer than 17 rows or columns only the first tile's.
inline __attribute__((noinline)) void multiply(const Walk& w, int64_t rows, int64_t columns,
                                               float* sums) {
  if (rows > kRows)
    columns > kRows ? multiply_tiled<2, 2>(w, sums) : multiply_tiled<2, 1>(w, sums);
  else
    columns > kRows ? multiply_tiled<1, 2>(w, sums) : multiply_tiled<1, 1>(w, sums);
}

}  // namespace amx
}  // namespace
}  // namespace fastgan::FASTGAN_ISA
