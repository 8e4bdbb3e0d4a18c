// For bias_act_cpu.cpp only: linear, relu and lrelu in float32 and bfloat16, where a pass costs
// little more than its memory traffic only if no operation is wasted. Two vectors at a time: of
// bfloat16, the even and the odd elements, which are had of one load by a shift and a mask.
#pragma once

#include "../../common/cpu_two.h"
#include "cpu_activation.h"

namespace fastgan::FASTGAN_ISA {
namespace {

template <bool v>
struct Constant {
  static constexpr bool value = v;
};

// is_streamed: past the caches, to a multiple of the vector's size.
template <bool is_streamed>
FASTGAN_INLINE void store_two(float* p, Two v) {
  put_vector<is_streamed>(p, v.a);
  put_vector<is_streamed>(p + kLanes, v.b);
}
template <bool is_streamed>
FASTGAN_INLINE void store_two(BFloat* p, Two v) {
  const Words w = round_at_16(v.a) >> 16 | (round_at_16(v.b) & 0xffff0000u);
  put_vector<is_streamed>(reinterpret_cast<float*>(p), floats_of(w));
}

// sums[k] += element k of v.
FASTGAN_INLINE void add_two(float* sums, Two v, float) {
  store_vector(sums, load_vector(sums) + v.a);
  store_vector(sums + kLanes, load_vector(sums + kLanes) + v.b);
}
FASTGAN_INLINE void add_two(float* sums, Two v, BFloat) {
  add_two(sums, {interleave<0>(v.a, v.b), interleave<1>(v.a, v.b)}, 0.0f);
}

constexpr int64_t kRowsElements = 8192;  // of rows of channels at once: they wait in L1

enum class Branch { kZero, kLarger };  // relu; alpha ≤ 1: max(u, alpha·u)

template <Branch branch, bool has_clamp>
FASTGAN_INLINE Floats forward_vector(Floats u, Options<Floats> o) {
  // Of a NaN, the larger is the second argument.
  const Floats v = o.gain * larger_of(branch == Branch::kZero ? Floats{} : o.alpha * u, u);
  return has_clamp ? larger_of(-o.clamp, smaller_of(o.clamp, v)) : v;
}

// n elements of one channel (bias), or from one channel on (bias_row).
template <Branch branch, bool has_clamp, bool is_streamed, class T>
FASTGAN_INLINE void forward_piece(const T* x, T* y, int64_t n, Floats bias, const T* bias_row,
                                  Options<Floats> o) {
  int64_t k = 0;
  for (; k + kTwo <= n; k += kTwo) {
    const Two u = load_two(x + k), b = bias_row ? load_two(bias_row + k) : Two{bias, bias};
    store_two<is_streamed>(y + k, {forward_vector<branch, has_clamp>(u.a + b.a, o),
                                   forward_vector<branch, has_clamp>(u.b + b.b, o)});
  }
  for (; k < n; k += kLanes) {
    const Floats b = bias_row ? load_lanes(bias_row + k, 0, n - k) : bias;
    const Floats v = forward_vector<branch, has_clamp>(load_lanes(x + k, 0, n - k) + b, o);
    store_lanes(y + k, v, n - k);
  }
}

// `rows` rows of n channels. The bias of a few vectors waits in registers for all rows.
template <Branch branch, bool has_clamp, bool is_streamed, int pairs, class T>
FASTGAN_INLINE void forward_rows_at(const T* x, T* y, int64_t rows, int64_t n, const T* bias,
                                    Options<Floats> o) {
  Two b[pairs];
#pragma GCC unroll 2
  for (int j = 0; j < pairs; ++j) b[j] = load_two(bias + j * kTwo);
  for (int64_t at = 0; at < rows * n; at += n)
#pragma GCC unroll 2
    for (int j = 0; j < pairs; ++j) {
      const Two u = load_two(x + at + j * kTwo) + b[j];
      store_two<is_streamed>(y + at + j * kTwo, {forward_vector<branch, has_clamp>(u.a, o),
                                                 forward_vector<branch, has_clamp>(u.b, o)});
    }
}
template <Branch branch, bool has_clamp, bool is_streamed, class T>
FASTGAN_INLINE void forward_rows(const T* x, T* y, int64_t rows, int64_t n, const T* bias,
                                 Options<Floats> o) {
  int64_t k = 0;
  for (; k + 2 * kTwo <= n; k += 2 * kTwo)
    forward_rows_at<branch, has_clamp, is_streamed, 2>(x + k, y + k, rows, n, bias + k, o);
  for (; k + kTwo <= n; k += kTwo)
    forward_rows_at<branch, has_clamp, is_streamed, 1>(x + k, y + k, rows, n, bias + k, o);
  for (int64_t r = 0; k < n && r < rows; ++r)
    forward_piece<branch, has_clamp, is_streamed>(x + r * n + k, y + r * n + k, n - k, Floats{},
                                                  bias + k, o);
}

template <Branch branch, bool has_clamp, bool is_streamed, class T>
void forward_linear_range(const BiasActParams& p, int64_t begin, int64_t end) {
  const Options<Floats> o = {all_lanes(p.alpha), all_lanes(p.gain), all_lanes(p.clamp)};
  const T *x = static_cast<const T*>(p.x), *b = static_cast<const T*>(p.b);
  T* y = static_cast<T*>(p.out);
  const bool is_row = b && p.inner == 1;
  const int64_t run = is_row ? p.channels : p.inner;
  for (int64_t i = begin; i < end;) {
    const int64_t index = i / run;
    int64_t stop = smaller(end, (index + 1) * run);
    const int64_t rows = smaller((end - i) / run, at_least_one(kRowsElements / run));
    if (is_row && i == index * run && rows > 0) {
      stop = i + rows * run;
      forward_rows<branch, has_clamp, is_streamed>(x + i, y + i, rows, run, b, o);
    } else if (is_row)
      forward_piece<branch, has_clamp, is_streamed>(x + i, y + i, stop - i, Floats{},
                                                    b + (i - index * run), o);
    else
      forward_piece<branch, has_clamp, is_streamed, T>(
          x + i, y + i, stop - i, all_lanes(b ? load(b[index % p.channels]) : 0.0f), nullptr, o);
    i = stop;
  }
  if (is_streamed) end_of_stream();
}

template <class T>
bool is_streamable(const BiasActParams& p) {
  const int64_t run = p.b && p.inner == 1 ? p.channels : p.inner;
  return is_streamable(p.out, p.outer * p.channels * p.inner * int64_t(sizeof(T)),
                       run * int64_t(sizeof(T)));
}

template <Branch branch, bool has_clamp, class T>
void forward_linear_with(const BiasActParams& p, const Exec& exec, int64_t grain) {
  const int64_t n = p.outer * p.channels * p.inner;
  auto range = [&](int64_t begin, int64_t end) {
    forward_linear_range<branch, has_clamp, false, T>(p, begin, end);
  };
  auto streamed = [&](int64_t begin, int64_t end) {
    constexpr int64_t size = kVectorBytes / sizeof(T);
    begin = divide_up(begin, size) * size;  // neighbours agree on where one ends
    end = end == n ? n : divide_up(end, size) * size;
    forward_linear_range<branch, has_clamp, true, T>(p, begin, smaller(end, n));
  };
  if (is_streamable<T>(p))
    parallel(exec, n, grain, streamed);
  else
    parallel(exec, n, grain, range);
}

template <class T>
void forward_linear(const BiasActParams& p, const Exec& exec, int64_t grain) {
  const bool has_clamp = p.clamp == p.clamp;
  const auto run = [&](auto clamp) {
    constexpr bool c = decltype(clamp)::value;
    if (p.alpha == 0)
      forward_linear_with<Branch::kZero, c, T>(p, exec, grain);
    else
      forward_linear_with<Branch::kLarger, c, T>(p, exec, grain);
  };
  has_clamp ? run(Constant<true>{}) : run(Constant<false>{});
}

// alpha holds gain · alpha.
template <bool has_y, bool has_clamp>
FASTGAN_INLINE Floats backward_vector(Floats dy, Floats y, Options<Floats> o) {
  if (!has_y) return dy * o.gain;
  const Floats d = dy * (y > Floats{} ? o.gain : o.alpha);
  if (!has_clamp) return d;
  const Floats size = floats_of(bits_of(y) & 0x7fffffffu);
  return size >= o.clamp ? Floats{} : d;
}

// dx of n elements; their sum where they are of one channel, else each is added to sums[k].
template <bool has_y, bool has_clamp, bool is_streamed, class T>
FASTGAN_INLINE float backward_linear(const T* dy, const T* y, T* dx, int64_t n, float* sums,
                                     Options<Floats> o) {
  Two total = {};
  int64_t k = 0;
  for (; k + kTwo <= n; k += kTwo) {
    const Two g = load_two(dy + k), r = has_y ? load_two(y + k) : Two{};
    const Two d = {backward_vector<has_y, has_clamp>(g.a, r.a, o),
                   backward_vector<has_y, has_clamp>(g.b, r.b, o)};
    store_two<is_streamed>(dx + k, d);
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
    const Floats d = backward_vector<has_y, has_clamp>(load_lanes(dy + k, 0, n - k), r, o);
    store_lanes(dx + k, d, n - k);
    if (sums)
      store_lanes(sums + k, load_lanes(sums + k, 0, n - k) + d, n - k);
    else
      total.a += d;
  }
  return sums ? 0.0f : sum_of_lanes(total.a + total.b);
}

// `rows` rows of n channels, whose sums (if wanted) wait in registers for all rows.
template <bool has_y, bool has_clamp, bool is_streamed, int pairs, class T>
FASTGAN_INLINE void backward_rows_at(const T* dy, const T* y, T* dx, int64_t rows, int64_t n,
                                     float* sums, Options<Floats> o) {
  Two total[pairs] = {};
  for (int64_t at = 0; at < rows * n; at += n)
#pragma GCC unroll 2
    for (int j = 0; j < pairs; ++j) {
      const int64_t k = at + j * kTwo;
      const Two g = load_two(dy + k), r = has_y ? load_two(y + k) : Two{};
      const Two d = {backward_vector<has_y, has_clamp>(g.a, r.a, o),
                     backward_vector<has_y, has_clamp>(g.b, r.b, o)};
      store_two<is_streamed>(dx + k, d);
      total[j] = total[j] + d;
    }
#pragma GCC unroll 2
  for (int j = 0; sums && j < pairs; ++j) add_two(sums + j * kTwo, total[j], T{});
}
template <bool has_y, bool has_clamp, bool is_streamed, class T>
FASTGAN_INLINE void backward_rows(const T* dy, const T* y, T* dx, int64_t rows, int64_t n,
                                  float* sums, Options<Floats> o) {
  const auto from = [](auto* p, int64_t k) { return p ? p + k : p; };
  int64_t k = 0;
  for (; k + 2 * kTwo <= n; k += 2 * kTwo)
    backward_rows_at<has_y, has_clamp, is_streamed, 2>(dy + k, from(y, k), dx + k, rows, n,
                                                       from(sums, k), o);
  for (; k + kTwo <= n; k += kTwo)
    backward_rows_at<has_y, has_clamp, is_streamed, 1>(dy + k, from(y, k), dx + k, rows, n,
                                                       from(sums, k), o);
  for (int64_t r = 0; k < n && r < rows; ++r) {
    const int64_t at = r * n + k;
    backward_linear<has_y, has_clamp, is_streamed>(dy + at, from(y, at), dx + at, n - k,
                                                   from(sums, k), o);
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
