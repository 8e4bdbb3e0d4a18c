// SPDX-License-Identifier: Apache-2.0
// Kernels with one planted weakness each, and sound ones. The text files beside this are what
// cuobjdump and nvdisasm say of them; test_static_report.py reads those.
#include <cuda_fp16.h>

namespace fastgan::cuda {
namespace {

template <class T>
struct alignas(16) Pack {
  T v[16 / sizeof(T)];
};

template <class T, int kN, class Index>
__global__ void __launch_bounds__(256) copy_kernel(const T* x, T* y, Index steps) {
  const Index s = Index(blockIdx.x) * 256 + threadIdx.x;
  if (s >= steps) return;
  if constexpr (kN == 1) {
    y[s] = x[s];
  } else {
    reinterpret_cast<uint4*>(y)[s] = reinterpret_cast<const uint4*>(x)[s];
  }
}

// Weakness: element loads where the name promises vectors.
template <class T, int kN, class Index>
__global__ void __launch_bounds__(128) gather_kernel(const T* x, T* y, Index steps) {
  const Index s = Index(blockIdx.x) * 128 + threadIdx.x;
  if (s >= steps) return;
  Pack<T> p;
  for (int k = 0; k < kN; ++k) p.v[k] = x[s * kN + k];
  if constexpr (kN == 1)
    y[s] = p.v[0];
  else
    reinterpret_cast<uint4*>(y)[s] = reinterpret_cast<const uint4&>(p);
}

// Weakness: element stores of a vector that was loaded as one.
template <class T, bool kIsVector>
__global__ void scatter_kernel(const uint4* x, T* y, unsigned steps) {
  const unsigned s = blockIdx.x * 256 + threadIdx.x;
  if (s >= steps) return;
  const uint4 bits = x[s];
  const Pack<T>& p = reinterpret_cast<const Pack<T>&>(bits);
  for (int k = 0; k < 16 / int(sizeof(T)); ++k) y[s * (16 / int(sizeof(T))) + k] = p.v[k];
}

// Weakness: the narrow instantiation divides in 64 bits.
template <class T, class Index>
__global__ void __launch_bounds__(256) divide_kernel(T* y, long long numel, long long inner) {
  const long long i = (long long)(blockIdx.x) * 256 + threadIdx.x;
  if (i < numel) y[i] = T(i / inner);
}

// Weakness: a local array with an index known at run time only.
template <class T>
__global__ void __launch_bounds__(256) spill_kernel(const T* x, T* y, int k) {
  T local[32];
#pragma unroll 1
  for (int i = 0; i < 32; ++i) local[(i * k) % 32] = x[i];
  y[threadIdx.x] = local[(k + threadIdx.x) % 32];
}

template <class T>
__global__ void __launch_bounds__(256) static_shared_kernel(const T* x, T* y) {
  __shared__ T memory[256];
  memory[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = memory[255 - threadIdx.x];
}

extern __shared__ float dynamic[];
template <class T>
__global__ void __launch_bounds__(256) dynamic_shared_kernel(const T* x, T* y) {
  dynamic[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = dynamic[255 - threadIdx.x];
}

template __global__ void copy_kernel<float, 1, unsigned>(const float*, float*, unsigned);
template __global__ void copy_kernel<float, 4, unsigned>(const float*, float*, unsigned);
template __global__ void copy_kernel<__half, 8, unsigned>(const __half*, __half*, unsigned);
template __global__ void gather_kernel<float, 4, unsigned>(const float*, float*, unsigned);
template __global__ void gather_kernel<__half, 8, unsigned>(const __half*, __half*, unsigned);
template __global__ void scatter_kernel<float, true>(const uint4*, float*, unsigned);
template __global__ void divide_kernel<float, unsigned>(float*, long long, long long);
template __global__ void divide_kernel<float, long>(float*, long long, long long);
template __global__ void spill_kernel<float>(const float*, float*, int);
template __global__ void static_shared_kernel<float>(const float*, float*);
template __global__ void dynamic_shared_kernel<float>(const float*, float*);

}  // namespace
}  // namespace fastgan::cuda
