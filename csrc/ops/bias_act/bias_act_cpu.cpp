// SPDX-License-Identifier: Apache-2.0
// CPU kernels of bias_act: one pass over memory, compiled once per instruction set.
// Piecewise-linear activations in float32 and bfloat16 have loops of their own; everything else is
// done in blocks, which are loaded, computed in float32 (float64 for float64) and stored.
#include "bias_act.h"

#include "cpu_activation.h"
#include "cpu_piecewise_linear.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Elements that one partial sum of the bias gradient covers: fixed by the shape alone, so that
// the result does not depend on the number of threads.
constexpr int64_t kSliceElements = 8192, kSliceRows = 128;
constexpr int64_t kSlicesAtOnce = 32, kChannelsAtOnce = 64;

template <class T>
constexpr bool has_vectors = false;
template <>
constexpr bool has_vectors<float> = kHasWideVectors;
template <>
constexpr bool has_vectors<BFloat> = kHasWideVectors;

template <class T>
Options<compute_t<T>> options_of(const BiasActParams& p) {
  using A = compute_t<T>;
  return {A(p.alpha), A(p.gain), A(p.clamp)};
}

int64_t grain_of(const BiasActParams& p) {
  const int64_t bytes = p.dtype == DType::kFloat64 ? 8 : p.dtype == DType::kFloat32 ? 4 : 2;
  return kGrainBytes / bytes;
}

template <class T, class A>
inline void load_block(A* to, const T* from, int64_t n) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) to[k] = load(from[k]);
}
template <class T, class A>
inline void store_block(T* to, const A* from, int64_t n) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) store(to + k, from[k]);
}
// u += the bias of n elements: of one channel, or from one channel on.
template <class T, class A>
inline void add_bias(A* u, const T* bias, bool is_row, int64_t n) {
  if (!bias) return;
  if (is_row) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) u[k] += load(bias[k]);
    return;
  }
  const A b = load(*bias);
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) u[k] += b;
}

template <class T>
void forward_range(const BiasActParams& p, int64_t begin, int64_t end) {
  const T *x = static_cast<const T*>(p.x), *b = static_cast<const T*>(p.b);
  T* y = static_cast<T*>(p.out);
  const bool is_row = p.inner == 1;
  const int64_t run = is_row ? p.channels : p.inner;
  compute_t<T> u[kBlock];
  for (int64_t i = begin; i < end;) {
    const int64_t index = i / run, n = smaller(smaller(end, (index + 1) * run) - i, kBlock);
    load_block(u, x + i, n);
    add_bias(u, b ? b + (is_row ? i - index * run : index % p.channels) : nullptr, is_row, n);
    activate(p.act, u, n, options_of<T>(p));
    store_block(y + i, u, n);
    i += n;
  }
}

int forward(const BiasActParams& p, const Exec& exec) {
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (has_vectors<T>)
      if (is_piecewise_linear(p)) return forward_linear<T>(p, exec, grain_of(p));
    auto range = [&](int64_t begin, int64_t end) { forward_range<T>(p, begin, end); };
    parallel(exec, p.outer * p.channels * p.inner, grain_of(p), range);
  });
  return 0;
}

// n elements of one channel (their sum comes back), or from one channel on (added to sums[k]).
// `reference` is what the derivative is read off: y, or x, or null (linear without clamp).
template <class T>
compute_t<T> backward_piece(const BiasActParams& p, const T* dy, const T* reference, const T* bias,
                            T* dx, int64_t n, bool is_row, compute_t<T>* sums,
                            Options<compute_t<T>> o) {
  using A = compute_t<T>;
  A d[kBlock], u[kBlock], total = 0;
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t m = smaller(kBlock, n - start);
    load_block(d, dy + start, m);
    if (!reference) {
#pragma omp simd
      for (int64_t k = 0; k < m; ++k) d[k] *= o.gain;
    } else {
      load_block(u, reference + start, m);
      if (p.y) {
        multiply_by_slope_of_y(d, u, m, o);
      } else {
        add_bias(u, bias && is_row ? bias + start : bias, is_row, m);
        multiply_by_slope(p.act, d, u, m, o);
      }
    }
    store_block(dx + start, d, m);
    if (sums) {
      A* sums_at = sums + start;
#pragma omp simd
      for (int64_t k = 0; k < m; ++k) sums_at[k] += d[k];
    } else if (!is_row) {
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < m; ++k) sum += d[k];
      total += sum;
    }
  }
  return total;
}

// Rows of [channels, inner] (inner > 1: pieces of one channel's plane) that one slice covers.
int64_t slice_rows(const BiasActParams& p) {
  if (p.inner != 1) return 0;
  return at_least_one(smaller(kSliceRows, kSliceElements / at_least_one(p.channels)));
}
int64_t slices_per_row(const BiasActParams& p) { return divide_up(p.inner, kSliceElements); }

int64_t slices(const BiasActParams& p) {
  return p.inner == 1 ? divide_up(p.outer, slice_rows(p)) : p.outer * slices_per_row(p);
}

