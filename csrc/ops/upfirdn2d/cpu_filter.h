// SPDX-License-Identifier: Apache-2.0
// For upfirdn2d_cpu.cpp only: which taps meet which samples, and the filter made ready for that.
#pragma once

#include <cstdlib>

#include "../../common/cpu.h"
#include "upfirdn2d.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// The taps that output o meets: f[k0 + j·up] · x[i0 + j], j < count.
struct Phase {
  int64_t k0, i0, count;
};
inline Phase phase_of(const Axis& a, int64_t o) {
  const int64_t base = o * a.down - a.pad;
  const int64_t i0 = -floor_divide(-base, a.up);  // ceil(base / up)
  const int64_t k0 = i0 * a.up - base;
  return {k0, i0, k0 < a.taps ? (a.taps - k0 + a.up - 1) / a.up : 0};
}

// Taps regrouped by phase: phase q holds taps q, q + up, …, padded with zeros to `length`.
template <class A>
struct PhasedTaps {
  A* data;
  int64_t length;
  const A* at(int64_t k0) const { return data + k0 * length; }
};

template <class A>
void* scratch_bytes(int64_t values) {
  return std::malloc(size_t(values) * sizeof(A));
}

// f, reversed unless flipped, times gain, as one list of taps per axis where it is an outer
// product.
template <class A>
struct Filter {
  A* grid;                // [ay.taps, ax.taps]
  A *fy, *fx;             // separable: [ay.taps] with the gain, [ax.taps]
  PhasedTaps<A> along_x;  // separable: one list. else: ay.taps lists
  PhasedTaps<A> along_y;
  bool is_separable;
  void* memory;
};

template <class A>
void regroup(const A* taps, int64_t n, const Axis& a, PhasedTaps<A>& out) {
  for (int64_t i = 0; i < a.up * out.length; ++i) out.data[i] = 0;
  for (int64_t k = 0; k < n; ++k) out.data[(k % a.up) * out.length + k / a.up] = taps[k];
}

// memory is null where there is none to be had.
template <class A>
Filter<A> make_filter(const Upfirdn2dParams& p) {
  const int64_t ty = p.ay.taps, tx = p.ax.taps;
  const int64_t ly = divide_up(ty, p.ay.up), lx = divide_up(tx, p.ax.up);
  const int64_t values = ty * tx + ty + tx + p.ay.up * ly + ty * p.ax.up * lx;
  Filter<A> f{};
  f.memory = scratch_bytes<A>(values);
  if (!f.memory) return f;
  A* free = static_cast<A*>(f.memory);
  auto take = [&](int64_t n) {
    A* at = free;
    free += n;
    return at;
  };
  f.grid = take(ty * tx);
  A *fy = f.fy = take(ty), *fx = f.fx = take(tx);
  f.along_y = {take(p.ay.up * ly), ly};
  f.along_x = {take(ty * p.ax.up * lx), lx};
  const A *given = static_cast<const A*>(p.f), gain = A(p.gain);
  auto at = [&](int64_t k, int64_t n) { return p.is_flipped ? k : n - 1 - k; };
  auto size = [](A v) { return v < 0 ? -v : v; };  // not squares: those leave the range
  f.is_separable = true;
  if (p.is_separable) {
    for (int64_t k = 0; k < ty; ++k) fy[k] = given[at(k, ty)] * gain;
    for (int64_t k = 0; k < tx; ++k) fx[k] = given[at(k, tx)];
  } else {
    int64_t py = 0, px = 0;  // the largest tap
    A pivot = 0;
    for (int64_t y = 0; y < ty; ++y)
      for (int64_t x = 0; x < tx; ++x) {
        const A v = f.grid[y * tx + x] = given[at(y, ty) * tx + at(x, tx)];
        if (size(v) > size(pivot)) py = y, px = x, pivot = v;
      }
    const A epsilon = sizeof(A) == 8 ? A(2.3e-16) : A(1.2e-7);
    for (int64_t k = 0; k < ty; ++k) fy[k] = f.grid[k * tx + px];
    for (int64_t k = 0; k < tx; ++k) fx[k] = pivot == 0 ? A(0) : f.grid[py * tx + k] / pivot;
    for (int64_t y = 0; y < ty; ++y)
      for (int64_t x = 0; x < tx; ++x) {
        const A v = f.grid[y * tx + x], error = v - fy[y] * fx[x];
        if (!(size(error) <= size(epsilon * v))) f.is_separable = false;
      }
    for (int64_t k = 0; k < ty; ++k) fy[k] *= gain;
    for (int64_t k = 0; k < ty * tx; ++k) f.grid[k] *= gain;
  }
  regroup(fy, ty, p.ay, f.along_y);
  if (f.is_separable) {
    regroup(fx, tx, p.ax, f.along_x);
  } else {
    for (int64_t y = 0; y < ty; ++y) {
      PhasedTaps<A> row{f.along_x.data + y * p.ax.up * lx, lx};
      regroup(f.grid + y * tx, tx, p.ax, row);
    }
  }
  return f;
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
