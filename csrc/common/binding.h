// SPDX-License-Identifier: Apache-2.0
// For <op>.cpp only: what the host side of every op needs of torch, through its stable ABI.
// The same binding is compiled for the CPU library and for the CUDA library.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>

#include "dtype.h"
#include "exec.h"

#if defined(FASTGAN_BACKEND_CUDA)
#define FASTGAN_KEY CUDA
#else
#define FASTGAN_KEY CPU
#endif

namespace fastgan {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline DType dtype_of(const char* op, const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Double: return DType::kFloat64;
    case ScalarType::Float: return DType::kFloat32;
    case ScalarType::BFloat16: return DType::kBFloat16;
    case ScalarType::Half: return DType::kFloat16;
    default: break;
  }
  STD_TORCH_CHECK(false, op,
                  ": native kernels take float64, float32, bfloat16 or float16; cast it");
  return DType::kFloat32;
}

// Whether the strides are those of a dense tensor whose dimension 1 varies fastest.
inline bool is_channels_last(const Tensor& t) {
  const int64_t dims = t.dim();
  if (dims != 4 && dims != 5) return false;
  int64_t expected = 1;
  for (int64_t k = 0; k < dims; ++k) {
    const int64_t d = k == 0 ? 1 : k == dims - 1 ? 0 : dims - k;
    if (t.size(d) != 1 && t.stride(d) != expected) return false;
    expected *= t.size(d);
  }
  return true;
}

// The rule of fastgan/ops/_layout.py.
inline MemoryFormat dense_format(const Tensor& t) {
  if (t.is_contiguous() || !is_channels_last(t)) return MemoryFormat::Contiguous;
  return t.dim() == 4 ? MemoryFormat::ChannelsLast : MemoryFormat::ChannelsLast3d;
}

inline Tensor dense_as(const Tensor& t, MemoryFormat format) {
  // A call through the dispatcher costs a microsecond, even where there is nothing to do.
  if (format == MemoryFormat::Contiguous ? t.is_contiguous() : is_channels_last(t)) return t;
  return torch::stable::contiguous(t, format);
}

// Uninitialised memory on `like`'s device. Straight from the C interface: torch::stable::new_empty
// and empty_like look their op up by name at each call, which takes longer than a small kernel.
inline Tensor new_strided(const Tensor& like, int64_t dims, const int64_t* sizes,
                          const int64_t* strides, ScalarType type) {
  int32_t device = 0, index = 0;
  AtenTensorHandle made = nullptr;
  const bool is_made =
      aoti_torch_get_device_type(like.get(), &device) == 0 &&
      aoti_torch_get_device_index(like.get(), &index) == 0 &&
      aoti_torch_empty_strided(dims, sizes, strides, int32_t(type), device, index, &made) == 0;
  STD_TORCH_CHECK(is_made, "fastgan: a result could not be allocated");
  return Tensor(made);
}

inline Tensor allocate(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  int64_t strides[8] = {};
  const int64_t dims = int64_t(sizes.size());
  STD_TORCH_CHECK(dims <= 8, "fastgan: a result of more than eight dimensions");
  for (int64_t d = dims - 1, step = 1; d >= 0; --d) {
    strides[d] = step;
    const bool is_too_many =
        __builtin_mul_overflow(step, std::max<int64_t>(sizes.begin()[d], 1), &step);
    STD_TORCH_CHECK(!is_too_many, "fastgan: a result has more elements than 64 bits count");
  }
  return new_strided(like, dims, sizes.begin(), strides, type);
}

inline Tensor allocate(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return allocate(like, sizes, like.scalar_type());
}

// Of the sizes and strides of t, which is dense.
inline Tensor allocate_like(const Tensor& t) {
  return new_strided(t, t.dim(), t.sizes().data(), t.strides().data(), t.scalar_type());
}

// Takes over a string argument. An op declares it as StringHandle: the conversion to std::string in
// the headers of torch 2.11 to 2.13 leaks a string per call.
inline std::string take_string(StringHandle handle) {
  const char* data = nullptr;
  size_t length = 0;
  const bool is_read =
      torch_string_c_str(handle, &data) == 0 && torch_string_length(handle, &length) == 0;
  std::string text = is_read ? std::string(data, length) : std::string();
  STD_TORCH_CHECK(torch_delete_string(handle) == 0 && is_read, "fastgan: a string cannot be read");
  return text;
}

inline void* const_data(const Tensor& t) { return t.numel() ? t.data_ptr() : nullptr; }

#if defined(FASTGAN_BACKEND_CUDA)

struct Guard : torch::stable::accelerator::DeviceGuard {
  explicit Guard(const Tensor& t) : torch::stable::accelerator::DeviceGuard(t.get_device_index()) {}
};

inline Exec exec_of(const Tensor& t) {
  void* stream = nullptr;
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream) == 0,
                  "fastgan: the current CUDA stream cannot be had");
  return {stream, nullptr};
}

#else

struct Guard {
  explicit Guard(const Tensor&) {}
};

// Set when the library is loaded, not at the first call, which may come after a fork.
inline const pid_t kOwner = getpid();

// After a fork the thread pool's threads are gone and waiting for them would hang: run serially.
inline void parallel_for_in_torch(int64_t n, int64_t grain, RangeFunction f, void* context) {
  if (n <= grain || getpid() != kOwner) {
    if (n > 0) f(0, n, context);
    return;
  }
  STD_TORCH_CHECK(torch_parallel_for(0, n, grain, f, context) == 0,
                  "fastgan: torch's parallel_for failed");
}

inline Exec exec_of(const Tensor&) { return {nullptr, parallel_for_in_torch}; }

#endif

inline void check_launch(const char* op, int error) {
  STD_TORCH_CHECK(error == 0, op, ": the kernel could not be launched (error ", error, ")");
}

}  // namespace fastgan
