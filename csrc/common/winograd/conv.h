// SPDX-License-Identifier: Apache-2.0
// Convolution: the weights are transformed once; then each block of tiles goes through all three
// stages (input transform, a matrix product per position, output transform) while it is in the
// cache.
#pragma once

#include "edges.h"
#include "tiles.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Input channels per chunk of transformed tiles: with their distance a constant, all rows of a
// product are reached from one pointer. 16 more elements keep rows out of each other's cache sets.
constexpr int64_t kChunk = 64, kChunkStride = 80;
constexpr int64_t kWeightInputs = 8;          // input channels of weights at a time
constexpr int64_t kOutputBlock = 64;          // output channels between two output transforms
constexpr int64_t kWeightElements = 5 << 19;  // most transformed weights at a time (10 MiB)

template <class M, class S>
struct Conv {
  using T = typename M::T;
  using V = typename M::V;
  using Input = typename S::template Input<T>;
  using Output = typename S::template Output<T>;
  using WeightTransform = typename S::template Weight<T>;

  static constexpr int kTaps = WeightTransform::kTo;  // transformed ones, in one dimension
  static constexpr int kSide = Input::kTo;            // positions, in one dimension
  static constexpr int kPositions = kSide * kSide;

  const WinogradConvParams& p;
  const WinogradShape& s;
  const Tiles tiles;
  const int64_t chunks;
  const int64_t weight_plane, input_plane, product_plane;  // elements between positions

  static constexpr int64_t kUsualStrips = S::kConvTiles / M::conv_rows;

  static int64_t weight_plane_of(const WinogradShape& s, int64_t group) {
    return round_up(round_up(group, kPanel<M>) * s.c, kSkew) + kSkew;
  }
  static int64_t input_plane_of(const WinogradShape& s, int64_t tiles) {
    return divide_up(s.c, kChunk) * tiles * kChunkStride + kSkew;
  }
  static int64_t product_plane_of(int64_t tiles) { return tiles * kOutputBlock + kSkew; }

  // Strips, of as many tiles as one product has rows, in the next block when `left` are left: the
  // last ones join, because each block reads all weights.
  static int64_t block_of(int64_t left) {
    return left <= 3 * kUsualStrips / 2 ? left : kUsualStrips;
  }

  static Tiles tiles_of(const WinogradShape& s) {
    return S::kIsAdjoint ? Tiles(s.n, s.h, s.w, S::kInStep) : Tiles(s.n, s.oh, s.ow, S::kOutStep);
  }

  static WinogradPlan plan(const WinogradShape& s, int64_t threads) {
    WinogradPlan plan{};
    const int64_t strips = divide_up(tiles_of(s).count, M::conv_rows);
    plan.workers = smaller(at_least_one(threads), at_least_one(strips));
    plan.blocks = strips;
    const int64_t rows =
        smaller(divide_up(strips, plan.workers), 3 * kUsualStrips / 2) * M::conv_rows;
    plan.tiles = rows;
    plan.scratch =
        round_up(s.c, kSkew) + kPositions * (input_plane_of(s, rows) + product_plane_of(rows));
    const int64_t most = kWeightElements / at_least_one(kTaps * kTaps * s.c) / kOutputBlock;
    plan.block_k = smaller(s.k, at_least_one(most) * kOutputBlock);
    plan.shared = kTaps * kTaps * weight_plane_of(s, plan.block_k);
    plan.edges = S::kIsAdjoint ? tiles_of(s).count * Edges<T>::kPixels * s.k : 0;
    return plan;
  }

  explicit Conv(const WinogradConvParams& params)
      : p(params),
        s(params.shape),
        tiles(tiles_of(params.shape)),
        chunks(divide_up(s.c, kChunk)),
        weight_plane(weight_plane_of(s, p.plan.block_k)),
        input_plane(input_plane_of(s, p.plan.tiles)),
        product_plane(product_plane_of(p.plan.tiles)) {}

