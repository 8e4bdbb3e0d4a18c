// CUDA kernels of attention. No matrix of queries by keys is kept: a block has one tile of it at a
// time, made again from q, k and lse. Whoever owns queries makes what belongs to queries, and the
// same with keys, so that no two blocks add to one element. More channels of an output than a tile
// has are more blocks, each of which makes the tile again.
#include "attention.h"

#include "tiles.cuh"

namespace fastgan::cuda {
namespace {

__device__ __forceinline__ float exponential(float v) { return expf(v); }
__device__ __forceinline__ double exponential(double v) { return exp(v); }
__device__ __forceinline__ float logarithm(float v) { return logf(v); }
__device__ __forceinline__ double logarithm(double v) { return log(v); }

template <class A>
__device__ __forceinline__ A infinity() {
  return A(__builtin_huge_val());
}

// Where a block is: its item of the batch, the first row that it owns, the first channel of its
// outputs. A launch begins at item `first`.
struct Place {
  int64_t item;
  int row, channel;
};

template <class A>
__device__ __forceinline__ Place place_of(int64_t first, int rows) {
  constexpr int kTile = TileSize<A>::kTile;
  const int tiles = (rows + kTile - 1) / kTile, item = int(blockIdx.x) / tiles;
  return {first + item, (int(blockIdx.x) - item * tiles) * kTile, int(blockIdx.y) * kTile};
}

// A number of each of the rows, which are `step` apart, that a thread has: 0 for those outside.
template <class A>
struct OfRows {
  A v[TileSize<A>::kN];

  __device__ __forceinline__ OfRows(const void* x, int64_t item, int rows, int first) {
    const A* own = static_cast<const A*>(x) + item * rows;
#pragma unroll
    for (int i = 0; i < TileSize<A>::kN; ++i)
      v[i] = first + 16 * i < rows ? own[first + 16 * i] : A(0);
  }
  // The sum over the parts of x, which lie `part` apart.
  __device__ __forceinline__ OfRows(const void* x, int64_t item, int rows, int first, int64_t parts,
                                    int64_t part)
      : OfRows(x, item, rows, first) {
    for (int64_t n = 1; n < parts; ++n) {
      const OfRows more(static_cast<const A*>(x) + n * part, item, rows, first);
#pragma unroll
      for (int i = 0; i < TileSize<A>::kN; ++i) v[i] += more.v[i];
    }
  }
};

// p from s of one element; 0 where it does not count, whatever s is there.
template <class A>
__device__ __forceinline__ A probability(A s, A scale, A lse, bool counts) {
  return counts ? exponential(scale * s - lse) : A(0);
}

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

// by_grad_o = Σ_j p (u - m) v + p gv, the mean m = Σ_j p u, and grad_o · by_grad_o. With o of its
// own in 16 bits it takes 152 registers, and would spill if two blocks had to share a multiprocessor.
template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 1 : 2)
    double_grad_o_kernel(AttentionDoubleBackwardParams p, int64_t first, bool is_wide_q,
                         bool is_wide_v) {
  using A = compute_t<T>;
  constexpr int kN = TileSize<A>::kN, kTile = TileSize<A>::kTile;
  TileMemory<A>& memory = shared<TileMemory<A>>();
  const AttentionShape& shape = p.shape;
  const int queries = int(shape.queries), keys = int(shape.keys);
  const auto [item, row, channel] = place_of<A>(first, queries);
  const Rows<T> q = rows_of<T>(p.q, item, queries, shape.channels, is_wide_q);
  const Rows<T> k = rows_of<T>(p.k, item, keys, shape.channels, is_wide_q);
  const Rows<T> v = rows_of<T>(p.v, item, keys, shape.values, is_wide_v);
  const Rows<T> gq = rows_of<T>(p.gq, item, queries, shape.channels, is_wide_q);
  const Rows<T> gk = rows_of<T>(p.gk, item, keys, shape.channels, is_wide_q);
  const Rows<T> gv = rows_of<T>(p.gv, item, keys, shape.values, is_wide_v);
  const Counting counting = counting_of<false>(shape, item);
  const A scale = A(shape.scale);
  const OfRows<A> lse(p.lse, item, queries, row + down());
  // o is made again where that in memory is rounded to 16 bits: m may be large.
  constexpr bool has_own_o = sizeof(T) < sizeof(A);
  Tile<A> out{}, o{};
  A mean[kN] = {};
#pragma unroll 1
  for (int key = 0; key < keys; key += kTile) {
    Tile<A> s{}, u{};
    add_dots(memory, s, q, row, k, key);
    add_dots(memory, u, gq, row, k, key);
    add_dots(memory, u, q, row, gk, key);
    for_tile(s, [&](A& share, int i, int j) {
      const bool counts = counting(row + down() + 16 * i, key + across() + 16 * j);
      share = probability(share, scale, lse.v[i], counts);
      u.v[i][j] *= scale * share;
      mean[i] += u.v[i][j];
    });
    add_tile(memory, out, s, gv, key, channel);
    if constexpr (has_own_o) add_tile(memory, o, s, v, key, channel);
    add_tile(memory, out, u, v, key, channel);
  }
  const T* grad_o = static_cast<const T*>(p.grad_o) + item * queries * shape.values;
  const T* found_o = static_cast<const T*>(p.o) + item * queries * shape.values;
#pragma unroll
  for (int i = 0; i < kN; ++i) {
    mean[i] = sum_across(mean[i]);
    const int own = row + down() + 16 * i;
    A correction = 0;
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const int c = channel + kN * across() + j;
      if (own >= queries || c >= shape.values) continue;
      const int64_t at = own * shape.values + c;
      if constexpr (!has_own_o) o.v[i][j] = load(found_o[at]);
      out.v[i][j] -= mean[i] * o.v[i][j];
      correction += load(grad_o[at]) * out.v[i][j];
    }
    correction = sum_across(correction);
    if (across() != 0 || own >= queries) continue;
    const int64_t at = item * queries + own;
    if (blockIdx.y == 0) static_cast<A*>(p.mean)[at] = mean[i];
    static_cast<A*>(p.correction)[int64_t(blockIdx.y) * shape.batch * queries + at] = correction;
  }
  store_out<T>(p.by_grad_o, item, queries, shape.values, is_wide_v, row, channel, out, A(1));
}

