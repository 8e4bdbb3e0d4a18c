// SPDX-License-Identifier: Apache-2.0
// CPU kernels of noise_bias_act: one pass over memory forward and one backward, the sums for scale,
// strength and b out of the pass that makes dx. Compiled once per instruction set.
#include "../../common/cpu.h"
#include "noise_bias_act.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Elements that one partial sum covers: fixed by the shape alone, so that the result does not
// depend on the number of threads.
constexpr int64_t kSliceElements = 8192, kSliceRows = 128;
constexpr int64_t kBlock = 512;  // channels at once: what they come to waits in L1
constexpr int kSums = 3;         // du·x, du, du·noise

template <class A>
struct Options {
  A alpha, gain, clamp;
};

template <class T>
Options<compute_t<T>> options_of(const NoiseBiasActParams& p) {
  using A = compute_t<T>;
  return {A(p.alpha), A(p.gain), A(p.clamp)};
}

// Options go by value everywhere: read through a reference, a branch of a select becomes a load
// that must not happen early, and the loop stays scalar.
template <class A>
inline A forward_one(A u, Options<A> o) {
  // relu(-inf) is 0, relu(NaN) NaN; a NaN passes through both comparisons with the clamp.
  const A v = o.gain * (u > 0 ? u : o.alpha == 0 && u < 0 ? A(0) : u * o.alpha);
  const A low = v < -o.clamp ? -o.clamp : v;
  return low > o.clamp ? o.clamp : low;
}

// du of one element. y > 0 where u > 0, and holds the clamp as its dtype rounds it.
template <class A>
struct Slope {
  A above, below, clamp;
};
template <class A>
inline A backward_one(A dy, A y, Slope<A> o) {
  const A size = y < 0 ? -y : y;
  return size >= o.clamp ? A(0) : dy * (y > 0 ? o.above : o.below);
}

// Without y the activation is linear and unclamped, and dy is read in its place to no effect.
template <class T>
Slope<compute_t<T>> slope_of(const NoiseBiasActParams& p) {
  using A = compute_t<T>;
  const Options<A> o = options_of<T>(p);
  if (!p.y) return {o.gain, o.gain, A(__builtin_nan(""))};
  return {o.gain, o.gain * o.alpha, round_to<T>(o.clamp)};
}

int64_t bytes_of(const NoiseBiasActParams& p) {
  return p.dtype == DType::kFloat64 ? 8 : p.dtype == DType::kFloat32 ? 4 : 2;
}

// What stands in for an absent scale and an absent b.
template <class A>
struct Neutral {
  A ones[kBlock], zeros[kBlock];
  Neutral() {
    for (int64_t k = 0; k < kBlock; ++k) ones[k] = A(1), zeros[k] = A(0);
  }
};

template <class A>
inline A noise_factor(const NoiseBiasActParams& p) {
  return p.strength ? *static_cast<const A*>(p.strength) : A(1);
}

template <class T, class A>
inline void forward_block(const T* x, const A* scale, const A* b, A add, T* y, int64_t n,
                          Options<A> o) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k)
    store(y + k, forward_one<A>(scale[k] * load(x[k]) + add + b[k], o));
}

// Positions [begin, end) of all samples, each a row of channels.
template <class T>
void forward_columns(const NoiseBiasActParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const Neutral<A> neutral;
  const Options<A> o = options_of<T>(p);
  const A strength = noise_factor<A>(p);
  const T* noises = static_cast<const T*>(p.noise);
  const A *scales = static_cast<const A*>(p.scale), *biases = static_cast<const A*>(p.b);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / p.inner, s = row - n * p.inner, at = row * p.channels;
    const A add = noises ? strength * load(noises[p.is_noise_shared ? s : row]) : A(0);
    for (int64_t c = 0; c < p.channels; c += kBlock)
      forward_block<T, A>(static_cast<const T*>(p.x) + at + c,
                          scales ? scales + n * p.channels + c : neutral.ones,
                          biases ? biases + c : neutral.zeros, add, static_cast<T*>(p.out) + at + c,
                          smaller(kBlock, p.channels - c), o);
  }
}

