// SPDX-License-Identifier: Apache-2.0
// CPU kernels of anti_aliased_snake: a tile of a signal at a time, all of it in L1 between one read
// and one write. Compiled once per instruction set.
#include "anti_aliased_snake.h"

#include <cstdlib>

#include "../../common/cpu_math.h"
#include "cpu_windows.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int64_t kTileSamples = 1024;  // up-sampled ones

int64_t bytes_of(const AntiAliasedSnakeParams& p) {
  return p.dtype == DType::kFloat64 ? 8 : p.dtype == DType::kFloat32 ? 4 : 2;
}

// Outputs of one tile: fixed by the ratio alone, so that sums do not depend on the threads.
int64_t forward_tile(const AntiAliasedSnakeParams& p) {
  return at_least_one(kTileSamples / p.down_ratio);
}
int64_t backward_tile(const AntiAliasedSnakeParams& p) {
  return at_least_one(kTileSamples / p.up_ratio);
}
int64_t backward_tiles(const AntiAliasedSnakeParams& p) {
  return divide_up(p.length, backward_tile(p));
}

template <class A>
struct Snake {
  A alpha, height;  // height = 1 / (β + ε)
};
template <class A>
Snake<A> snake_of(const AntiAliasedSnakeParams& p, int64_t row) {
  const int64_t c = row % p.channels;
  return {static_cast<const A*>(p.alpha)[c],
          A(1) / (static_cast<const A*>(p.beta)[c] + A(kSnakeEps))};
}

// Whether half_turn takes every α·u, where no |u| is above `most`: float32 beyond its range, and
// float64, go to libm.
inline bool is_near(double, double) { return false; }
inline bool is_near(float most, float alpha) {
  return most * alpha <= kMostHalfTurn && most * -alpha <= kMostHalfTurn;
}

// Any double, so that a template may name it.
inline HalfTurn<double> half_turn(double v) { return half_turn_of_any(v); }

template <class A>
inline A activate_one(A u, HalfTurn<A> h, Snake<A> o) {
  return u + o.height * h.sine * h.sine;
}

template <class A>
void activate(A* u, int64_t n, Snake<A> o, bool near) {
  if (!near) {
    for (int64_t k = 0; k < n; ++k) u[k] = activate_one(u[k], half_turn_of_any(o.alpha * u[k]), o);
    return;
  }
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) u[k] = activate_one(u[k], half_turn(o.alpha * u[k]), o);
}

template <class A>
struct Sums {
  A alpha = 0, beta = 0;  // Σ dv·u·sin(2αu) and Σ dv·sin²(αu)
};

// dv becomes du. The sums are of these samples alone.
template <class A>
Sums<A> activate_backward(const A* u, A* dv, int64_t n, Snake<A> o, bool near) {
  A by_alpha = 0, by_beta = 0;
  const A slope = 2 * o.alpha * o.height;
  if (!near) {
    for (int64_t k = 0; k < n; ++k) {
      const HalfTurn<A> h = half_turn_of_any(o.alpha * u[k]);
      by_alpha += dv[k] * u[k] * (2 * h.sine * h.cosine);
      by_beta += dv[k] * h.sine * h.sine;
      dv[k] *= 1 + slope * h.sine * h.cosine;
    }
    return {by_alpha, by_beta};
  }
#pragma omp simd reduction(+ : by_alpha, by_beta)
  for (int64_t k = 0; k < n; ++k) {
    const HalfTurn<A> h = half_turn(o.alpha * u[k]);
    by_alpha += dv[k] * u[k] * (2 * h.sine * h.cosine);
    by_beta += dv[k] * h.sine * h.sine;
    dv[k] *= 1 + slope * h.sine * h.cosine;
  }
  return {by_alpha, by_beta};
}

// Buffers for a tile and the filters ready for use; null `memory` where there is none to be had.
template <class A>
struct Workspace {
  void* memory;
  A *window, *dy_window, *row, *out;
  Planes<A> u, dv;
  PhasedTaps<A> up, down, up_adjoint;  // down's taps are its adjoint's in the backward pass
  Stretch<A>* stretches;
  A most_gain = 0;  // U·Σ|f|: no |u| is larger than this times the largest |x|

