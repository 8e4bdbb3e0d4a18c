// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of attention. No matrix of queries by keys is kept: a block has one tile of it at a
// time, made again from q, k and lse. Whoever owns queries makes what belongs to queries, and the
// same with keys, so that no two blocks add to one element. More channels of an output than a tile
// has are more blocks, each of which makes the tile again.
//
// Each kernel makes its Rows one by one: from one struct of q, k and v, nvcc 13.0 needs up to 178
// registers for sm_90 in place of 128, and one block fits a multiprocessor where two did.
#include "attention.h"

#include "double_backward.cuh"
#include "tiles.cuh"

namespace fastgan::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    forward_kernel(AttentionParams p, int64_t first, bool is_wide_q, bool is_wide_v) {
  using A = compute_t<T>;
  constexpr int kN = TileSize<A>::kN, kTile = TileSize<A>::kTile;
  TileMemory<A>& memory = shared<TileMemory<A>>();
  const AttentionShape& shape = p.shape;
  const int queries = int(shape.queries), keys = int(shape.keys);
  const auto [item, row, channel] = place_of<A>(first, queries);
  const Rows<T> q = rows_of<T>(p.q, item, queries, shape.channels, is_wide_q);
  const Rows<T> k = rows_of<T>(p.k, item, keys, shape.channels, is_wide_q);
  const Rows<T> v = rows_of<T>(p.v, item, keys, shape.values, is_wide_v);
  const Counting counting = counting_of<false>(shape, item);
  const A scale = A(shape.scale);
  Tile<A> out{};
  A most[kN], total[kN];  // of a row so far: its largest score, and Σ e^(s - most) of this thread
#pragma unroll
  for (int i = 0; i < kN; ++i) most[i] = -infinity<A>(), total[i] = 0;
#pragma unroll 1
  for (int key = 0; key < keys; key += kTile) {
    Tile<A> s{};
    add_dots(memory, s, q, row, k, key);
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      bool counts[kN];
      A largest = most[i];
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        counts[j] = counting(row + down() + 16 * i, key + across() + 16 * j);
        s.v[i][j] *= scale;
        // A NaN is never the largest; it meets the sum.
        if (counts[j] && s.v[i][j] > largest) largest = s.v[i][j];
      }
#pragma unroll
      for (int offset = 8; offset > 0; offset >>= 1) {
        const A other = __shfl_xor_sync(0xffffffffu, largest, offset);
        if (other > largest) largest = other;
      }
      // Where both are infinite, the difference would be NaN.
      const A shift = largest == -infinity<A>() ? A(0) : largest;
      const A shrink = most[i] == largest ? A(1) : exponential(most[i] - shift);
      A sum = 0;
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        s.v[i][j] = counts[j] ? exponential(s.v[i][j] - shift) : A(0);
        sum += s.v[i][j];
      }
      total[i] = total[i] * shrink + sum;
      most[i] = largest;
#pragma unroll
      for (int j = 0; j < kN; ++j) out.v[i][j] *= shrink;
    }
    add_tile(memory, out, s, v, key, channel);
  }
  const bool may_lack_keys = shape.mask || keys == 0;
#pragma unroll
  for (int i = 0; i < kN; ++i) {
    const A sum = sum_across(total[i]);
    const int own = row + down() + 16 * i;
    const A shift = most[i] == -infinity<A>() ? A(0) : most[i];
    if (blockIdx.y == 0 && across() == 0 && own < queries)
      static_cast<A*>(p.lse)[item * queries + own] = shift + logarithm(sum);
    const A share = A(1) / (sum == 0 && may_lack_keys ? A(1) : sum);
#pragma unroll
    for (int j = 0; j < kN; ++j) out.v[i][j] *= share;
  }
  store_out<T>(p.o, item, queries, shape.values, is_wide_v, row, channel, out, A(1));
}

// to[row] = Σ a[row, c] b[row, c]: a warp to a row.
template <class T>
__global__ void __launch_bounds__(kThreads)
    row_dots_kernel(const T* a, const T* b, compute_t<T>* to, int64_t rows, int64_t channels) {
  using A = compute_t<T>;
  constexpr int kWarps = kThreads / 32;
  const int lane = threadIdx.x % 32;
  for (int64_t row = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32; row < rows;
       row += int64_t(gridDim.x) * kWarps) {
    A sum = 0;
#pragma unroll 2
    for (int64_t c = lane; c < channels; c += 32)
      sum += load(a[row * channels + c]) * load(b[row * channels + c]);
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1)
      sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) to[row] = sum;
  }
}

