// SPDX-License-Identifier: Apache-2.0
// Host side of sample_random: tensors to parameters, allocation, launches. Arguments are made in
// fastgan/ops/sample_random.py; the checks here only guard memory.
#include "sample_random.h"

#include <vector>

#include "../../common/binding.h"

namespace fastgan {
namespace {

SampleRandomParams params_of(const char* op, const Tensor& key, int64_t offset, int64_t first,
                             int64_t stride, int64_t begin) {
  STD_TORCH_CHECK(key.numel() == 1 && key.scalar_type() == ScalarType::Long, op,
                  ": key must be one int64");
  SampleRandomParams p{};
  p.key = static_cast<const int64_t*>(const_data(key));
  p.offset = offset;
  p.first = first;
  p.stride = stride;
  p.begin = begin;
  return p;
}

Tensor words(const Tensor& key, int64_t offset, int64_t first, int64_t stride, int64_t begin,
             int64_t rows, int64_t count) {
  Guard guard(key);
  SampleRandomParams p = params_of("sample_words", key, offset, first, stride, begin);
  STD_TORCH_CHECK(rows >= 0 && count >= 0, "sample_words: a negative size");
  const Tensor out = allocate(key, {rows, count});
  p.out = const_data(out);
  p.rows = rows;
  p.size = p.words = count;
  p.is_integral = true;
  check_launch("sample_words", sample_random_kernels().words(p, exec_of(key)));
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) { m.impl("sample_words", TORCH_BOX(&words)); }

#if defined(FASTGAN_BACKEND_CUDA) || defined(FASTGAN_EMULATOR)

SampleRandomParams params_into(const char* op, const Tensor& out, const Tensor& key, int64_t offset,
                               int64_t first, int64_t stride, int64_t begin) {
  SampleRandomParams p = params_of(op, key, offset, first, stride, begin);
  STD_TORCH_CHECK(out.dim() >= 1 && out.is_contiguous() && out.is_cuda() == key.is_cuda() &&
                      out.get_device_index() == key.get_device_index(),
                  op, ": out must be contiguous, [rows, ...], on the key's device");
  p.out = const_data(out);
  p.rows = out.size(0);
  p.size = p.rows > 0 ? out.numel() / p.rows : 0;
  p.words = p.size;
  p.is_integral = out.scalar_type() == ScalarType::Long;
  if (!p.is_integral) p.dtype = dtype_of(op, out);
  return p;
}

void uniform(const Tensor& out, const Tensor& key, int64_t offset, int64_t first, int64_t stride,
             int64_t begin) {
  Guard guard(key);
  const SampleRandomParams p =
      params_into("sample_uniform_", out, key, offset, first, stride, begin);
  STD_TORCH_CHECK(!p.is_integral, "sample_uniform_: out must be floating point");
  check_launch("sample_uniform_", sample_random_kernels().uniform(p, exec_of(key)));
}

void normal(const Tensor& out, const Tensor& key, int64_t offset, int64_t first, int64_t stride,
            int64_t begin) {
  Guard guard(key);
  SampleRandomParams p = params_into("sample_normal_", out, key, offset, first, stride, begin);
  STD_TORCH_CHECK(!p.is_integral, "sample_normal_: out must be floating point");
  p.words = (p.size + 1) / 2;
  check_launch("sample_normal_", sample_random_kernels().normal(p, exec_of(key)));
}

void normals(std::vector<Tensor> outs, const Tensor& key, int64_t offset, int64_t first,
             int64_t stride, int64_t begin) {
  Guard guard(key);
  SampleNormalsParams p{};
  for (const Tensor& out : outs) {
    SampleRandomParams& one = p.tensors[p.count++];
    one = params_into("sample_normals_", out, key, offset, first, stride, begin);
    STD_TORCH_CHECK(!one.is_integral && one.dtype == DType::kFloat32,
                    "sample_normals_: outs must be float32");
    one.words = (one.size + 1) / 2;
    begin += one.words;
    if (p.count < kNormalTensors && &out != &outs.back()) continue;
    check_launch("sample_normals_", sample_random_kernels().normals(p, exec_of(key)));
    p.count = 0;
  }
}

void integers(const Tensor& out, const Tensor& key, int64_t offset, int64_t first, int64_t stride,
              int64_t begin, int64_t low, int64_t high) {
  Guard guard(key);
  SampleRandomParams p = params_into("sample_integers_", out, key, offset, first, stride, begin);
  p.low = low;
  p.range = high - low;
  check_launch("sample_integers_", sample_random_kernels().integers(p, exec_of(key)));
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("sample_uniform_", TORCH_BOX(&uniform));
  m.impl("sample_normal_", TORCH_BOX(&normal));
  m.impl("sample_normals_", TORCH_BOX(&normals));
  m.impl("sample_integers_", TORCH_BOX(&integers));
}

#endif

}  // namespace
}  // namespace fastgan