  // `samples` up-sampled ones in planes, made from windows of `length`, to `outputs`.
  Workspace(const AntiAliasedSnakeParams& p, bool is_forward, int64_t samples, int64_t length,
            int64_t outputs) {
    const int64_t ratio = is_forward ? p.down_ratio : p.up_ratio;
    const int64_t pitch = divide_up(samples, ratio) + 1 + kSlack;
    const int64_t up_numbers = p.up_ratio * PhasedTaps<A>::pitch(p.up_taps, p.up_ratio);
    const int64_t down_numbers = p.down_ratio * PhasedTaps<A>::pitch(p.down_taps, p.down_ratio);
    const int64_t numbers = 2 * up_numbers + down_numbers + 2 * (length + kSlack) +
                            (samples + kSlack) + (outputs + kSlack) + 2 * ratio * pitch;
    memory = std::malloc(size_t(ratio) * sizeof(Stretch<A>) + size_t(numbers) * sizeof(A));
    if (!memory) return;
    stretches = static_cast<Stretch<A>*>(memory);
    A* free = reinterpret_cast<A*>(stretches + ratio);
    auto take = [&](int64_t n) {
      A* at = free;
      free += n;
      return at;
    };
    window = take(length + kSlack);
    dy_window = take(length + kSlack);
    row = take(samples + kSlack);
    out = take(outputs + kSlack);
    u = {take(ratio * pitch), pitch, ratio, 0};
    dv = {take(ratio * pitch), pitch, ratio, 0};
    up = {take(up_numbers), p.up_taps, p.up_ratio, true};
    up_adjoint = {take(up_numbers), p.up_taps, p.up_ratio, false};
    down = {take(down_numbers), p.down_taps, p.down_ratio, !is_forward};
    const A* f = static_cast<const A*>(p.up_filter);
    up.fill(f, A(p.up_ratio));
    up_adjoint.fill(f, A(p.up_ratio));
    down.fill(static_cast<const A*>(p.down_filter), A(1));
    for (int64_t k = 0; k < p.up_taps; ++k) most_gain += A(p.up_ratio) * (f[k] < 0 ? -f[k] : f[k]);
  }
  ~Workspace() { std::free(memory); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
};

// What `samples` up-sampled ones need of x, or of dy, at most.
int64_t window_length(const AntiAliasedSnakeParams& p, int64_t samples) {
  return larger((samples + p.up_taps) / p.up_ratio, (samples + p.down_taps) / p.down_ratio) + 3;
}

// Tiles [begin, end) of all rows; false where memory is short.
template <class T>
bool forward_tiles(const AntiAliasedSnakeParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const int64_t tile = forward_tile(p), tiles = divide_up(p.outputs, tile);
  const int64_t samples = tile * p.down_ratio + p.down_taps, size = p.length * p.up_ratio;
  Workspace<A> w(p, true, samples, window_length(p, samples), tile);
  if (!w.memory) return false;
  const Spread<A> up{w.up, p.up_lead};
  for (int64_t k = begin; k < end; ++k) {
    const int64_t row = k / tiles, t = (k - row * tiles) * tile, n = smaller(tile, p.outputs - t);
    const Snake<A> snake = snake_of<A>(p, row);
    // Samples that the filter reads, and those of them that there are.
    const int64_t low = t * p.down_ratio - p.down_lead;
    const int64_t high = (t + n - 1) * p.down_ratio - p.down_lead + p.down_taps;
    const int64_t first = larger(low, 0), last = smaller(high, size);
    w.u.origin = floor_divide(low, p.down_ratio);
    const int64_t from = up.window_begin(first);
    const A most = load_window(w.window, static_cast<const T*>(p.x) + row * p.length, p.length,
                               from, up.window_end(last), true);
    const bool near = is_near(w.most_gain * most, snake.alpha);
    up.run(w.window, from, first, last, w.u, w.row);
    for (int64_t phase = 0; phase < p.down_ratio; ++phase) {
      const Run r = run_of(phase, p.down_ratio, first, last);
      if (r.count > 0) activate(w.u.at(r.first), r.count, snake, near);
    }
    for (int64_t j = low; j < first; ++j) *w.u.at(j) = *w.u.at(0);
    for (int64_t j = last; j < high; ++j) *w.u.at(j) = *w.u.at(size - 1);
    gather(w.out, t, n, w.u, w.down, p.down_lead, w.stretches);
    T* y = static_cast<T*>(p.out) + row * p.outputs + t;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(y + i, w.out[i]);
  }
  return true;
}

// What repetitions [begin, end) of an end have to give back to it.
template <class T>
compute_t<T> folded(const AntiAliasedSnakeParams& p, const T* dy, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const A* g = static_cast<const A*>(p.down_filter);
  A sum = 0;
  for (int64_t j = begin; j < end; ++j) {
    const int64_t top = j + p.down_lead, last = floor_divide(top, p.down_ratio);
    for (int64_t t = smaller(last, p.outputs - 1); t >= 0 && top - t * p.down_ratio < p.down_taps;
         --t)
      sum += g[top - t * p.down_ratio] * A(load(dy[t]));
  }
  return sum;
}

template <class T>
bool backward_tiles(const AntiAliasedSnakeParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const int64_t tile = backward_tile(p), tiles = backward_tiles(p), size = p.length * p.up_ratio;
  // Repetitions of x's ends that some sample reads.
  const int64_t before = (p.up_taps - 1 - p.up_lead) / p.up_ratio;
  const int64_t after = (p.up_lead + p.up_ratio - 1) / p.up_ratio;
  const int64_t most = tile + before + after, samples = most * p.up_ratio + p.up_taps;
  const int64_t down_end = (p.outputs - 1) * p.down_ratio - p.down_lead + p.down_taps;
  Workspace<A> w(p, false, samples, window_length(p, samples), most);
  if (!w.memory) return false;
  const Spread<A> up{w.up, p.up_lead}, down{w.down, p.down_lead};
  for (int64_t k = begin; k < end; ++k) {
    const int64_t row = k / tiles, i = (k - row * tiles) * tile, n = smaller(tile, p.length - i);
    const T* x = static_cast<const T*>(p.x) + row * p.length;
    const T* dy = static_cast<const T*>(p.dy) + row * p.outputs;
    const Snake<A> snake = snake_of<A>(p, row);
    const int64_t own = i * p.up_ratio, own_end = (i + n) * p.up_ratio;
    int64_t x_begin = i - (i == 0 ? before : 0), x_end = i + n + (i + n == p.length ? after : 0);
    int64_t low = own, high = own_end;
    if (p.out) {
      low = x_begin * p.up_ratio - p.up_lead;
      high = (x_end - 1) * p.up_ratio - p.up_lead + p.up_taps;
    }
    const int64_t first = larger(low, 0), last = smaller(high, size);
    w.u.origin = w.dv.origin = floor_divide(low, p.up_ratio);
    const int64_t x_from = up.window_begin(first), dy_from = down.window_begin(first);
    const A most_x = load_window(w.window, x, p.length, x_from, up.window_end(last), true);
    const bool near = is_near(w.most_gain * most_x, snake.alpha);
    load_window(w.dy_window, dy, p.outputs, dy_from, down.window_end(last), false);
    up.run(w.window, x_from, first, last, w.u, w.row);
    down.run(w.dy_window, dy_from, first, last, w.dv, w.row);
    if (first == 0) *w.dv.at(0) += folded(p, dy, -p.down_lead, 0);
    if (last == size) *w.dv.at(size - 1) += folded(p, dy, size, down_end);
    double by_alpha = 0, by_beta = 0;
    for (int64_t phase = 0; phase < p.up_ratio; ++phase) {
      const auto segment = [&](int64_t j, int64_t j_end) {
        const Run r = run_of(phase, p.up_ratio, j, j_end);
        if (r.count == 0) return Sums<A>{};
        return activate_backward(w.u.at(r.first), w.dv.at(r.first), r.count, snake, near);
      };
      if (first < own) segment(first, own);
      const Sums<A> sums = segment(own, own_end);
      if (own_end < last) segment(own_end, last);
      by_alpha += double(sums.alpha);
      by_beta += double(sums.beta);
    }
    if (p.dalpha) {
      A* partial = static_cast<A*>(p.scratch) + 2 * k;
      partial[0] = A(by_alpha);
      partial[1] = A(by_beta);
    }
    if (!p.out) continue;
    for (int64_t j = low; j < first; ++j) *w.dv.at(j) = 0;
    for (int64_t j = last; j < high; ++j) *w.dv.at(j) = 0;
    gather(w.out, x_begin, x_end - x_begin, w.dv, w.up_adjoint, p.up_lead, w.stretches);
    A* out = w.out + (i - x_begin);
    for (int64_t j = x_begin; j < i; ++j) out[0] += out[j - i];
    for (int64_t j = i + n; j < x_end; ++j) out[n - 1] += out[j - i];
    T* dx = static_cast<T*>(p.out) + row * p.length + i;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) store(dx + j, out[j]);
  }
  return true;
}