  // weight of the group from k0 → shared [position, panel, c, column of the panel], zero beyond k.
  // By kWeightInputs input channels at a time: one by one, the strides of the weight and of the
  // positions would throw everything out of the cache.
  void transform_weights(int64_t k0, int64_t begin, int64_t end) const {
    constexpr int taps = kTap * kTap;
    T values[kWeightInputs][taps][kPanel<M>];
    int64_t offsets[taps];
    for (int tap = 0; tap < taps; ++tap)
      offsets[tap] = tap / kTap * p.stride_row + tap % kTap * p.stride_col;
    const int64_t blocks = divide_up(s.c, kWeightInputs);
    for (int64_t index = begin; index < end; ++index) {
      const int64_t panel = index / blocks, c0 = index % blocks * kWeightInputs;
      const int64_t k = k0 + panel * kPanel<M>, rows = smaller(kWeightInputs, s.c - c0);
      const T* w = static_cast<const T*>(p.weight) + k * p.stride_k + c0 * p.stride_c;
      for (int64_t lane = 0; lane < kPanel<M>; ++lane) {
        for (int64_t c = 0; c < rows; ++c) {
          const T* from = w + lane * p.stride_k + c * p.stride_c;
          for (int tap = 0; tap < taps; ++tap)
            values[c][tap][lane] = k + lane < s.k ? from[offsets[tap]] : T(0);
        }
      }
      T* out = static_cast<T*>(p.shared) + (panel * s.c + c0) * kPanel<M>;
      for (int64_t c = 0; c < rows; ++c) {
        for (int64_t v = 0; v < kPanel<M>; v += kLanes<M>) {
          transform_tile<V, WeightTransform>(
              [&](int i, int j) { return load_lanes<V>(values[c][i * kTap + j] + v); },
              [&](int i, int j, V value) {
                store_lanes(out + (i * kTaps + j) * weight_plane + c * kPanel<M> + v, value);
              });
        }
      }
    }
  }