// Elements [begin, end) of planes.
template <class T>
void forward_planes(const NoiseBiasActParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const Options<A> o = options_of<T>(p);
  const A strength = noise_factor<A>(p);
  const A *scales = static_cast<const A*>(p.scale), *biases = static_cast<const A*>(p.b);
  for (int64_t i = begin; i < end;) {
    const int64_t plane = i / p.inner, n = plane / p.channels, c = plane - n * p.channels;
    const int64_t s = i - plane * p.inner, length = smaller(end - i, p.inner - s);
    const A scale = scales ? scales[plane] : A(1), b = biases ? biases[c] : A(0);
    const T* x = static_cast<const T*>(p.x) + i;
    T* y = static_cast<T*>(p.out) + i;
    if (p.noise) {
      const T* noise = static_cast<const T*>(p.noise) + (p.is_noise_shared ? 0 : n * p.inner) + s;
#pragma omp simd
      for (int64_t k = 0; k < length; ++k)
        store(y + k, forward_one<A>(scale * load(x[k]) + strength * load(noise[k]) + b, o));
    } else {
#pragma omp simd
      for (int64_t k = 0; k < length; ++k) store(y + k, forward_one<A>(scale * load(x[k]) + b, o));
    }
    i += length;
  }
}

int forward(const NoiseBiasActParams& p, const Exec& exec) {
  const int64_t grain = kGrainBytes / bytes_of(p);
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (p.is_channels_last) {
      auto range = [&](int64_t begin, int64_t end) { forward_columns<T>(p, begin, end); };
      parallel(exec, p.outer * p.inner, at_least_one(grain / at_least_one(p.channels)), range);
    } else {
      auto range = [&](int64_t begin, int64_t end) { forward_planes<T>(p, begin, end); };
      parallel(exec, p.outer * p.channels * p.inner, grain, range);
    }
  });
  return 0;
}

// A slice: rows of channels of one sample, or a piece of one plane.
int64_t slice_length(const NoiseBiasActParams& p) {
  if (!p.is_channels_last) return kSliceElements;
  return at_least_one(smaller(kSliceRows, kSliceElements / at_least_one(p.channels)));
}
int64_t slices_per_run(const NoiseBiasActParams& p) { return divide_up(p.inner, slice_length(p)); }
bool has_sums(const NoiseBiasActParams& p) { return p.dscale || p.db || p.dstrength; }

// [outer, slices, kSums, channels], or [outer, channels, slices, kSums] of planes.
int64_t scratch(const NoiseBiasActParams& p) {
  return has_sums(p) ? p.outer * slices_per_run(p) * kSums * p.channels : 0;
}

template <class T, class A>
inline void backward_block(const T* dy, const T* y, const A* scale, T* dx, int64_t n, Slope<A> o) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k)
    store(dx + k, scale[k] * backward_one<A>(load(dy[k]), load(y[k]), o));
}

// The same with the sums; x is dy where nobody wants the first of them.
template <class T, class A>
inline void backward_block(const T* dy, const T* y, const T* x, const A* scale, A noise, T* dx,
                           A* by_x, A* plain, A* by_noise, int64_t n, Slope<A> o) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    const A d = backward_one<A>(load(dy[k]), load(y[k]), o);
    by_x[k] += d * load(x[k]);
    plain[k] += d;
    by_noise[k] += d * noise;
    store(dx + k, scale[k] * d);
  }
}

template <class T>
void backward_columns(const NoiseBiasActParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const Neutral<A> neutral;
  const Slope<A> o = slope_of<T>(p);
  const A* scales = static_cast<const A*>(p.scale);
  const T* noises = static_cast<const T*>(p.noise);
  const int64_t slices = slices_per_run(p), length = slice_length(p);
  const bool is_summed = has_sums(p);
  A sums[kSums][kBlock];
  for (int64_t slice = begin; slice < end; ++slice) {
    const int64_t n = slice / slices, first = (slice - n * slices) * length;
    const int64_t last = smaller(p.inner, first + length);
    for (int64_t c = 0; c < p.channels; c += kBlock) {
      const int64_t width = smaller(kBlock, p.channels - c);
      const A* scale = scales ? scales + n * p.channels + c : neutral.ones;
      for (auto& sum : sums)
        for (int64_t k = 0; k < width; ++k) sum[k] = A(0);
      for (int64_t s = first; s < last; ++s) {
        const int64_t row = n * p.inner + s, at = row * p.channels + c;
        const T* dy = static_cast<const T*>(p.dy) + at;
        const T* y = p.y ? static_cast<const T*>(p.y) + at : dy;
        const T* x = p.x ? static_cast<const T*>(p.x) + at : dy;
        T* dx = static_cast<T*>(p.out) + at;
        if (is_summed) {
          const A noise = noises ? load(noises[p.is_noise_shared ? s : row]) : A(0);
          backward_block<T, A>(dy, y, x, scale, noise, dx, sums[0], sums[1], sums[2], width, o);
        } else {
          backward_block<T, A>(dy, y, scale, dx, width, o);
        }
      }
      if (!is_summed) continue;
      A* out = static_cast<A*>(p.scratch) + slice * kSums * p.channels + c;
      for (int64_t j = 0; j < kSums; ++j)
        for (int64_t k = 0; k < width; ++k) out[j * p.channels + k] = sums[j][k];
    }
  }
}