// dα = r·Σ dv·u·sin(2αu) and dβ = -r²·Σ dv·sin²(αu) over the samples of a channel.
template <class A>
void sum_channels(const AntiAliasedSnakeParams& p, int64_t begin, int64_t end) {
  const int64_t tiles = backward_tiles(p);
  for (int64_t c = begin; c < end; ++c) {
    double by_alpha = 0, by_beta = 0;
    for (int64_t row = c; row < p.rows; row += p.channels) {
      const A* partial = static_cast<const A*>(p.scratch) + 2 * row * tiles;
      for (int64_t k = 0; k < tiles; ++k) {
        by_alpha += double(partial[2 * k]);
        by_beta += double(partial[2 * k + 1]);
      }
    }
    const double height = double(snake_of<A>(p, c).height);
    static_cast<A*>(p.dalpha)[c] = A(height * by_alpha);
    static_cast<A*>(p.dbeta)[c] = A(-height * height * by_beta);
  }
}

int64_t scratch(const AntiAliasedSnakeParams& p) {
  return p.dalpha ? 2 * p.rows * backward_tiles(p) : 0;
}

constexpr int kOutOfMemory = 1;

int forward(const AntiAliasedSnakeParams& p, const Exec& exec) {
  bool is_short = false;  // set by any thread, read after all of them
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    auto range = [&](int64_t begin, int64_t end) {
      if (!forward_tiles<T>(p, begin, end)) __atomic_store_n(&is_short, true, __ATOMIC_RELAXED);
    };
    const int64_t tile = forward_tile(p), tiles = divide_up(p.outputs, tile);
    const int64_t cost = bytes_of(p) * smaller(tile, p.outputs) * 8;  // not bound by memory
    parallel(exec, p.rows * tiles, at_least_one(kGrainBytes / cost), range);
  });
  return is_short ? kOutOfMemory : 0;
}

int backward(const AntiAliasedSnakeParams& p, const Exec& exec) {
  bool is_short = false;
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    auto range = [&](int64_t begin, int64_t end) {
      if (!backward_tiles<T>(p, begin, end)) __atomic_store_n(&is_short, true, __ATOMIC_RELAXED);
    };
    const int64_t cost = bytes_of(p) * smaller(backward_tile(p), p.length) * 8;
    parallel(exec, p.rows * backward_tiles(p), at_least_one(kGrainBytes / cost), range);
    if (!p.dalpha || is_short) return;
    auto sums = [&](int64_t begin, int64_t end) { sum_channels<compute_t<T>>(p, begin, end); };
    parallel(exec, p.channels, kGrainBytes / 16, sums);
  });
  return is_short ? kOutOfMemory : 0;
}

}  // namespace

extern const AntiAliasedSnakeKernels anti_aliased_snake;
const AntiAliasedSnakeKernels anti_aliased_snake = {scratch, forward, backward};

}  // namespace fastgan::FASTGAN_ISA
