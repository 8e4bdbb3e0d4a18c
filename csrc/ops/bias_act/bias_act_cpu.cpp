// CPU kernels of bias_act: one pass over memory, compiled once per instruction set.
#include "bias_act.h"

#include "../../common/cpu_math.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Elements that one partial sum of the bias gradient covers: fixed by the shape alone, so that
// the result does not depend on the number of threads.
constexpr int64_t kSliceElements = 8192, kSliceRows = 128;
constexpr int64_t kSlicesAtOnce = 32;

template <class A>
struct Options {
  A alpha, gain, clamp;
};

// value(u) and slope(u) = dvalue/du, both before the gain.
struct PiecewiseLinear {
  template <class A>
  static A value(A u, A alpha) {
    return u > 0 ? u : alpha == 0 && u < 0 ? A(0) : u * alpha;  // relu(-inf) is 0, relu(NaN) NaN
  }
  template <class A>
  static A slope(A u, A alpha) {
    return u > 0 ? A(1) : alpha;
  }
};
struct Tanh {
  template <class A>
  static A value(A u, A) {
    return hyperbolic_tangent(u);
  }
  template <class A>
  static A slope(A u, A) {
    const A t = hyperbolic_tangent(u);
    return A(1) - t * t;
  }
};
struct Sigmoid {
  template <class A>
  static A value(A u, A) {
    return sigmoid(u);
  }
  template <class A>
  static A slope(A u, A) {
    const A s = sigmoid(u);
    return s * (A(1) - s);
  }
};
struct Elu {
  template <class A>
  static A value(A u, A) {
    return u > 0 ? u : expm1_below_zero(u > 0 ? A(0) : u);
  }
  template <class A>
  static A slope(A u, A) {
    return u > 0 ? A(1) : exponential(u > 0 ? A(0) : u);
  }
};
struct Selu {
  static constexpr double kScale = 1.0507009873554805, kAlpha = 1.6732632423543772;
  template <class A>
  static A value(A u, A alpha) {
    const A e = Elu::value(u, alpha);
    return A(kScale) * (u > 0 ? e : A(kAlpha) * e);
  }
  template <class A>
  static A slope(A u, A alpha) {
    const A e = Elu::slope(u, alpha);
    return A(kScale) * (u > 0 ? e : A(kAlpha) * e);
  }
};
struct Softplus {
  template <class A>
  static A value(A u, A) {
    return (u > 0 ? u : A(0)) + log1p_below_one(exponential(u > 0 ? -u : u));
  }
  template <class A>
  static A slope(A u, A) {
    return sigmoid(u);
  }
};
struct Swish {
  template <class A>
  static A value(A u, A) {
    return u * sigmoid(u);
  }
  template <class A>
  static A slope(A u, A) {
    const A s = sigmoid(u);
    return s + u * s * (A(1) - s);
  }
};

template <class F>
void dispatch_activation(Activation act, F&& f) {
  switch (act) {
    case Activation::kLinear:
    case Activation::kRelu:
    case Activation::kLrelu: f(PiecewiseLinear{}); break;
    case Activation::kTanh: f(Tanh{}); break;
    case Activation::kSigmoid: f(Sigmoid{}); break;
    case Activation::kElu: f(Elu{}); break;
    case Activation::kSelu: f(Selu{}); break;
    case Activation::kSoftplus: f(Softplus{}); break;
    case Activation::kSwish: f(Swish{}); break;
  }
}

template <class Act, class A>
inline A forward_one(A u, Options<A> o) {
  const A v = o.gain * Act::value(u, o.alpha);
  const A low = v < -o.clamp ? -o.clamp : v;  // a NaN passes through both comparisons
  return low > o.clamp ? o.clamp : low;
}

// Calls row(start, length, channel) for the pieces of [begin, end) that lie in one channel.
template <class F>
inline void for_rows(const BiasActParams& p, int64_t begin, int64_t end, F&& row) {
  int64_t i = begin;
  while (i < end) {
    const int64_t index = i / p.inner;
    const int64_t stop = smaller(end, (index + 1) * p.inner);
    row(i, stop - i, index % p.channels);
    i = stop;
  }
}

