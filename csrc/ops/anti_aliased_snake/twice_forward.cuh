// SPDX-License-Identifier: Apache-2.0
// Ratios of 2 and filters of 12 taps, forward. A warp walks along a stretch of one row, 32 runs a
// step. A lane makes the even samples from kAhead places after the first of its run on, and the odd
// ones from one place less: all that these need is its own run of x and kBeyond values after it,
// and all that its outputs need beside them are the last kBeyond samples of the lane before, which
// it reads in shared memory. The first lane's are of the last lane and the step before; those of
// the first step are made one by one.
//
//   u[2i]   = 2·Σ_m f[2m+1]·x[i+2-m]        y[t] = Σ_m g[2m+1]·v[2(t-2+m)]
//   u[2i+1] = 2·Σ_m f[2m]·x[i+3-m]               + Σ_m g[2m]·v[2(t-3+m)+1]       0 ≤ m < 6
#pragma once

#include "../../common/words.cuh"
#include "twice.cuh"

namespace fastgan {

// A block is a warp, so that what is the same for all of it is computed once, beside the lanes.
constexpr int kAhead = 3, kBeyond = kTaps / 2 - 1;

template <class T>
struct Forward {
  using A = compute_t<T>;
  static constexpr int kRun = sizeof(T) == 8 ? 8 : 16;
  static constexpr int kStep = kWarp * kRun;  // outputs of a warp's step
  // Whole 16-byte vectors that hold kBeyond values.
  static constexpr int kNext = (kBeyond + Vec<T>::kN - 1) / Vec<T>::kN * Vec<T>::kN;
  // The even and the odd samples that the next lane reads; two are there to fill 16 bytes.
  using Edge = Run<A, 2 * kBeyond + 2>;
  // Cell l is what lane l reads. The last lane writes cells 0 and 32 in turn, which the first lane
  // reads a step later.
  struct alignas(16) Edges {
    Edge of[kWarp + 1];
  };
};

struct Stretches {
  int steps, of_warp;  // steps of a row and, at most, of a warp
  Divisor<uint32_t> warps_of_row, channels;
  int64_t warps;
};

// Each warp makes several steps with its filters at hand, where all multiprocessors have some warps
// all the same.
template <class T>
Stretches stretches_of(const AntiAliasedSnakeParams& p) {
  constexpr int64_t kMost = 8, kLeastWarps = 8;  // steps of a warp; warps of a multiprocessor
  const int64_t steps = divide_up(p.length, Forward<T>::kStep);
  const int64_t shared = steps * p.rows / (kLeastWarps * multiprocessors());
  const int64_t wanted = shared < 1 ? 1 : shared < kMost ? shared : kMost;
  const int64_t warps_of_row = divide_up(steps, wanted), of_warp = divide_up(steps, warps_of_row);
  const int64_t used = divide_up(steps, of_warp);
  return {int(steps), int(of_warp), Divisor<uint32_t>(used), Divisor<uint32_t>(p.channels),
          used * p.rows};
}

// What a warp begins with, in lanes 0 to 2·kBeyond - 1: the even samples from 2 places before x's
// place `begin` on and the odd ones from 3 before it. In the last lane: the row's last sample. For
// the whole warp to call.
template <class T>
__device__ __forceinline__ compute_t<T> first_samples(const T* row, int length, int begin,
                                                      const Weights<compute_t<T>>& f,
                                                      const Bend<T>& bend) {
  using A = compute_t<T>;
  constexpr int kHalf = kWarp / 2, kBefore = 8;  // lane kBefore of a half has its place in x
  const int lane = int(threadIdx.x), half = lane & kHalf;
  const int place = half ? length - 1 : begin, own = lane - half;
  const A x = load(row[clamp_index(place - kBefore + own, length)]);
  const bool is_odd = own >= kBeyond;
  int i = half ? length - 1 : begin - kAhead + own + (is_odd ? -kBeyond : 1), parity = is_odd;
  if (i < 0) i = parity = 0;  // beyond an end is that end
  if (i >= length) i = length - 1, parity = 1;
  const int from = half + i - place + kBefore + 2 + parity;
  A sum = 0;
#pragma unroll
  for (int m = 0; m < kTaps / 2; ++m)
    sum += (parity ? f.even[m] : f.odd[m]) * __shfl_sync(0xffffffffu, x, from - m);
  return bend(sum);
}

// A run of x and the kBeyond values after it, from `row` on; the last of `left` is repeated.
// is_inner: all that are read lie in the row.
template <class T, int kWidth>
struct Samples {
  static constexpr int kRun = Forward<T>::kRun, kNext = Forward<T>::kNext;
  using A = compute_t<T>;

  __device__ __forceinline__ Samples(const T* row, int left, bool is_inner) {
    if (is_inner && kWidth > 1) {
#pragma unroll
      for (int w = 0; w < kWords; w += int(16 / sizeof(Word))) {
        const Vec<Word> part = load16(reinterpret_cast<const Word*>(row) + w);
#pragma unroll
        for (int k = 0; k < Vec<Word>::kN; ++k) words[w + k] = part.v[k];
      }
    } else {
#pragma unroll
      for (int k = 0; k < kRun + kBeyond; ++k) set(k, row[k < left ? k : left - 1]);
    }
  }
  __device__ __forceinline__ A operator[](int k) const {
    if constexpr (sizeof(T) == 8)
      return words[k];
    else
      return cuda::element<T>(words[k / kPerWord], k % kPerWord);
  }