  void transform_inputs(int64_t first, int64_t count, const T* zeros, T* inputs) const {
    constexpr int from = Input::kFrom;
    const int64_t pad_y = S::kIsAdjoint ? 0 : s.pad_y, pad_x = S::kIsAdjoint ? 0 : s.pad_x;
    for (int64_t t = 0; t < count; ++t) {
      const Place at(tiles, first + t);
      const T* pixels[from][from];
      find_pixels<from>(static_cast<const T*>(p.x), s.h, s.w, s.c, at.n,
                        at.row * S::kInStep - pad_y, at.column * S::kInStep - pad_x, zeros, pixels);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        transform_channels<M, Input>(pixels, smaller(kChunk, s.c - chunk * kChunk),
                                     inputs + (chunk * p.plan.tiles + t) * kChunkStride,
                                     input_plane);
        for (auto& row : pixels)
          for (const T*& pixel : row) pixel += kChunk;
      }
    }
  }

  // One position, one panel: products [tile, column] of all tiles of the block.
  __attribute__((noinline)) void product(const T* inputs, const T* weights, int64_t count,
                                         T* products) const {
    for (int64_t t = 0; t < count; t += M::conv_rows) {
      T* out = products + t * kOutputBlock;
      // Each chunk has a sum of its own: a sum of short sums keeps its last digits.
      for (int64_t chunk = 0; chunk < chunks || chunk == 0; ++chunk) {
        V sums[M::conv_rows][kVectors] = {};
        multiply<M, M::conv_rows, kChunkStride>(inputs + (chunk * p.plan.tiles + t) * kChunkStride,
                                                1, weights + chunk * kChunk * kPanel<M>, kPanel<M>,
                                                smaller(kChunk, s.c - chunk * kChunk), sums);
#pragma GCC unroll 16
        for (int r = 0; r < M::conv_rows; ++r) {
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) {
            T* at = out + r * kOutputBlock + v * kLanes<M>;
            store_lanes(at, chunk == 0 ? sums[r][v] : load_lanes<V>(at) + sums[r][v]);
          }
        }
      }
    }
  }

  template <class Lanes>
  int64_t transform_outputs(const T* products, int64_t tile, int64_t k, int64_t begin,
                            int64_t count) const {
    constexpr int64_t lanes = int64_t(sizeof(Lanes) / sizeof(T));
    constexpr int step = S::kOutStep;
    const Place at(tiles, tile);
    // Rows and columns of the tile that are on the map.
    const int64_t y0 = at.row * step - (S::kIsAdjoint ? s.pad_y : 0);
    const int64_t x0 = at.column * step - (S::kIsAdjoint ? s.pad_x : 0);
    const int64_t top = larger(0, -y0), bottom = smaller(step, s.oh - y0);
    const int64_t left = larger(0, -x0), right = smaller(step, s.ow - x0);
    T* y = static_cast<T*>(p.y) + ((at.n * s.oh + y0) * s.ow + x0) * s.k + k;
    T* edges = static_cast<T*>(p.edges) + tile * Edges<T>::kPixels * s.k + k;
    int64_t c = begin;
    for (; c + lanes <= count; c += lanes) {
      transform_tile<Lanes, Output>(
          [&](int i, int j) {
            return load_lanes<Lanes>(products + (i * kSide + j) * product_plane + c);
          },
          [&](int i, int j, Lanes v) {
            if (i >= step || j >= step)
              store_lanes(edges + Edges<T>::index(i, j) * s.k + c, v);
            else if (i >= top && i < bottom && j >= left && j < right)
              store_lanes(y + (i * s.ow + j) * s.k + c, v);
          });
    }
    return c;
  }

  // All products of `columns` output channels from k0 + k.
  void multiply_positions(const T* inputs, int64_t count, int64_t k, int64_t columns,
                          T* products) const {
    for (int tap = 0; tap < kTaps * kTaps; ++tap) {
      const int ty = tap / kTaps, tx = tap % kTaps;
      const T* weights = static_cast<const T*>(p.shared) + tap * weight_plane + k * s.c;
      for (int64_t column = 0; column < columns; column += kPanel<M>) {
        for (int i = S::first(ty); i < S::first(ty) + S::count(ty); ++i) {
          for (int j = S::first(tx); j < S::first(tx) + S::count(tx); ++j) {
            const int position = i * kSide + j;
            product(inputs + position * input_plane, weights + column * s.c, count,
                    products + position * product_plane + column);
          }
        }
      }
    }
  }

  void run_block(int64_t k0, int64_t first, int64_t most, const T* zeros, T* inputs,
                 T* products) const {
    const int64_t count = smaller(most, tiles.count - first);
    if (count <= 0) return;
    transform_inputs(first, count, zeros, inputs);
    const int64_t end = smaller(s.k, k0 + p.plan.block_k);
    for (int64_t k = k0; k < end; k += kOutputBlock) {
      const int64_t columns = smaller(kOutputBlock, end - k);
      multiply_positions(inputs, count, k - k0, columns, products);
      for (int64_t t = 0; t < count; ++t) {
        const T* from = products + t * kOutputBlock;
        const int64_t done = transform_outputs<V>(from, first + t, k, 0, columns);
        transform_outputs<T>(from, first + t, k, done, columns);
      }
    }
  }

  void run_worker(int64_t k0, int64_t worker) const {
    T* zeros = static_cast<T*>(p.scratch) + worker * p.plan.scratch;
    T* inputs = zeros + round_up(s.c, kSkew);
    T* products = inputs + kPositions * input_plane;
    for (int64_t c = 0; c < s.c; ++c) zeros[c] = 0;
    const int64_t end = (worker + 1) * p.plan.blocks / p.plan.workers;
    for (int64_t strip = worker * p.plan.blocks / p.plan.workers; strip < end;) {
      const int64_t block = block_of(end - strip);
      run_block(k0, strip * M::conv_rows, block * M::conv_rows, zeros, inputs, products);
      strip += block;
    }
  }

  void run(const Exec& exec) const {
    const int64_t row_bytes = kTaps * kTaps * kWeightInputs * kPanel<M> * int64_t(sizeof(T));
    for (int64_t k0 = 0; k0 < s.k; k0 += p.plan.block_k) {
      auto weights = [&](int64_t begin, int64_t end) { transform_weights(k0, begin, end); };
      const int64_t panels = divide_up(smaller(p.plan.block_k, s.k - k0), kPanel<M>);
      parallel(exec, panels * divide_up(s.c, kWeightInputs), at_least_one(kGrainBytes / row_bytes),
               weights);
      auto workers = [&](int64_t begin, int64_t end) {
        for (int64_t worker = begin; worker < end; ++worker) run_worker(k0, worker);
      };
      parallel(exec, p.plan.workers, 1, workers);
    }
    if constexpr (S::kIsAdjoint) {
      auto rows = [&](int64_t begin, int64_t end) { Edges<T>::add(p, tiles, begin, end); };
      parallel(exec, s.n * (tiles.rows + 1), 1, rows);
    }
  }
};

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
