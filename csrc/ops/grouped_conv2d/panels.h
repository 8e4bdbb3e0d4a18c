// SPDX-License-Identifier: Apache-2.0
// What both passes share: element types, the panels that outputs are computed in, tiles of pixels.
//
// A panel is one vector of output channels together with all input channels that its groups read:
// groups narrower than a vector share a panel, whose weights between groups are zero.
#pragma once

#include "../../common/winograd/f43.h"
#include "grouped_conv2d.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// kRows sums of one vector each stay in registers.
#if defined(__AVX512F__)
constexpr int kGroupVectorBytes = 64, kRows = 16;  // 32 registers
#elif defined(__AVX__)
constexpr int kGroupVectorBytes = 32, kRows = 8;  // 16 registers
#else
constexpr int kGroupVectorBytes = 16, kRows = 8;  // 16, and products take one
#endif
typedef float GroupVector __attribute__((vector_size(kGroupVectorBytes)));

struct Float32 {
  using T = float;
  using V = GroupVector;
  static constexpr int rows = kRows;
};
struct Float64 {
  using T = double;
  using V = double;
  static constexpr int rows = 4;
};

template <class M>
constexpr int64_t kWidth = int64_t(sizeof(typename M::V) / sizeof(typename M::T));

constexpr int64_t kChunk = 16;      // input channels whose transformed tiles lie side by side
constexpr int64_t kBlock = 16;      // tiles; divisible by all rows, as kChunk is
constexpr int64_t kMostPanels = 8;  // of one task: their weights or sums stay in the L2 cache
constexpr int64_t kTaps = kTap * kTap;
constexpr int kTile = 6, kPositions = kTile * kTile, kOut = 4;  // of F(4, 3)
constexpr int64_t kInputPlane = kBlock * kChunk + kSkew;        // of one chunk and position

struct Panel {
  int64_t k, columns;  // first output channel, and how many
  int64_t c, depth;    // input channels
};

// Whether the transformed inputs of `other` serve `panel`, too.
inline bool reads_the_same(const Panel& panel, const Panel& other) {
  return panel.c == other.c && panel.depth <= other.depth;
}

template <class M>
struct Panels {
  int64_t ci, ko, k, count;
  explicit Panels(const GroupedShape& s)
      : ci(s.c / s.groups), ko(s.k / s.groups), k(s.k), count(divide_up(s.k, kWidth<M>)) {}

  Panel at(int64_t panel) const {
    const int64_t k0 = panel * kWidth<M>, columns = smaller(kWidth<M>, k - k0);
    const int64_t first = k0 / ko, last = (k0 + columns - 1) / ko;
    return {k0, columns, first * ci, (last - first + 1) * ci};
  }
  int64_t most_depth() const {
    constexpr int64_t width = kWidth<M>;
    return ci * (ko % width == 0 ? 1 : width % ko == 0 ? width / ko : (width - 2) / ko + 2);
  }
  int64_t chunks() const { return divide_up(most_depth(), kChunk); }
};

struct TileGrid {
  int64_t rows, columns, count;
  explicit TileGrid(const GroupedShape& s)
      : rows(divide_up(s.oh, kOut)), columns(divide_up(s.ow, kOut)), count(s.n * rows * columns) {}
};

// Where the kSize × kSize pixels of each tile of a block are, channel 0; outside the map,
// `outside`: zeros to read, or what nobody reads.
template <int kSize, class T>
struct Pixels {
  T* at[kBlock][kSize * kSize];

  void find(T* map, int64_t h, int64_t w, int64_t c, const TileGrid& grid, int64_t first,
            int64_t count, int64_t pad_y, int64_t pad_x, T* outside) {
    for (int64_t t = 0; t < count; ++t) {
      const int64_t tile = first + t, n = tile / (grid.rows * grid.columns);
      const int64_t y = tile / grid.columns % grid.rows * kOut - pad_y;
      const int64_t x = tile % grid.columns * kOut - pad_x;
      for (int i = 0; i < kSize; ++i) {
        const bool is_row = y + i >= 0 && y + i < h;
        T* row = map + (n * h + (is_row ? y + i : 0)) * w * c;
        for (int j = 0; j < kSize; ++j)
          at[t][i * kSize + j] = is_row && x + j >= 0 && x + j < w ? row + (x + j) * c : outside;
      }
    }
  }
};

// Channels [c, c + count) of one tile to out[position · plane + channel].
template <class V, class Transform, class T>
inline int64_t transform_lanes(T* const* pixels, int64_t c, int64_t begin, int64_t count, T* out,
                               int64_t plane) {
  constexpr int64_t lanes = int64_t(sizeof(V) / sizeof(T));
  int64_t lane = begin;
  for (; lane + lanes <= count; lane += lanes) {
    transform_tile<V, Transform>(
        [&](int i, int j) { return load_lanes<V>(pixels[i * Transform::kFrom + j] + c + lane); },
        [&](int i, int j, V v) { store_lanes(out + (i * kTile + j) * plane + lane, v); });
  }
  return lane;
}

template <class M, class Transform>
__attribute__((noinline)) void transform_block(
    typename M::T* const (*pixels)[Transform::kFrom * Transform::kFrom], int64_t tiles, int64_t c,
    int64_t count, typename M::T* out, int64_t step, int64_t plane) {
  using T = typename M::T;
  for (int64_t t = 0; t < tiles; ++t, out += step) {
    const int64_t done =
        transform_lanes<typename M::V, Transform>(pixels[t], c, 0, count, out, plane);
    transform_lanes<T, Transform>(pixels[t], c, done, count, out, plane);
  }
}

// The transformed tiles of a panel's inputs: inputs[chunk][position][tile][channel].
template <class M>
inline void transform_inputs(const Pixels<kTile, typename M::T>& pixels, int64_t tiles,
                             const Panel& panel, typename M::T* inputs) {
  for (int64_t c = 0; c < panel.depth; c += kChunk, inputs += kPositions * kInputPlane)
    transform_block<M, InputTransform<typename M::T>>(pixels.at, tiles, panel.c + c,
                                                      smaller(kChunk, panel.depth - c), inputs,
                                                      kChunk, kInputPlane);
}

// sums[r] += Σ_i a[i · a_step + r · kRowStep] · b[i], b's being vectors one after another
template <class M, int kRowStep, int kCount>
inline __attribute__((always_inline)) void multiply(const typename M::T* a, int64_t a_step,
                                                    const typename M::T* b, int64_t depth,
                                                    typename M::V (&sums)[kCount]) {
  using V = typename M::V;
  for (int64_t i = 0; i < depth; ++i, a += a_step, b += kWidth<M>) {
    const V column = load_lanes<V>(b);
#pragma GCC unroll 16
    for (int r = 0; r < kCount; ++r) {
      const V row = a[r * kRowStep] - V{};  // minus zero, unlike plus, changes no value: no code
      sums[r] += row * column;
    }
  }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