 private:
  using Word = std::conditional_t<sizeof(T) == 8, double, uint32_t>;
  static constexpr int kPerWord = sizeof(T) == 2 ? 2 : 1, kWords = (kRun + kNext) / kPerWord;
  Word words[kWords];

  __device__ __forceinline__ void set(int k, T value) {
    if constexpr (sizeof(T) == 8) {
      words[k] = value;
    } else if constexpr (sizeof(T) == 4) {
      words[k] = __float_as_uint(value);
    } else {
      const uint32_t bits = *reinterpret_cast<const uint16_t*>(&value);
      words[k / 2] = k % 2 == 0 ? bits : words[k / 2] | bits << 16;
    }
  }
};

template <class T, int kWidth, int kRun>
__device__ __forceinline__ void store_samples(T* row, int left, bool is_inner,
                                              const compute_t<T> (&values)[kRun]) {
  if (kWidth > 1 && is_inner) {
    Run<T, kRun> run;
#pragma unroll
    for (int r = 0; r < kRun; ++r) run.v[r] = narrow<T>(values[r]);
    store_run(row, run);
    return;
  }
#pragma unroll
  for (int r = 0; r < kRun; ++r)
    if (r < left) row[r] = narrow<T>(values[r]);
}

// A cell of a block's edges, by its offset in bytes.
template <class Edge>
__device__ __forceinline__ Edge& cell_at(Edge* cells, int offset) {
  return *reinterpret_cast<Edge*>(reinterpret_cast<unsigned char*>(cells) + offset);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kWarp, sizeof(T) == 8 ? 8 : 16)
    twice_forward_kernel(AntiAliasedSnakeParams p, Stretches s) {
  using A = compute_t<T>;
  using F = Forward<T>;
  constexpr int kRun = F::kRun;
  const int lane = int(threadIdx.x), length = int(p.length);
  const unsigned row = s.warps_of_row.divide(blockIdx.x);
  const unsigned channel = row - s.channels.divide(row) * unsigned(p.channels);
  const T* x = static_cast<const T*>(p.x) + row * p.length;
  T* y = static_cast<T*>(p.out) + row * p.length;
  const Bend<T> bend(p, channel);
  const Weights<A> f = weights_of<A, kWidth>(p.up_filter, A(2) * bend.unit),
                   g = weights_of<A, kWidth>(p.down_filter, A(1) / bend.unit);
  const int step = int(blockIdx.x - row * s.warps_of_row.divisor) * s.of_warp;
  const int end = min(step + s.of_warp, s.steps);
  typename F::Edge* edges = shared<typename F::Edges>().of;
  int begin = step * F::kStep;
  const A sample = first_samples(x, length, begin, f, bend);
  const A last = __shfl_sync(0xffffffffu, sample, kWarp - 1);
  if (lane < 2 * kBeyond) edges[0].v[lane] = sample;
  constexpr int kCell = int(sizeof(typename F::Edge)), kTurn = kWarp * kCell;
  int write = (lane + 1) * kCell, read = lane * kCell;
  const int turn_write = lane == kWarp - 1 ? kTurn : 0, turn_read = lane == 0 ? kTurn : 0;
  x += begin + lane * kRun;
  y += begin + lane * kRun;
#pragma unroll 1
  for (int steps = end - step; steps > 0;
       --steps, begin += F::kStep, x += F::kStep, y += F::kStep) {
    const int left = length - begin - lane * kRun;  // samples of the row from the lane's first on
    const bool is_inner = begin + F::kStep + F::kNext <= length;
    A a[kBeyond + kRun], b[kBeyond + kRun];  // even and odd samples
    {
      const Samples<T, kWidth> own(x, left, is_inner);
      A c[kRun + kBeyond];
#pragma unroll
      for (int k = 0; k < kRun + kBeyond; ++k) c[k] = own[k];
#pragma unroll
      for (int r = 0; r < kRun; ++r) {
        A even = 0, odd = 0;
#pragma unroll
        for (int m = 0; m < kTaps / 2; ++m) {
          even += f.odd[m] * c[r + kBeyond - m];
          odd += f.even[m] * c[r + kBeyond - m];
        }
        a[kBeyond + r] = bend(even);
        b[kBeyond + r] = bend(odd);
      }
    }
    if (!is_inner) {  // Beyond the end is the end.
#pragma unroll
      for (int r = 0; r < kRun; ++r) {
        if (kAhead + r >= left) a[kBeyond + r] = last;
        if (kAhead - 1 + r >= left) b[kBeyond + r] = last;
      }
    }
    typename F::Edge edge{};
#pragma unroll
    for (int k = 0; k < kBeyond; ++k) {
      edge.v[k] = a[kRun + k];
      edge.v[kBeyond + k] = b[kRun + k];
    }
    store_run(cell_at(edges, write).v, edge);
    __syncwarp();
    edge = load_run<2 * kBeyond + 2>(cell_at(edges, read).v);
    __syncwarp();
    write ^= turn_write;
    read ^= turn_read;
#pragma unroll
    for (int k = 0; k < kBeyond; ++k) {
      a[k] = edge.v[k];
      b[k] = edge.v[kBeyond + k];
    }
    A out[kRun];
#pragma unroll
    for (int r = 0; r < kRun; ++r) {
      A sum = 0;
#pragma unroll
      for (int m = 0; m < kTaps / 2; ++m) {
        sum += g.odd[m] * a[r + m];
        sum += g.even[m] * b[r + m];
      }
      out[r] = sum;
    }
    store_samples<T, kWidth>(y, left, is_inner, out);
  }
}

}  // namespace fastgan
