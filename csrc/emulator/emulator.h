// SPDX-License-Identifier: Apache-2.0
// Test-only: the CUDA language and runtime as far as the kernels use it, so that the shipped .cu
// files, unchanged, are built by a C++ compiler and run on the CPU. One block at a time, one fiber
// per CUDA thread; scheduler.h says in what order. half and bfloat16 are NVIDIA's own headers.
//
// Not modelled: real concurrency and the weak memory model (the sanitizer builds see unsynchronised
// accesses), FMA contraction and flush-to-zero, bank conflicts, coalescing, occupancy, streams.
// Raw `__shared__` and `<<<>>>` do not compile here: kernels use shared<T>(), dynamic_shared<T>(),
// which are on the heap at their exact size, and launch().
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <driver_types.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "checked_index.h"
#include "scheduler.h"

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#undef __align__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

#define threadIdx (::fastgan::emulator::current.thread)
#define blockIdx (::fastgan::emulator::current.block)
#define blockDim (::fastgan::emulator::current.block_dim)
#define gridDim (::fastgan::emulator::current.grid_dim)

#define FASTGAN_HERE \
  ::fastgan::emulator::Place { __FILE__, __LINE__ }
#define FASTGAN_FULL_MASK(...) (0xffffffffu __VA_OPT__(&unsigned(__VA_ARGS__)))
#define FASTGAN_SHUFFLE(shuffle, mask, value, argument, width, ...) \
  ::fastgan::emulator::shuffle(mask, value, argument, width, FASTGAN_HERE)
#define __syncthreads() ::fastgan::emulator::synchronise_block(FASTGAN_HERE)
#define __syncwarp(...) ::fastgan::emulator::ballot(FASTGAN_FULL_MASK(__VA_ARGS__), 0, FASTGAN_HERE)
#define __shfl_sync(...) FASTGAN_SHUFFLE(shuffle, __VA_ARGS__, 32, 0)
#define __shfl_xor_sync(...) FASTGAN_SHUFFLE(shuffle_xor, __VA_ARGS__, 32, 0)
#define __shfl_down_sync(...) FASTGAN_SHUFFLE(shuffle_down, __VA_ARGS__, 32, 0)
#define __shfl_up_sync(...) FASTGAN_SHUFFLE(shuffle_up, __VA_ARGS__, 32, 0)
#define __ballot_sync(mask, p) ::fastgan::emulator::ballot(mask, p, FASTGAN_HERE)
#define __any_sync(mask, p) (::fastgan::emulator::ballot(mask, p, FASTGAN_HERE) != 0)
#define __all_sync(mask, p) (::fastgan::emulator::ballot(mask, !(p), FASTGAN_HERE) == 0)

namespace fastgan::emulator {

// The value that lane `source` of the warp brought to this meeting.
template <class T>
T from_lane(unsigned mask, T value, int source, Place place) {
  static_assert(sizeof(T) <= kExchangeBytes, "a shuffled value is at most 16 bytes");
  exchange(mask, &value, sizeof(T), place);
  T result;
  read_exchanged(source, &result, sizeof(T), place);
  return result;
}

template <class T>
T shuffle(unsigned mask, T value, int source, int width, Place place) {
  return from_lane(mask, value, (lane() & ~(width - 1)) | (source & (width - 1)), place);
}

template <class T>
T shuffle_xor(unsigned mask, T value, int bits, int width, Place place) {
  const int source = lane() ^ bits;
  return from_lane(mask, value, source / width > lane() / width ? lane() : source, place);
}

template <class T>
T shuffle_down(unsigned mask, T value, int delta, int width, Place place) {
  const int source = lane() + delta;
  return from_lane(mask, value, source / width != lane() / width ? lane() : source, place);
}

template <class T>
T shuffle_up(unsigned mask, T value, int delta, int width, Place place) {
  const int source = lane() - delta;
  const bool is_inside = source >= 0 && source / width == lane() / width;
  return from_lane(mask, value, is_inside ? source : lane(), place);
}

// f(old) replaces *p; blocks and threads of one launch may do so at the same time.
template <class T, class F>
T atomic_update(T* p, F&& f) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static_assert(sizeof(T) == sizeof(Bits), "atomics work on 4 and 8 bytes");
  Bits* cell = reinterpret_cast<Bits*>(p);
  Bits before = __atomic_load_n(cell, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(cell, &before,
                                      std::bit_cast<Bits>(f(std::bit_cast<T>(before))), false,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return std::bit_cast<T>(before);
}

}  // namespace fastgan::emulator

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return ::fastgan::emulator::atomic_update(p, [v](T old) { return T(old + v); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return ::fastgan::emulator::atomic_update(p, [v](T old) { return old < v ? v : old; });
}
template <class T>
T __ldg(const T* p) {
  return *p;
}

inline float __sinf(float v) { return std::sin(v); }
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline void sincospi(double v, double* sine, double* cosine) {
  *sine = std::sin(v * 3.141592653589793);
  *cosine = std::cos(v * 3.141592653589793);
}
inline void sincospif(float v, float* sine, float* cosine) {
  *sine = float(std::sin(double(v) * 3.141592653589793));
  *cosine = float(std::cos(double(v) * 3.141592653589793));
}
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
using std::max;
using std::min;

namespace fastgan {

using NarrowIndex = emulator::CheckedIndex;
inline int64_t narrow_limit() { return emulator::narrow_limit(); }

inline int last_error() { return 0; }  // a bad launch throws
inline int multiprocessors() { return emulator::multiprocessors(); }

template <class A>
A fast_sqrt(A v) {
  return std::sqrt(v);
}

inline float max_or_nan(float a, float b) {
  return std::isnan(a) || std::isnan(b) ? NAN : std::fmax(a, b);
}
inline float min_or_nan(float a, float b) {
  return std::isnan(a) || std::isnan(b) ? NAN : std::fmin(a, b);
}

// The bytes are NaN until the thread has waited. One access, so that a sanitizer sees its
// alignment.
template <int kBytes>
void copy_async(void* to, const void* from, bool is_inside) {
  using Bits =
      std::conditional_t<kBytes == 16, uint4, std::conditional_t<kBytes == 8, uint64_t, uint32_t>>;
  static_assert(sizeof(Bits) == kBytes, "a copy is of 4, 8 or 16 bytes");
  std::memset(to, 0xFF, kBytes);
  emulator::begin_copy({to, is_inside ? from : nullptr, [](void* t, const void* f) {
                          *static_cast<Bits*>(t) = f ? *static_cast<const Bits*>(f) : Bits{};
                        }});
}
inline void wait_for_copies() {
  for (emulator::Copy copy{}; emulator::take_copy(copy);) copy.run(copy.to, copy.from);
}

template <class K>
int allow_shared(K*, size_t bytes) {
  return emulator::allow_shared(bytes);
}

inline int64_t most_shared() { return emulator::most_shared(); }

template <class T>
T& shared() {
  static const char key = 0;
  return *static_cast<T*>(emulator::shared_object(&key, sizeof(T)));
}

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(emulator::dynamic_shared_memory());
}

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
            A&&... arguments) {
  // The arguments are copied for every thread, as a GPU's constant bank keeps them unchanged.
  const auto thread = [&] { kernel(static_cast<P>(arguments)...); };
  emulator::run_grid(grid, block, shared_bytes, thread, __PRETTY_FUNCTION__);
}

}  // namespace fastgan
