// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of sample_random: one launch per draw. A thread makes its words from the key and its
// own place alone, so nothing but the results goes through memory.
#include "../../common/sample_words.cuh"
#include "sample_random.h"

namespace fastgan::cuda {
namespace {

// Each stores what word `j` of row `row` gives.
struct Words {
  template <class Index>
  static __device__ __forceinline__ void store(const SampleRandomParams& p, Index row, Index j,
                                               uint64_t word) {
    static_cast<uint64_t*>(p.out)[row * Index(p.size) + j] = word;
  }
};

template <class T>
struct Uniform {
  template <class Index>
  static __device__ __forceinline__ void store(const SampleRandomParams& p, Index row, Index j,
                                               uint64_t word) {
    static_cast<T*>(p.out)[row * Index(p.size) + j] = narrow<T>(unit(word, compute_t<T>{}));
  }
};

__device__ __forceinline__ int64_t integer(const SampleRandomParams& p, uint64_t word) {
  return (int64_t((word >> 32) * uint64_t(p.range)) >> 32) + p.low;
}

template <class T>
struct Integers {
  template <class Index>
  static __device__ __forceinline__ void store(const SampleRandomParams& p, Index row, Index j,
                                               uint64_t word) {
    static_cast<T*>(p.out)[row * Index(p.size) + j] = narrow<T>(compute_t<T>(integer(p, word)));
  }
};

struct WholeIntegers {
  template <class Index>
  static __device__ __forceinline__ void store(const SampleRandomParams& p, Index row, Index j,
                                               uint64_t word) {
    static_cast<int64_t*>(p.out)[row * Index(p.size) + j] = integer(p, word);
  }
};

// The cosines of a row's words come first, then their sines. Every operation rounds by itself: what
// a multiplication and addition could be contracted from is exact.
template <class T>
struct Normal {
  template <class Index>
  static __device__ __forceinline__ void store(const SampleRandomParams& p, Index row, Index j,
                                               uint64_t word) {
    using A = compute_t<T>;
    A sine, cosine;
    const A radius = normal_pair(word, sine, cosine);
    T* out = static_cast<T*>(p.out) + row * Index(p.size);
    out[j] = narrow<T>(cosine * radius);
    const Index second = j + Index(p.words);
    if (second < Index(p.size)) out[second] = narrow<T>(sine * radius);
  }
};

template <class Draw, class Index>
__device__ __forceinline__ void draw_all(const SampleRandomParams& p,
                                         const Divisor<Index>& by_words) {
  const uint64_t key = uint64_t(*p.key) + uint64_t(p.offset);
  const Index step = Index(gridDim.x) * kThreads, words = Index(p.words);
  const Index total = Index(p.rows * p.words);
  for (Index i = Index(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
    const Index row = by_words.divide(i), j = i - row * words;
    const uint64_t sample = uint64_t(p.first) + uint64_t(int64_t(row)) * uint64_t(p.stride);
    const uint64_t word =
        sample_word(sample_key(key, sample), uint64_t(p.begin) + uint64_t(int64_t(j)));
    Draw::store(p, row, j, word);
  }
}

template <class Draw, class Index>
__global__ void __launch_bounds__(kThreads)
    sample_kernel(SampleRandomParams p, Divisor<Index> by_words) {
  draw_all<Draw>(p, by_words);
}

// A row of blocks for each tensor; those beyond the end of a small one have nothing to do.
template <class Index>
struct Divisors {
  Divisor<Index> by_words[kNormalTensors];
};
template <class Index>
__global__ void __launch_bounds__(kThreads)
    normals_kernel(SampleNormalsParams p, Divisors<Index> divisors) {
  draw_all<Normal<float>>(p.tensors[blockIdx.y], divisors.by_words[blockIdx.y]);
}

template <class Draw>
int draw(const SampleRandomParams& p, const Exec& exec) {
  const int64_t total = p.rows * p.words;
  if (total == 0) return 0;
  return dispatch_index(p.rows * p.size, [&](auto index) {
    using Index = decltype(index);
    launch(sample_kernel<Draw, Index>, grid_for(total), dim3(kThreads), 0,
           static_cast<cudaStream_t>(exec.stream), p, Divisor<Index>(p.words));
    return last_error();
  });
}

int words(const SampleRandomParams& p, const Exec& exec) { return draw<Words>(p, exec); }

int uniform(const SampleRandomParams& p, const Exec& exec) {
  return dispatch(p.dtype, [&](auto type) { return draw<Uniform<decltype(type)>>(p, exec); });
}

int integers(const SampleRandomParams& p, const Exec& exec) {
  if (p.is_integral) return draw<WholeIntegers>(p, exec);
  return dispatch(p.dtype, [&](auto type) { return draw<Integers<decltype(type)>>(p, exec); });
}

int normal(const SampleRandomParams& p, const Exec& exec) {
  return dispatch(p.dtype, [&](auto type) { return draw<Normal<decltype(type)>>(p, exec); });
}

int normals(const SampleNormalsParams& p, const Exec& exec) {
  int64_t words = 0, largest = 0;
  for (int k = 0; k < p.count; ++k) {
    const SampleRandomParams& one = p.tensors[k];
    words = words < one.rows * one.words ? one.rows * one.words : words;
    largest = largest < one.rows * one.size ? one.rows * one.size : largest;
  }
  if (words == 0) return 0;
  return dispatch_index(largest, [&](auto index) {
    using Index = decltype(index);
    Divisors<Index> divisors{};
    for (int k = 0; k < p.count; ++k)
      divisors.by_words[k] = Divisor<Index>(p.tensors[k].words > 0 ? p.tensors[k].words : 1);
    const dim3 grid(grid_for(words).x, unsigned(p.count));
    launch(normals_kernel<Index>, grid, dim3(kThreads), 0, static_cast<cudaStream_t>(exec.stream),
           p, divisors);
    return last_error();
  });
}

}  // namespace

extern const SampleRandomKernels sample_random;
const SampleRandomKernels sample_random = {words, uniform, integers, normal, normals};

}  // namespace fastgan::cuda