// dq = scale · ds k.
template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_q_kernel(AttentionBackwardParams p, int64_t first, bool is_wide_q, bool is_wide_v) {
  using A = compute_t<T>;
  constexpr int kTile = TileSize<A>::kTile;
  TileMemory<A>& memory = shared<TileMemory<A>>();
  const AttentionShape& shape = p.shape;
  const int queries = int(shape.queries), keys = int(shape.keys);
  const auto [item, row, channel] = place_of<A>(first, queries);
  const Rows<T> q = rows_of<T>(p.q, item, queries, shape.channels, is_wide_q);
  const Rows<T> k = rows_of<T>(p.k, item, keys, shape.channels, is_wide_q);
  const Rows<T> v = rows_of<T>(p.v, item, keys, shape.values, is_wide_v);
  const Rows<T> grad_o = rows_of<T>(p.grad_o, item, queries, shape.values, is_wide_v);
  const Counting counting = counting_of<false>(shape, item);
  const A scale = A(shape.scale);
  const OfRows<A> lse(p.lse, item, queries, row + down());
  const OfRows<A> delta(p.delta, item, queries, row + down());
  Tile<A> dq{};
#pragma unroll 1
  for (int key = 0; key < keys; key += kTile) {
    Tile<A> s{}, dp{};
    add_dots(memory, s, q, row, k, key);
    add_dots(memory, dp, grad_o, row, v, key);
    for_tile(s, [&](A& ds, int i, int j) {
      const bool counts = counting(row + down() + 16 * i, key + across() + 16 * j);
      ds = probability(ds, scale, lse.v[i], counts) * (dp.v[i][j] - delta.v[i]);
    });
    add_tile(memory, dq, s, k, key, channel);
  }
  store_out<T>(p.dq, item, queries, shape.channels, is_wide_q, row, channel, dq, scale);
}

// dk = scale · dsᵀ q and dv = pᵀ grad_o: rows are keys, columns queries.
template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kv_kernel(AttentionBackwardParams p, int64_t first, bool is_wide_q, bool is_wide_v) {
  using A = compute_t<T>;
  constexpr int kTile = TileSize<A>::kTile;
  TileMemory<A>& memory = shared<TileMemory<A>>();
  const AttentionShape& shape = p.shape;
  const int queries = int(shape.queries), keys = int(shape.keys);
  const auto [item, row, channel] = place_of<A>(first, keys);
  const Rows<T> q = rows_of<T>(p.q, item, queries, shape.channels, is_wide_q);
  const Rows<T> k = rows_of<T>(p.k, item, keys, shape.channels, is_wide_q);
  const Rows<T> v = rows_of<T>(p.v, item, keys, shape.values, is_wide_v);
  const Rows<T> grad_o = rows_of<T>(p.grad_o, item, queries, shape.values, is_wide_v);
  const Counting counting = counting_of<true>(shape, item);
  const A scale = A(shape.scale);
  const bool has_dk = channel < k.channels, has_dv = channel < v.channels;
  Tile<A> dk{}, dv{};
#pragma unroll 1
  for (int query = 0; query < queries; query += kTile) {
    const OfRows<A> lse(p.lse, item, queries, query + across());
    const OfRows<A> delta(p.delta, item, queries, query + across());
    Tile<A> s{}, dp{};
    add_dots(memory, s, k, row, q, query);
    if (has_dk) add_dots(memory, dp, v, row, grad_o, query);
    for_tile(s, [&](A& share, int i, int j) {
      const bool counts = counting(row + down() + 16 * i, query + across() + 16 * j);
      share = probability(share, scale, lse.v[j], counts);
      dp.v[i][j] = share * (dp.v[i][j] - delta.v[j]);
    });
    if (has_dv) add_tile(memory, dv, s, grad_o, query, channel);
    if (has_dk) add_tile(memory, dk, dp, q, query, channel);
  }
  store_out<T>(p.dk, item, keys, shape.channels, is_wide_q, row, channel, dk, scale);
  store_out<T>(p.dv, item, keys, shape.values, is_wide_v, row, channel, dv, A(1));
}

int64_t tiles_of(const AttentionShape& shape, int64_t size) {
  const int64_t tile =
      shape.dtype == DType::kFloat64 ? TileSize<double>::kTile : TileSize<float>::kTile;
  return (size + tile - 1) / tile;
}

