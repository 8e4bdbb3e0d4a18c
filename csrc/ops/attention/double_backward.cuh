// SPDX-License-Identifier: Apache-2.0
// The gradient of attention's gradient: first what belongs to grad_o, with two numbers of each
// query that the kernels after it need, then q, then k and v.
#pragma once

#include "tiles.cuh"

namespace fastgan::cuda {
namespace {

// by_grad_o = Σ_j p (u - m) v + p gv, the mean m = Σ_j p u, and grad_o · by_grad_o. With o of its
// own in 16 bits it takes 152 registers, and would spill if two blocks had to share a
// multiprocessor.
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

}  // namespace
}  // namespace fastgan::cuda