// by_q = scale · (d_s k + ds gk).
template <class T>
__global__ void __launch_bounds__(kThreads)
    double_q_kernel(AttentionDoubleBackwardParams p, int64_t first, bool is_wide_q,
                    bool is_wide_v) {
  using A = compute_t<T>;
  constexpr int kTile = TileSize<A>::kTile;
  TileMemory<A>& memory = shared<TileMemory<A>>();
  const AttentionShape& shape = p.shape;
  const int queries = int(shape.queries), keys = int(shape.keys);
  const auto [item, row, channel] = place_of<A>(first, queries);
  const Rows<T> q = rows_of<T>(p.q, item, queries, shape.channels, is_wide_q);
  const Rows<T> k = rows_of<T>(p.k, item, keys, shape.channels, is_wide_q);
  const Rows<T> v = rows_of<T>(p.v, item, keys, shape.values, is_wide_v);
  const Rows<T> gq = rows_of<T>(p.gq, item, queries, shape.channels, is_wide_q);
  const Rows<T> gk = rows_of<T>(p.gk, item, keys, shape.channels, is_wide_q);
  const Rows<T> gv = rows_of<T>(p.gv, item, keys, shape.values, is_wide_v);
  const Rows<T> grad_o = rows_of<T>(p.grad_o, item, queries, shape.values, is_wide_v);
  const Counting counting = counting_of<false>(shape, item);
  const A scale = A(shape.scale);
  Tile<A> out{};
#pragma unroll 1
  for (int key = 0; key < keys; key += kTile) {
    // The numbers of rows are read again for each tile: there are no registers to keep them in.
    Tile<A> share{}, t{}, ds{};  // p; u - m, then t
    add_dots(memory, share, q, row, k, key);
    const OfRows<A> lse(p.lse, item, queries, row + down());
    for_tile(share, [&](A& s, int i, int j) {
      const bool counts = counting(row + down() + 16 * i, key + across() + 16 * j);
      s = probability(s, scale, lse.v[i], counts);
    });
    add_dots(memory, t, gq, row, k, key);
    add_dots(memory, t, q, row, gk, key);
    add_dots(memory, ds, grad_o, row, v, key);
    const OfRows<A> delta(p.delta, item, queries, row + down());
    const OfRows<A> mean(p.mean, item, queries, row + down());
    const OfRows<A> correction(p.correction, item, queries, row + down(), p.parts,
                               shape.batch * queries);
    for_tile(t, [&](A& u, int i, int j) {
      const A centred = ds.v[i][j] - delta.v[i];
      u = (scale * u - mean.v[i]) * centred - correction.v[i];
      ds.v[i][j] = share.v[i][j] * centred;
    });
    add_dots(memory, t, grad_o, row, gv, key);  // w
    multiply(t, share);
    add_tile(memory, out, t, k, key, channel);
    add_tile(memory, out, ds, gk, key, channel);
  }
  store_out<T>(p.by_q, item, queries, shape.channels, is_wide_q, row, channel, out, scale);
}