template <class T, class Act>
void forward_range(const BiasActParams& p, Options<compute_t<T>> o, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const T* x = static_cast<const T*>(p.x);
  const T* b = static_cast<const T*>(p.b);
  T* y = static_cast<T*>(p.out);
  if (b && p.inner == 1) {  // channels_last: the bias runs along the vector
    for (int64_t i = begin; i < end;) {
      const int64_t c = i % p.channels, length = smaller(end - i, p.channels - c);
      const T *xi = x + i, *bc = b + c;
      T* yi = y + i;
#pragma omp simd
      for (int64_t k = 0; k < length; ++k)
        store(yi + k, forward_one<Act, A>(load(xi[k]) + load(bc[k]), o));
      i += length;
    }
    return;
  }
  for_rows(p, begin, end, [&](int64_t start, int64_t length, int64_t c) {
    const A bias = b ? load(b[c]) : A(0);
    const T* xi = x + start;
    T* yi = y + start;
#pragma omp simd
    for (int64_t k = 0; k < length; ++k) store(yi + k, forward_one<Act, A>(load(xi[k]) + bias, o));
  });
}

template <class T>
Options<compute_t<T>> options_of(const BiasActParams& p) {
  using A = compute_t<T>;
  return {A(p.alpha), A(p.gain), A(p.clamp)};
}

int64_t grain_of(const BiasActParams& p) {
  const int64_t bytes = p.dtype == DType::kFloat64 ? 8 : p.dtype == DType::kFloat32 ? 4 : 2;
  return kGrainBytes / bytes;
}

int forward(const BiasActParams& p, const Exec& exec) {
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    dispatch_activation(p.act, [&](auto act) {
      const auto options = options_of<T>(p);
      auto range = [&](int64_t begin, int64_t end) {
        forward_range<T, decltype(act)>(p, options, begin, end);
      };
      parallel(exec, p.outer * p.channels * p.inner, grain_of(p), range);
    });
  });
  return 0;
}

// Options go by value everywhere: read through a reference, a branch of a select becomes a load
// that must not happen early, and the loop stays scalar.
//
// dx of one element. kFromY: the branch is read off the forward output (gain > 0, alpha ≥ 0), whose
// clamp bound is rounded to the storage type as the output itself was.
template <class Act, bool kFromY, class A>
inline A backward_one(A dy, A reference, Options<A> o) {
  if (kFromY) {
    const A slope = reference > 0 ? o.gain : o.gain * o.alpha;
    const A size = reference < 0 ? -reference : reference;
    return size >= o.clamp ? A(0) : dy * slope;  // a NaN is never hidden
  }
  const A v = o.gain * Act::value(reference, o.alpha);
  const A size = v < 0 ? -v : v;
  return size >= o.clamp ? A(0) : dy * (o.gain * Act::slope(reference, o.alpha));
}

// What the derivative is read off: y, or u = x + b, or nothing (linear without clamp).
template <class T>
struct Reference {
  const T* data;
  const T* bias;
};

template <class T, class Act, bool kFromY>
compute_t<T> backward_row(const T* dy, const T* reference, compute_t<T> bias, T* dx, int64_t length,
                          Options<compute_t<T>> o) {
  using A = compute_t<T>;
  A sum = 0;
  if (!reference) {
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < length; ++k) {
      const A d = load(dy[k]) * o.gain;
      store(dx + k, d);
      sum += d;
    }
    return sum;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < length; ++k) {
    const A d = backward_one<Act, kFromY, A>(load(dy[k]), load(reference[k]) + bias, o);
    store(dx + k, d);
    sum += d;
  }
  return sum;
}

constexpr int64_t kBlock = 512;  // channels at once: what they come to waits in L1

