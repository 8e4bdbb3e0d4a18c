// The only header that tells nvcc from the emulator: launches, shared memory and 16-byte memory
// access. Kernel files include this and their own header, and no torch header.
#pragma once

#if defined(FASTGAN_EMULATOR)
#include "../emulator/emulator.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace fastgan {

template <class... P, class... A>
inline void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, A&&... arguments) {
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(arguments)...);
}

inline int last_error() { return static_cast<int>(cudaGetLastError()); }

// One statically sized shared object per kernel and type.
template <class T>
__device__ __forceinline__ T& shared() {
  __shared__ __align__(16) unsigned char raw[sizeof(T)];
  return *reinterpret_cast<T*>(raw);
}

}  // namespace fastgan

#endif

#include <cstdint>

#include "dtype.h"

namespace fastgan {

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

template <class T>
__device__ __forceinline__ void store16(T* p, const Vec<T>& v) {
  *reinterpret_cast<uint4*>(p) = *reinterpret_cast<const uint4*>(&v);
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

// Division by a number that is fixed for the launch: a multiplication and a shift instead of the
// dozens of instructions of an integer division. Exact for 0 ≤ n < 2^31 and 1 ≤ d < 2^31
// (Granlund & Montgomery 1994, "Division by Invariant Integers using Multiplication").
struct FastDivisor {
  uint32_t divisor, multiplier, shift;

  FastDivisor() = default;
  explicit FastDivisor(int64_t d) : divisor(uint32_t(d)), shift(0) {
    while ((uint64_t(1) << shift) < divisor) ++shift;
    multiplier = uint32_t(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - divisor)) / divisor + 1);
  }
  __device__ __forceinline__ int64_t divide(int64_t n) const {
    const uint32_t m = uint32_t(n);
    const uint64_t high = (uint64_t(m) * multiplier) >> 32;
    return int64_t((high + m) >> shift);
  }
};

// The same interface for indices of 2^31 and more.
struct WideDivisor {
  int64_t divisor;

  WideDivisor() = default;
  explicit WideDivisor(int64_t d) : divisor(d) {}
  __device__ __forceinline__ int64_t divide(int64_t n) const { return n / divisor; }
};

constexpr int64_t kMaxNarrowIndex = (int64_t(1) << 31) - 1;
constexpr int kThreads = 256;

// A grid that covers `work` items and no more blocks than keep the largest GPU busy.
inline dim3 grid_for(int64_t work, int64_t most = 132 * 16) {
  const int64_t blocks = (work + kThreads - 1) / kThreads;
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