int64_t parts_of(const AttentionShape& shape) { return tiles_of(shape, shape.values); }

// One block for each tile of `rows` of each item and for each tile of `channels`; several launches
// where there are more blocks than a grid has.
template <class P>
int launch_tiles(void (*kernel)(P, int64_t, bool, bool), const P& p, int64_t rows, int64_t channels,
                 bool is_wide_q, bool is_wide_v, const Exec& exec) {
  const int64_t tiles = tiles_of(p.shape, rows), parts = tiles_of(p.shape, channels);
  if (tiles == 0) return 0;
  const int64_t items = narrow_limit() > tiles ? narrow_limit() / tiles : 1;
  for (int64_t first = 0; first < p.shape.batch; first += items) {
    const int64_t count = p.shape.batch - first < items ? p.shape.batch - first : items;
    launch(kernel, dim3(unsigned(count * tiles), unsigned(parts > 1 ? parts : 1)), dim3(kThreads),
           0, static_cast<cudaStream_t>(exec.stream), p, first, is_wide_q, is_wide_v);
    if (const int error = last_error()) return error;
  }
  return 0;
}

template <class T>
bool are_wide(int64_t channels, std::initializer_list<const void*> arrays) {
  bool is_wide = channels % Vec<T>::kN == 0;
  for (const void* array : arrays) is_wide = is_wide && is_aligned16(array);
  return is_wide;
}

int forward(const AttentionParams& p, const Exec& exec) {
  return dispatch(p.shape.dtype, [&](auto type) {
    using T = decltype(type);
    return launch_tiles(forward_kernel<T>, p, p.shape.queries, p.shape.values,
                        are_wide<T>(p.shape.channels, {p.q, p.k}),
                        are_wide<T>(p.shape.values, {p.v, p.o}), exec);
  });
}

template <class T>
int row_dots(const void* a, const void* b, void* to, const AttentionShape& shape,
             const Exec& exec) {
  const int64_t rows = shape.batch * shape.queries;
  if (rows == 0) return 0;
  launch(row_dots_kernel<T>, grid_for(rows * 32), dim3(kThreads), 0,
         static_cast<cudaStream_t>(exec.stream), static_cast<const T*>(a), static_cast<const T*>(b),
         static_cast<compute_t<T>*>(to), rows, shape.values);
  return last_error();
}

int backward(const AttentionBackwardParams& p, const Exec& exec) {
  return dispatch(p.shape.dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionShape& shape = p.shape;
    const bool q = are_wide<T>(shape.channels, {p.q, p.k, p.dq, p.dk});
    const bool v = are_wide<T>(shape.values, {p.v, p.grad_o, p.dv});
    const int64_t widest = shape.channels > shape.values ? shape.channels : shape.values;
    int error = row_dots<T>(p.grad_o, p.o, p.delta, shape, exec);
    if (!error)
      error = launch_tiles(backward_q_kernel<T>, p, shape.queries, shape.channels, q, v, exec);
    if (!error) error = launch_tiles(backward_kv_kernel<T>, p, shape.keys, widest, q, v, exec);
    return error;
  });
}

int double_backward(const AttentionDoubleBackwardParams& p, const Exec& exec) {
  return dispatch(p.shape.dtype, [&](auto type) {
    using T = decltype(type);
    const AttentionShape& shape = p.shape;
    const bool q = are_wide<T>(shape.channels, {p.q, p.k, p.gq, p.gk, p.by_q, p.by_k});
    const bool v = are_wide<T>(shape.values, {p.v, p.gv, p.grad_o, p.by_grad_o, p.by_v});
    const int64_t widest = shape.channels > shape.values ? shape.channels : shape.values;
    int error = row_dots<T>(p.grad_o, p.o, p.delta, shape, exec);
    if (!error)
      error = launch_tiles(double_grad_o_kernel<T>, p, shape.queries, shape.values, q, v, exec);
    if (!error)
      error = launch_tiles(double_q_kernel<T>, p, shape.queries, shape.channels, q, v, exec);
    if (!error) error = launch_tiles(double_kv_kernel<T>, p, shape.keys, widest, q, v, exec);
    return error;
  });
}

}  // namespace

extern const AttentionKernels attention;
const AttentionKernels attention = {parts_of, forward, backward, double_backward};

}  // namespace fastgan::cuda
