// Host side of demodulation: tensors to parameters, allocation, launch. Arguments are validated in
// fastgan/ops/demodulation.py; the checks here only guard memory.
#include "demodulation.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

std::tuple<Tensor, Tensor> demodulation_forward(const Tensor& w, const Tensor& s, double eps) {
  Guard guard(w);
  const DType dtype = dtype_of("demodulation", w);
  const ScalarType sum_type = dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float;
  STD_TORCH_CHECK(w.dim() >= 2 && s.dim() == 2 && s.size(1) == w.size(1) &&
                      s.scalar_type() == sum_type && s.is_cuda() == w.is_cuda(),
                  "demodulation: s does not match w");
  DemodulationParams p{};
  p.n = s.size(0);
  p.outputs = w.size(0);
  p.inputs = w.size(1);
  p.taps = 1;
  for (int64_t k = 2; k < w.dim(); ++k) p.taps *= w.size(k);
  p.eps = eps;
  p.dtype = dtype;
#if defined(FASTGAN_BACKEND_CUDA) || defined(FASTGAN_EMULATOR)
  const MemoryFormat format = MemoryFormat::Contiguous;
#else
  const MemoryFormat format = dense_format(w);
#endif
  p.is_taps_outer = format != MemoryFormat::Contiguous;
  const Tensor dense_w = dense_as(w, format);
  const Tensor dense_s = dense_as(s, MemoryFormat::Contiguous);
  Tensor d = allocate(s, {p.n, p.outputs});
  Tensor energy = allocate(s, {p.outputs, p.inputs});
  p.w = const_data(dense_w);
  p.s = const_data(dense_s);
  p.d = const_data(d);
  p.energy = const_data(energy);
  check_launch("demodulation", demodulation_kernels().forward(p, exec_of(w)));
  return {d, energy};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("demodulation", TORCH_BOX(&demodulation_forward));
}

}  // namespace
}  // namespace fastgan