template <class T, class Act, bool kFromY>
void backward_channels_last(const T* dy, const T* reference, const T* bias, T* dx,
                            compute_t<T>* sums, int64_t channels, Options<compute_t<T>> o) {
  using A = compute_t<T>;
  A d[kBlock], r[kBlock];
  for (int64_t start = 0; start < channels; start += kBlock) {
    const int64_t n = smaller(kBlock, channels - start);
    // One plain loop per purpose: the compiler vectorises each of these, not their combination.
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) d[k] = load(dy[start + k]);
    if (!reference) {
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) d[k] *= o.gain;
    } else {
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) r[k] = load(reference[start + k]);
      if (bias) {
#pragma omp simd
        for (int64_t k = 0; k < n; ++k) r[k] += load(bias[start + k]);
      }
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) d[k] = backward_one<Act, kFromY, A>(d[k], r[k], o);
    }
    T* dx_at = dx + start;
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) store(dx_at + k, d[k]);
    if (!sums) continue;
    A* sums_at = sums + start;
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) sums_at[k] += d[k];
  }
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

template <class T, class Act, bool kFromY>
void backward_typed(const BiasActParams& p, const Exec& exec) {
  using A = compute_t<T>;
  Options<A> o = options_of<T>(p);
  if (kFromY) o.clamp = round_to<T>(o.clamp);
  const T* dy = static_cast<const T*>(p.dy);
  const T* reference = static_cast<const T*>(kFromY ? p.y : p.x);
  const T* b = kFromY ? nullptr : static_cast<const T*>(p.b);
  T* dx = static_cast<T*>(p.out);
  A* scratch = static_cast<A*>(p.scratch);

  if (p.inner == 1) {
    const int64_t rows = slice_rows(p);
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t slice = begin; slice < end; ++slice) {
        A* sums = p.db ? scratch + slice * p.channels : nullptr;
        for (int64_t c = 0; sums && c < p.channels; ++c) sums[c] = 0;
        for (int64_t o_ = slice * rows; o_ < smaller(p.outer, (slice + 1) * rows); ++o_) {
          const int64_t at = o_ * p.channels;
          backward_channels_last<T, Act, kFromY>(dy + at, reference ? reference + at : nullptr, b,
                                                 dx + at, sums, p.channels, o);
        }
      }
    };
    parallel(exec, slices(p), at_least_one(grain_of(p) / kSliceElements), range);
  } else {
    const int64_t per_row = slices_per_row(p);
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / per_row, piece = k % per_row;  // row = outer index · channels + c
        const int64_t c = row % p.channels, at = row * p.inner + piece * kSliceElements;
        const int64_t length = smaller(kSliceElements, p.inner - piece * kSliceElements);
        const A sum = backward_row<T, Act, kFromY>(dy + at, reference ? reference + at : nullptr,
                                                   b ? load(b[c]) : A(0), dx + at, length, o);
        if (p.db) scratch[((row / p.channels) * per_row + piece) * p.channels + c] = sum;
      }
    };
    const int64_t piece = smaller(kSliceElements, p.inner);
    parallel(exec, p.outer * p.channels * per_row, at_least_one(grain_of(p) / piece), range);
  }
  if (p.db) {
    const int64_t count = slices(p);
    T* db = static_cast<T*>(p.db);
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        A sum = 0;
        for (int64_t s = 0; s < count; s += kSlicesAtOnce) {  // sums of sums keep their last digits
          const int64_t stop = smaller(count, s + kSlicesAtOnce);
          A part = 0;
          for (int64_t k = s; k < stop; ++k) part += scratch[k * p.channels + c];
          sum += part;
        }
        store(db + c, sum);
      }
    };
    parallel(exec, p.channels, at_least_one(grain_of(p) / at_least_one(count)), range);
  }
}

int backward(const BiasActParams& p, const Exec& exec) {
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (p.y || !p.x) {
      backward_typed<T, PiecewiseLinear, true>(p, exec);
    } else {
      dispatch_activation(p.act,
                          [&](auto act) { backward_typed<T, decltype(act), false>(p, exec); });
    }
  });
  return 0;
}

}  // namespace

extern const BiasActKernels bias_act;
const BiasActKernels bias_act = {slices, forward, backward};

}  // namespace fastgan::FASTGAN_ISA
