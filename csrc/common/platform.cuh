// SPDX-License-Identifier: Apache-2.0
// The only header that tells nvcc from the emulator: launches, shared memory, flat indices and
// 16-byte memory access. Kernel files include this and their own header, and no torch header.
#pragma once

#if defined(FASTGAN_EMULATOR)
#include "../emulator/emulator.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>

namespace fastgan {

template <class... P, class... A>
inline void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, A&&... arguments) {
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(arguments)...);
}

inline int last_error() { return static_cast<int>(cudaGetLastError()); }

// Lets `kernel` be launched with more dynamic shared memory than the 48 KB that need no asking.
template <class K>
int allow_shared(K* kernel, size_t bytes) {
  if (bytes <= 48 * 1024) return 0;
  return static_cast<int>(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(bytes)));
}

// Bytes of dynamic shared memory that a block of the current device may have at most: 99 KB on
// sm_86, 89 and 120, 163 KB on sm_80, 227 KB on sm_90 and 100.
inline int64_t most_shared() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess)
    return 48 * 1024;
  return bytes;
}

// Of the current device; asked of the driver once per device.
inline int multiprocessors() {
  constexpr int kDevices = 64, kUnknown = 132;
  static std::atomic<int> counts[kDevices];  // 0 until asked
  int device = 0, count = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= kDevices) return kUnknown;
  if ((count = counts[device].load(std::memory_order_relaxed)) > 0) return count;
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return kUnknown;
  counts[device].store(count, std::memory_order_relaxed);
  return count;
}

// The larger or smaller number; NaN where one of them is.
__device__ __forceinline__ float max_or_nan(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
__device__ __forceinline__ float min_or_nan(float a, float b) {
  float r;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

// √v within a relative error of 2^-23 (PTX ISA, sqrt.approx), without the branches of sqrtf.
__device__ __forceinline__ float fast_sqrt(float v) {
  float r;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
__device__ __forceinline__ double fast_sqrt(double v) { return sqrt(v); }

// Begins to copy kBytes, 4, 8 or 16, from global to shared memory, or to write zeros there where it
// is not inside. It takes no registers, so that many are under way at once. They are there after
// wait_for_copies() of the same thread, for other threads after a barrier that follows it.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool is_inside) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(from), "n"(kBytes), "r"(is_inside ? kBytes : 0)
               : "memory");
}
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// One statically sized shared object per kernel and type.
template <class T>
__device__ __forceinline__ T& shared() {
  __shared__ __align__(16) unsigned char raw[sizeof(T)];
  return *reinterpret_cast<T*>(raw);
}

// The dynamic shared memory of the block.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T*>(dynamic_shared_bytes);
}

// The flat index of a tensor of up to narrow_limit() elements. Unsigned, so that an index plus the
// step of a grid loop still fits. The emulator has a class here that checks every result.
using NarrowIndex = uint32_t;
inline int64_t narrow_limit() { return (int64_t(1) << 31) - 1; }

}  // namespace fastgan

#endif

#include <cstdint>
#include <type_traits>

#include "dtype.h"

namespace fastgan {

__device__ __forceinline__ double max_or_nan(double a, double b) { return a != a || a > b ? a : b; }
__device__ __forceinline__ double min_or_nan(double a, double b) { return a != a || a < b ? a : b; }

// kN values that travel as one 128-bit access.
template <class T>
struct alignas(16) Vec {
  static constexpr int kN = 16 / sizeof(T);
  T v[kN];
};

template <class T>
__device__ __forceinline__ Vec<T> load16(const T* p) {
  const uint4 bits = *reinterpret_cast<const uint4*>(p);
  Vec<T> r;
  *reinterpret_cast<uint4*>(&r) = bits;
  return r;
}

// One 128-bit number, because nvcc 13.0 may split the store of a uint4 into its words; and made
// from the words, because a cast of the whole Vec goes through local memory.
template <class T>
__device__ __forceinline__ void store16(T* p, const Vec<T>& v) {
  const uint4 bits = *reinterpret_cast<const uint4*>(&v);
  const uint64_t low = bits.x | uint64_t(bits.y) << 32, high = bits.z | uint64_t(bits.w) << 32;
  *reinterpret_cast<unsigned __int128*>(p) = low | static_cast<unsigned __int128>(high) << 64;
}

inline bool is_aligned16(const void* p) { return (reinterpret_cast<uintptr_t>(p) & 15) == 0; }

// The type that a storage type is computed in.
template <class T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
template <class T>
using compute_t = typename Compute<T>::type;

__device__ __forceinline__ double load(double v) { return v; }
__device__ __forceinline__ float load(float v) { return v; }
__device__ __forceinline__ float load(__half v) { return __half2float(v); }
__device__ __forceinline__ float load(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class T>
__device__ __forceinline__ T narrow(compute_t<T> v);
template <>
__device__ __forceinline__ double narrow<double>(double v) {
  return v;
}
template <>
__device__ __forceinline__ float narrow<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ __half narrow<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

// Division of flat indices by a number that is fixed for the launch. Narrow: a multiplication and a
// shift instead of the dozens of instructions of an integer division, exact for 1 ≤ d < 2^31 and
// every n (Granlund & Montgomery 1994, "Division by Invariant Integers using Multiplication").
template <class Index>
struct Divisor {
  uint32_t divisor, multiplier, shift;

  Divisor() = default;
  explicit Divisor(int64_t d) : divisor(uint32_t(d)), shift(0) {
    while ((uint64_t(1) << shift) < divisor) ++shift;
    multiplier = uint32_t(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - divisor)) / divisor + 1);
  }
  __device__ __forceinline__ Index divide(Index n) const {
    const uint32_t m = uint32_t(n);
    const uint64_t high = (uint64_t(m) * multiplier) >> 32;
    return Index(uint32_t((high + m) >> shift));
  }
};
template <>
struct Divisor<int64_t> {
  int64_t divisor;

  Divisor() = default;
  explicit Divisor(int64_t d) : divisor(d) {}
  __device__ __forceinline__ int64_t divide(int64_t n) const { return n / divisor; }
};

// Calls f with the type of flat indices that `numel`, the largest tensor of the launch, allows.
template <class F>
int dispatch_index(int64_t numel, F&& f) {
  return numel <= narrow_limit() ? f(NarrowIndex{}) : f(int64_t{});
}

constexpr int kThreads = 256;

// A grid that covers `work` items and has no more blocks than keep the device busy.
inline dim3 grid_for(int64_t work, int64_t for_each_multiprocessor = 16) {
  const int64_t blocks = (work + kThreads - 1) / kThreads;
  const int64_t most = for_each_multiprocessor * multiprocessors();
  return dim3(static_cast<unsigned>(blocks < 1 ? 1 : blocks < most ? blocks : most));
}

template <class F>
int dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat64: return f(double{});
    case DType::kFloat32: return f(float{});
    case DType::kBFloat16: return f(__nv_bfloat16{});
    case DType::kFloat16: return f(__half{});
  }
  return 1;
}

}  // namespace fastgan