// piece(dy, reference, bias, dx, rows, n, sums) does `rows` rows of n elements, one after another,
// each as backward_piece does; rows is 1 where a row is of one channel.
template <class T, class Piece>
void backward_slices(const BiasActParams& p, const Exec& exec, Piece&& piece) {
  using A = compute_t<T>;
  const T* dy = static_cast<const T*>(p.dy);
  const T* reference = static_cast<const T*>(p.y ? p.y : p.x);
  const T* b = p.y ? nullptr : static_cast<const T*>(p.b);
  T* dx = static_cast<T*>(p.out);
  A* scratch = static_cast<A*>(p.scratch);

  if (p.inner == 1) {
    const int64_t rows = slice_rows(p);
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t slice = begin; slice < end; ++slice) {
        A* sums = p.db ? scratch + slice * p.channels : nullptr;
        for (int64_t c = 0; sums && c < p.channels; ++c) sums[c] = 0;
        const int64_t at = slice * rows * p.channels;
        piece(dy + at, reference ? reference + at : nullptr, b, dx + at,
              smaller(rows, p.outer - slice * rows), p.channels, sums);
      }
      end_of_stream();
    };
    parallel(exec, slices(p), at_least_one(grain_of(p) / kSliceElements), range);
  } else {
    const int64_t per_row = slices_per_row(p);
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / per_row, part = k % per_row;  // row = outer index · channels + c
        const int64_t c = row % p.channels, at = row * p.inner + part * kSliceElements;
        const int64_t n = smaller(kSliceElements, p.inner - part * kSliceElements);
        const A sum = piece(dy + at, reference ? reference + at : nullptr, b ? b + c : nullptr,
                            dx + at, 1, n, nullptr);
        if (p.db) scratch[((row / p.channels) * per_row + part) * p.channels + c] = sum;
      }
      end_of_stream();
    };
    const int64_t most = smaller(kSliceElements, p.inner);
    parallel(exec, p.outer * p.channels * per_row, at_least_one(grain_of(p) / most), range);
  }
  if (p.db) {
    const int64_t count = slices(p);
    T* db = static_cast<T*>(p.db);
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; c += kChannelsAtOnce) {
        const int64_t n = smaller(kChannelsAtOnce, end - c);
        A sum[kChannelsAtOnce] = {};
        for (int64_t s = 0; s < count; s += kSlicesAtOnce) {  // sums of sums keep their last digits
          const int64_t stop = smaller(count, s + kSlicesAtOnce);
          A part[kChannelsAtOnce] = {};
          for (int64_t k = s; k < stop; ++k) {
            const A* from = scratch + k * p.channels + c;
#pragma omp simd
            for (int64_t j = 0; j < n; ++j) part[j] += from[j];
          }
#pragma omp simd
          for (int64_t j = 0; j < n; ++j) sum[j] += part[j];
        }
        for (int64_t j = 0; j < n; ++j) store(db + c + j, sum[j]);
      }
    };
    parallel(exec, p.channels, at_least_one(grain_of(p) / at_least_one(count)), range);
  }
}

template <class T>
void backward_typed(const BiasActParams& p, const Exec& exec) {
  Options<compute_t<T>> o = options_of<T>(p);
  if (p.y) o.clamp = round_to<T>(o.clamp);
  if constexpr (has_vectors<T>) {
    if ((p.y || !p.x) && is_piecewise_linear(p)) {
      const Linear v = {all_lanes(o.gain * o.alpha), all_lanes(o.gain), all_lanes(o.clamp),
                        is_streamable<T>(p)};
      const auto run = [&](auto piece, auto rows_piece) {
        backward_slices<T>(p, exec,
                           [&, piece, rows_piece](const T* dy, const T* y, const T*, T* dx,
                                                  int64_t rows, int64_t n, float* sums) {
                             if (p.inner != 1) return piece(dy, y, dx, n, sums, v);
                             rows_piece(dy, y, dx, rows, n, sums, v);
                             return 0.0f;
                           });
      };
      return p.y ? run(backward_linear<true, T>, backward_rows<true, T>)
                 : run(backward_linear<false, T>, backward_rows<false, T>);
    }
  }
  const bool is_row = p.inner == 1;
  backward_slices<T>(p, exec,
                     [&](const T* dy, const T* reference, const T* bias, T* dx, int64_t rows,
                         int64_t n, compute_t<T>* sums) {
                       compute_t<T> total = 0;
                       for (int64_t at = 0; at < rows * n; at += n)
                         total +=
                             backward_piece<T>(p, dy + at, reference ? reference + at : nullptr,
                                               bias, dx + at, n, is_row, sums, o);
                       return total;
                     });
}

int backward(const BiasActParams& p, const Exec& exec) {
  dispatch(p.dtype, [&](auto type) { backward_typed<decltype(type)>(p, exec); });
  return 0;
}

}  // namespace

extern const BiasActKernels bias_act;
const BiasActKernels bias_act = {slices, forward, backward};

}  // namespace fastgan::FASTGAN_ISA
