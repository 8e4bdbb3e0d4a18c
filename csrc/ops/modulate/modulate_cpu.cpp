// SPDX-License-Identifier: Apache-2.0
// CPU kernels of modulate and channel_dot: one pass over memory each, compiled once per instruction
// set.
#include "../../common/cpu.h"
#include "modulate.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Elements that one partial sum covers: fixed by the shape alone, so that the result does not
// depend on the number of threads.
constexpr int64_t kSliceElements = 8192, kSliceRows = 128;
constexpr int64_t kSlicesAtOnce = 32;
constexpr int64_t kBlock = 512;  // channels at once: their sums wait in L1

int64_t bytes_of(const Maps& m) {
  return m.dtype == DType::kFloat64 ? 8 : m.dtype == DType::kFloat32 ? 4 : 2;
}
bool is_row_of_channels(const Maps& m) { return m.is_channels_last || m.pixels == 1; }

template <class T, class S>
void modulate_range(const ModulateParams& p, int64_t begin, int64_t end) {
  const Maps& m = p.maps;
  const T* x = static_cast<const T*>(p.x);
  const S* s = static_cast<const S*>(p.s);
  T* y = static_cast<T*>(p.y);
  if (is_row_of_channels(m)) {  // [begin, end): positions
    for (int64_t row = begin; row < end; ++row) {
      const T* from = x + row * m.channels;
      const S* factor = s + row / m.pixels * m.channels;
      T* to = y + row * m.channels;
#pragma omp simd
      for (int64_t k = 0; k < m.channels; ++k) store(to + k, load(from[k]) * load(factor[k]));
    }
    return;
  }
  for (int64_t i = begin; i < end;) {  // elements
    const int64_t plane = i / m.pixels, length = smaller(end, (plane + 1) * m.pixels) - i;
    const compute_t<T> factor = load(s[plane]);
    const T* from = x + i;
    T* to = y + i;
#pragma omp simd
    for (int64_t k = 0; k < length; ++k) store(to + k, load(from[k]) * factor);
    i += length;
  }
}

int modulate_maps(const ModulateParams& p, const Exec& exec) {
  const Maps& m = p.maps;
  if (m.n * m.channels * m.pixels == 0) return 0;
  const int64_t grain = kGrainBytes / bytes_of(m);
  const bool is_rows = is_row_of_channels(m);
  dispatch(m.dtype, [&](auto type) {
    using T = decltype(type);
    auto range = [&](int64_t begin, int64_t end) {
      if (p.is_s_wide) {
        modulate_range<T, compute_t<T>>(p, begin, end);
      } else {
        modulate_range<T, T>(p, begin, end);
      }
    };
    const int64_t count = is_rows ? m.n * m.pixels : m.n * m.channels * m.pixels;
    parallel(exec, count, is_rows ? at_least_one(grain / m.channels) : grain, range);
  });
  return 0;
}

int64_t slice_length(const Maps& m) {
  if (!is_row_of_channels(m)) return kSliceElements;
  return at_least_one(smaller(kSliceRows, kSliceElements / at_least_one(m.channels)));
}
int64_t slices(const Maps& m) { return at_least_one(divide_up(m.pixels, slice_length(m))); }

// Slices [begin, end) of [n, slices]: rows of channels.
template <class T>
void dot_columns(const ChannelDotParams& p, compute_t<T>* out, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const Maps& m = p.maps;
  const int64_t length = slice_length(m);
  A sums[kBlock];
  for (int64_t i = begin; i < end; ++i) {
    const int64_t n = i / p.slices, slice = i - n * p.slices;
    const int64_t last = smaller(m.pixels, (slice + 1) * length);
    for (int64_t c = 0; c < m.channels; c += kBlock) {
      const int64_t width = smaller(kBlock, m.channels - c);
      for (int64_t k = 0; k < width; ++k) sums[k] = A(0);
      for (int64_t row = slice * length; row < last; ++row) {
        const int64_t at = (n * m.pixels + row) * m.channels + c;
        const T *x = static_cast<const T*>(p.x) + at, *y = static_cast<const T*>(p.y) + at;
#pragma omp simd
        for (int64_t k = 0; k < width; ++k) sums[k] += load(x[k]) * load(y[k]);
      }
      A* to = out + (slice * m.n + n) * m.channels + c;
      for (int64_t k = 0; k < width; ++k) to[k] = sums[k];
    }
  }
}

// Slices [begin, end) of [n, channels, slices]: pieces of planes.
template <class T>
void dot_planes(const ChannelDotParams& p, compute_t<T>* out, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const Maps& m = p.maps;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t plane = i / p.slices, slice = i - plane * p.slices,
                  first = slice * kSliceElements;
    const int64_t at = plane * m.pixels + first, length = smaller(kSliceElements, m.pixels - first);
    const T *x = static_cast<const T*>(p.x) + at, *y = static_cast<const T*>(p.y) + at;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < length; ++k) sum += load(x[k]) * load(y[k]);
    out[slice * m.n * m.channels + plane] = sum;
  }
}

int dot(const ChannelDotParams& p, const Exec& exec) {
  const Maps& m = p.maps;
  const int64_t grain = kGrainBytes / bytes_of(m), channels = m.n * m.channels;
  dispatch(m.dtype, [&](auto type) {
    using T = decltype(type);
    using A = compute_t<T>;
    A* parts = static_cast<A*>(p.slices > 1 ? p.scratch : p.z);
    const bool is_rows = is_row_of_channels(m);
    auto range = [&](int64_t begin, int64_t end) {
      is_rows ? dot_columns<T>(p, parts, begin, end) : dot_planes<T>(p, parts, begin, end);
    };
    const int64_t size = smaller(slice_length(m), m.pixels) * (is_rows ? m.channels : 1);
    parallel(exec, (is_rows ? m.n : channels) * p.slices, at_least_one(grain / size), range);
    if (p.slices == 1) return;
    A* z = static_cast<A*>(p.z);
    auto add_up = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        A sum = 0;
        for (int64_t k = 0; k < p.slices; k += kSlicesAtOnce) {  // sums of sums keep their digits
          A part = 0;
          for (int64_t s = k; s < smaller(p.slices, k + kSlicesAtOnce); ++s)
            part += parts[s * channels + i];
          sum += part;
        }
        z[i] = sum;
      }
    };
    parallel(exec, channels, at_least_one(kGrainBytes / 4 / p.slices), add_up);
  });
  return 0;
}

// dz comes out of the caches the second time where it fits, and the sums keep their order.
int64_t backward_slices(const ModulateBackwardParams&) { return 0; }

}  // namespace

extern const ModulateKernels modulate;
const ModulateKernels modulate = {slices, backward_slices, modulate_maps, dot, nullptr};

}  // namespace fastgan::FASTGAN_ISA
