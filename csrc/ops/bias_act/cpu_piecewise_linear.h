// SPDX-License-Identifier: Apache-2.0
// For bias_act_cpu.cpp only: linear, relu and lrelu in float32 and bfloat16, where a pass costs
// little more than its memory traffic only if no operation is wasted. Two vectors at a time: of
// bfloat16, the even and the odd elements, which are had of one load by a shift and a mask.
#pragma once

#include "../../common/cpu_two.h"
#include "cpu_activation.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// What the loops need of the parameters; is_streamed: outputs go past the caches, to a multiple of
// the vector's size.
struct Linear {
  Floats alpha, gain, clamp;
  bool is_streamed;
};

// sums[k] += element k of v.
FASTGAN_INLINE void add_two(float* sums, Two v, float) {
  store_vector(sums, load_vector(sums) + v.a);
  store_vector(sums + kLanes, load_vector(sums + kLanes) + v.b);
}
FASTGAN_INLINE void add_two(float* sums, Two v, BFloat) {
  add_two(sums, {interleave<0>(v.a, v.b), interleave<1>(v.a, v.b)}, 0.0f);
}

constexpr int64_t kRowsElements = 8192;  // of rows of channels at once: they wait in L1
constexpr int64_t kShortRow = 8 * kTwo;  // longer ones are better walked one by one

enum class Branch { kZero, kLarger };  // relu; alpha ≤ 1: max(u, alpha·u)

template <Branch branch>
FASTGAN_INLINE Floats forward_vector(Floats u, Linear o) {
  // Of a NaN, the larger is the second argument.
  const Floats v = o.gain * larger_of(branch == Branch::kZero ? Floats{} : o.alpha * u, u);
  return larger_of(-o.clamp, smaller_of(o.clamp, v));
}

// n elements of one channel (bias), or from one channel on (bias_row).
template <Branch branch, class T>
FASTGAN_INLINE void forward_piece(const T* x, T* y, int64_t n, Floats bias, const T* bias_row,
                                  Linear o) {
  int64_t k = 0;
  for (; k + kTwo <= n; k += kTwo) {
    const Two u = load_two(x + k), b = bias_row ? load_two(bias_row + k) : Two{bias, bias};
    put_two(y + k, {forward_vector<branch>(u.a + b.a, o), forward_vector<branch>(u.b + b.b, o)},
            kTwo, o.is_streamed);
  }
  for (; k < n; k += kLanes) {
    const Floats b = bias_row ? load_lanes(bias_row + k, 0, n - k) : bias;
    const Floats v = forward_vector<branch>(load_lanes(x + k, 0, n - k) + b, o);
    store_lanes(y + k, v, n - k);
  }
}

// `rows` rows of n channels. The bias of a few vectors waits in registers for all rows.
template <Branch branch, int pairs, class T>
FASTGAN_INLINE void forward_rows_at(const T* x, T* y, int64_t rows, int64_t n, const T* bias,
                                    Linear o) {
  Two b[pairs];
#pragma GCC unroll 2
  for (int j = 0; j < pairs; ++j) b[j] = load_two(bias + j * kTwo);
  for (int64_t at = 0; at < rows * n; at += n)
#pragma GCC unroll 2
    for (int j = 0; j < pairs; ++j) {
      const Two u = load_two(x + at + j * kTwo) + b[j];
      put_two(y + at + j * kTwo, {forward_vector<branch>(u.a, o), forward_vector<branch>(u.b, o)},
              kTwo, o.is_streamed);
    }
}
template <Branch branch, class T>
FASTGAN_INLINE void forward_rows(const T* x, T* y, int64_t rows, int64_t n, const T* bias,
                                 Linear o) {
  int64_t k = 0;
  for (; k + 2 * kTwo <= n; k += 2 * kTwo)
    forward_rows_at<branch, 2>(x + k, y + k, rows, n, bias + k, o);
  for (; k + kTwo <= n; k += kTwo) forward_rows_at<branch, 1>(x + k, y + k, rows, n, bias + k, o);
  for (int64_t r = 0; k < n && r < rows; ++r)
    forward_piece<branch>(x + r * n + k, y + r * n + k, n - k, Floats{}, bias + k, o);
}

template <Branch branch, class T>
void forward_linear_range(const BiasActParams& p, int64_t begin, int64_t end, bool is_streamed) {
  const float clamp = p.clamp == p.clamp ? float(p.clamp) : __builtin_inff();
  const Linear o = {all_lanes(float(p.alpha)), all_lanes(float(p.gain)), all_lanes(clamp),
                    is_streamed};
  const T *x = static_cast<const T*>(p.x), *b = static_cast<const T*>(p.b);
  T* y = static_cast<T*>(p.out);
  const bool is_row = b && p.inner == 1;
  const int64_t run = is_row ? p.channels : p.inner;
  for (int64_t i = begin; i < end;) {
    const int64_t index = i / run;
    int64_t stop = smaller(end, (index + 1) * run);
    const int64_t rows = smaller((end - i) / run, at_least_one(kRowsElements / run));
    if (is_row && run <= kShortRow && i == index * run && rows > 0) {
      stop = i + rows * run;
      forward_rows<branch>(x + i, y + i, rows, run, b, o);
    } else if (is_row)
      forward_piece<branch>(x + i, y + i, stop - i, Floats{}, b + (i - index * run), o);
    else
      forward_piece<branch, T>(x + i, y + i, stop - i,
                               all_lanes(b ? load(b[index % p.channels]) : 0.0f), nullptr, o);
    i = stop;
  }
  if (o.is_streamed) end_of_stream();
}