template <class T>
void backward_planes(const NoiseBiasActParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const Slope<A> o = slope_of<T>(p);
  const A* scales = static_cast<const A*>(p.scale);
  const int64_t slices = slices_per_run(p);
  const bool is_summed = has_sums(p);
  for (int64_t slice = begin; slice < end; ++slice) {
    const int64_t plane = slice / slices, first = (slice - plane * slices) * kSliceElements;
    const int64_t n = plane / p.channels, at = plane * p.inner + first;
    const int64_t length = smaller(kSliceElements, p.inner - first);
    const A scale = scales ? scales[plane] : A(1);
    const T* dy = static_cast<const T*>(p.dy) + at;
    const T* y = p.y ? static_cast<const T*>(p.y) + at : dy;
    const T* x = p.x ? static_cast<const T*>(p.x) + at : dy;
    const T* noise =
        p.noise ? static_cast<const T*>(p.noise) + (p.is_noise_shared ? 0 : n * p.inner) + first
                : dy;
    T* dx = static_cast<T*>(p.out) + at;
    A by_x = 0, plain = 0, by_noise = 0;
#pragma omp simd reduction(+ : by_x, plain, by_noise)
    for (int64_t k = 0; k < length; ++k) {
      const A d = backward_one<A>(load(dy[k]), load(y[k]), o);
      by_x += d * load(x[k]);
      plain += d;
      by_noise += d * load(noise[k]);
      store(dx + k, scale * d);
    }
    if (!is_summed) continue;
    A* out = static_cast<A*>(p.scratch) + slice * kSums;
    out[0] = by_x, out[1] = plain, out[2] = by_noise;
  }
}

// Sum of the j-th partial sums of channel c of sample n; in float64, to keep their last digits.
template <class A>
double sum_of(const NoiseBiasActParams& p, int64_t n, int64_t c, int64_t j) {
  const int64_t slices = slices_per_run(p);
  const int64_t step = p.is_channels_last ? kSums * p.channels : kSums;
  const A* at = static_cast<const A*>(p.scratch);
  at += p.is_channels_last ? n * slices * step + j * p.channels + c
                           : (n * p.channels + c) * slices * step + j;
  double sum = 0;
  for (int64_t s = 0; s < slices; ++s) sum += double(at[s * step]);
  return sum;
}

template <class A>
void add_up(const NoiseBiasActParams& p, const Exec& exec) {
  if (p.dscale) {
    A* dscale = static_cast<A*>(p.dscale);
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        dscale[i] = A(sum_of<A>(p, i / p.channels, i % p.channels, 0));
    };
    parallel(exec, p.outer * p.channels, 4096, range);
  }
  if (!p.db && !p.dstrength) return;
  double dstrength = 0;
  for (int64_t c = 0; c < p.channels; ++c) {
    double db = 0, by_noise = 0;
    for (int64_t n = 0; n < p.outer; ++n) {
      if (p.db) db += sum_of<A>(p, n, c, 1);
      if (p.dstrength) by_noise += sum_of<A>(p, n, c, 2);
    }
    if (p.db) static_cast<A*>(p.db)[c] = A(db);
    dstrength += by_noise;
  }
  if (p.dstrength) *static_cast<A*>(p.dstrength) = A(dstrength);
}

int backward(const NoiseBiasActParams& p, const Exec& exec) {
  const int64_t grain = kGrainBytes / bytes_of(p);
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t slices = p.outer * slices_per_run(p);
    if (p.is_channels_last) {
      auto range = [&](int64_t begin, int64_t end) { backward_columns<T>(p, begin, end); };
      const int64_t size = smaller(slice_length(p), p.inner) * p.channels;
      parallel(exec, slices, at_least_one(grain / at_least_one(size)), range);
    } else {
      auto range = [&](int64_t begin, int64_t end) { backward_planes<T>(p, begin, end); };
      const int64_t size = smaller(kSliceElements, p.inner);
      parallel(exec, slices * p.channels, at_least_one(grain / at_least_one(size)), range);
    }
    if (has_sums(p)) add_up<compute_t<T>>(p, exec);
  });
  return 0;
}

}  // namespace

extern const NoiseBiasActKernels noise_bias_act;
const NoiseBiasActKernels noise_bias_act = {scratch, forward, backward};

}  // namespace fastgan::FASTGAN_ISA