// by_k = scale · (d_sᵀ q + dsᵀ gq) and by_v = hᵀ grad_o: rows are keys, columns queries.
template <class T>
__global__ void __launch_bounds__(kThreads)
    double_kv_kernel(AttentionDoubleBackwardParams p, int64_t first, bool is_wide_q,
                     bool is_wide_v) {
  using A = compute_t<T>;
  constexpr int kTile = TileSize<A>::kTile;
  TileMemory<A>& memory = shared<TileMemory<A>>();
  const AttentionShape& shape = p.shape;
  const int queries = int(shape.queries), keys = int(shape.keys);
  const auto [item, row, channel] = place_of<A>(first, keys);
  const Rows<T> q = rows_of<T>(p.q, item, queries, shape.channels, is_wide_q);
  const Rows<T> k = rows_of<T>(p.k, item, keys, shape.channels, is_wide_q);
  const Rows<T> v = rows_of<T>(p.v, item, keys, shape.values, is_wide_v);
  const Rows<T> gq = rows_of<T>(p.gq, item, queries, shape.channels, is_wide_q);
  const Rows<T> gk = rows_of<T>(p.gk, item, keys, shape.channels, is_wide_q);
  const Rows<T> gv = rows_of<T>(p.gv, item, keys, shape.values, is_wide_v);
  const Rows<T> grad_o = rows_of<T>(p.grad_o, item, queries, shape.values, is_wide_v);
  const Counting counting = counting_of<true>(shape, item);
  const A scale = A(shape.scale);
  const bool has_k = channel < k.channels, has_v = channel < v.channels;
  Tile<A> by_k{}, by_v{};
#pragma unroll 1
  for (int query = 0; query < queries; query += kTile) {
    Tile<A> share{}, t{};  // p; u - m, then t
    add_dots(memory, share, k, row, q, query);
    add_dots(memory, t, k, row, gq, query);
    add_dots(memory, t, gk, row, q, query);
    const OfRows<A> lse(p.lse, item, queries, query + across());
    const OfRows<A> mean(p.mean, item, queries, query + across());
    for_tile(share, [&](A& s, int i, int j) {
      const bool counts = counting(row + down() + 16 * i, query + across() + 16 * j);
      s = probability(s, scale, lse.v[j], counts);
      t.v[i][j] = scale * t.v[i][j] - mean.v[j];
    });
    if (has_v) {
      Tile<A> h = t;
      multiply(h, share);
      add_tile(memory, by_v, h, grad_o, query, channel);
    }
    if (!has_k) continue;
    Tile<A> ds{};
    add_dots(memory, ds, v, row, grad_o, query);
    const OfRows<A> delta(p.delta, item, queries, query + across());
    const OfRows<A> correction(p.correction, item, queries, query + across(), p.parts,
                               shape.batch * queries);
    for_tile(ds, [&](A& dp, int i, int j) {
      const A centred = dp - delta.v[j];
      t.v[i][j] = t.v[i][j] * centred - correction.v[j];
      dp = share.v[i][j] * centred;
    });
    add_dots(memory, t, gv, row, grad_o, query);  // w
    multiply(t, share);
    add_tile(memory, by_k, t, q, query, channel);
    add_tile(memory, by_k, ds, gq, query, channel);
  }
  store_out<T>(p.by_k, item, keys, shape.channels, is_wide_q, row, channel, by_k, scale);
  store_out<T>(p.by_v, item, keys, shape.values, is_wide_v, row, channel, by_v, A(1));
}

int64_t tiles_of(const AttentionShape& shape, int64_t size) {
  const int64_t tile = shape.dtype == DType::kFloat64 ? TileSize<double>::kTile
                                                      : TileSize<float>::kTile;
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
         static_cast<cudaStream_t>(exec.stream), static_cast<const T*>(a),
         static_cast<const T*>(b), static_cast<compute_t<T>*>(to), rows, shape.values);
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