template <class T>
bool is_streamable(const BiasActParams& p) {
  const int64_t run = p.b && p.inner == 1 ? p.channels : p.inner;
  return is_streamable(p.out, p.outer * p.channels * p.inner * int64_t(sizeof(T)),
                       run * int64_t(sizeof(T)));
}

template <class T>
void forward_linear(const BiasActParams& p, const Exec& exec, int64_t grain) {
  const int64_t n = p.outer * p.channels * p.inner;
  const bool is_streamed = is_streamable<T>(p);
  const int64_t whole = is_streamed ? kVectorBytes / int64_t(sizeof(T)) : 1;
  auto range = [&](int64_t begin, int64_t end) {
    begin = divide_up(begin, whole) * whole;  // neighbours agree on where one ends
    end = smaller(n, divide_up(end, whole) * whole);
    if (p.alpha == 0)
      forward_linear_range<Branch::kZero, T>(p, begin, end, is_streamed);
    else
      forward_linear_range<Branch::kLarger, T>(p, begin, end, is_streamed);
  };
  parallel(exec, n, grain, range);
}

// alpha holds gain · alpha; a clamp that is NaN is none.
template <bool has_y>
FASTGAN_INLINE Floats backward_vector(Floats dy, Floats y, Linear o) {
  if (!has_y) return dy * o.gain;
  const Floats d = dy * (y > Floats{} ? o.gain : o.alpha);
  const Floats size = floats_of(bits_of(y) & 0x7fffffffu);
  return size >= o.clamp ? Floats{} : d;
}

// dx of n elements; their sum where they are of one channel, else each is added to sums[k].
template <bool has_y, class T>
float backward_linear(const T* dy, const T* y, T* dx, int64_t n, float* sums, Linear o) {
  Two total = {};
  int64_t k = 0;
  for (; k + kTwo <= n; k += kTwo) {
    const Two g = load_two(dy + k), r = has_y ? load_two(y + k) : Two{};
    const Two d = {backward_vector<has_y>(g.a, r.a, o), backward_vector<has_y>(g.b, r.b, o)};
    put_two(dx + k, d, kTwo, o.is_streamed);
    if (sums) {
      add_two(sums + k, d, T{});
    } else {
      total.a += d.a;
      total.b += d.b;
    }
  }
  for (; k < n; k += kLanes) {
    const Floats r = has_y ? load_lanes(y + k, 0, n - k) : Floats{};
    // Zeros beyond n make zeros.
    const Floats d = backward_vector<has_y>(load_lanes(dy + k, 0, n - k), r, o);
    store_lanes(dx + k, d, n - k);
    if (sums)
      store_lanes(sums + k, load_lanes(sums + k, 0, n - k) + d, n - k);
    else
      total.a += d;
  }
  return sums ? 0.0f : sum_of_lanes(total.a + total.b);
}

// `rows` rows of n channels, whose sums (if wanted) wait in registers for all rows.
template <bool has_y, int pairs, class T>
FASTGAN_INLINE void backward_rows_at(const T* dy, const T* y, T* dx, int64_t rows, int64_t n,
                                     float* sums, Linear o) {
  Two total[pairs] = {};
  for (int64_t at = 0; at < rows * n; at += n)
#pragma GCC unroll 2
    for (int j = 0; j < pairs; ++j) {
      const int64_t k = at + j * kTwo;
      const Two g = load_two(dy + k), r = has_y ? load_two(y + k) : Two{};
      const Two d = {backward_vector<has_y>(g.a, r.a, o), backward_vector<has_y>(g.b, r.b, o)};
      put_two(dx + k, d, kTwo, o.is_streamed);
      total[j] = total[j] + d;
    }
#pragma GCC unroll 2
  for (int j = 0; sums && j < pairs; ++j) add_two(sums + j * kTwo, total[j], T{});
}
template <bool has_y, class T>
void backward_rows(const T* dy, const T* y, T* dx, int64_t rows, int64_t n, float* sums, Linear o) {
  const auto from = [](auto* p, int64_t k) { return p ? p + k : p; };
  int64_t k = 0;
  for (; k + 2 * kTwo <= n; k += 2 * kTwo)
    backward_rows_at<has_y, 2>(dy + k, from(y, k), dx + k, rows, n, from(sums, k), o);
  for (; k + kTwo <= n; k += kTwo)
    backward_rows_at<has_y, 1>(dy + k, from(y, k), dx + k, rows, n, from(sums, k), o);
  for (int64_t r = 0; k < n && r < rows; ++r) {
    const int64_t at = r * n + k;
    backward_linear<has_y>(dy + at, from(y, at), dx + at, n - k, from(sums, k), o);
  }
}

// Whether p.act, with these options, is for the functions of this file. NaN options would make NaNs
// that round_at_16 does not keep, and an alpha that is infinite or above 1 needs another branch.
inline bool is_piecewise_linear(const BiasActParams& p) {
  return (p.act == Activation::kLinear || p.act == Activation::kRelu ||
          p.act == Activation::kLrelu) &&
         p.alpha <= 1 && p.alpha - p.alpha == 0 && p.gain == p.gain;
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
