// SPDX-License-Identifier: Apache-2.0
// Lets a CPU-only torch run autograd on FakeTensorMode's 'cuda' tensors. No GPU code runs.
//
// A fake tensor computes shapes only, yet autograd asks for a device guard, a stream and the CUDA
// hooks of the device that its tensors claim to be on; a CPU-only torch aborts at that. These
// answer "one device, its default stream". Loaded before torch, which asks for the hooks once.
// The headers are not part of torch's stable ABI: built per torch version by fake_cuda.py.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <memory>

namespace fastgan {

const c10::Device kDevice(c10::DeviceType::CUDA, 0);

struct FakeCudaGuard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  c10::Stream getStream(c10::Device) const noexcept override { return default_stream(); }
  c10::Stream getNewStream(c10::Device, int = 0) const override { return default_stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return default_stream(); }
  void record(void**, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }

 private:
  static c10::Stream default_stream() { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
};

struct FakeCudaHooks final : at::CUDAHooksInterface {
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return false; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex current_device() const override { return 0; }
  int getNumGPUs() const override { return 1; }
  // A convolution of channels_last maps is channels_last with cuDNN, and not without.
  bool hasCuDNN() const override { return true; }
  bool compiledWithCuDNN() const override { return true; }
  bool supportsDilatedConvolutionWithCuDNN() const override { return true; }
  bool supportsDepthwiseConvolutionWithCuDNN() const override { return true; }
  bool supportsBFloat16ConvolutionWithCuDNNv8() const override { return true; }
  bool supportsBFloat16RNNWithCuDNN() const override { return true; }
  long versionCuDNN() const override { return 91000; }
  long versionRuntimeCuDNN() const override { return 91000; }
  double batchnormMinEpsilonCuDNN() const override { return 0; }
};

std::unique_ptr<at::CUDAHooksInterface> make_hooks(at::CUDAHooksArgs) {
  return std::make_unique<FakeCudaHooks>();
}

const bool kHooksAreRegistered = [] {
  at::CUDAHooksRegistry()->Register("CUDAHooks", make_hooks);
  return true;
}();
// torch keeps the pointer for the life of the process.
const c10::impl::DeviceGuardImplRegistrar kGuard(c10::DeviceType::CUDA, new FakeCudaGuard());

}  // namespace fastgan
