// SPDX-License-Identifier: Apache-2.0
// For <op>_cpu.cpp only: the namespace of the instruction set it is compiled for, storage types and
// their conversion to the type they are computed in. Everything here is internal to one object
// file: an inline function shared between files of different instruction sets would let the linker
// keep the one that the processor cannot run. For the same reason kernels call no std:: templates.
#pragma once

#include <cstdint>
#include <cstring>

#include "dtype.h"
#include "exec.h"

#ifndef FASTGAN_ISA
#define FASTGAN_ISA baseline
#endif

namespace fastgan::FASTGAN_ISA {
namespace {

struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

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

inline float from_bits(uint32_t u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
inline uint32_t to_bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
}

inline double load(double v) { return v; }
inline float load(float v) { return v; }
inline float load(BFloat v) { return from_bits(uint32_t(v.bits) << 16); }
// binary16 → binary32: shift the fields into place and let one multiplication rebias the exponent,
// which also turns subnormals into normals; infinities and NaNs keep an all-ones exponent.
inline float load(Half v) {
  const uint32_t sign = uint32_t(v.bits & 0x8000u) << 16;
  const uint32_t fields = uint32_t(v.bits & 0x7fffu) << 13;
  const float rebiased = from_bits(fields) * 0x1p112f;
  const uint32_t finite = to_bits(rebiased);
  return from_bits(sign | ((v.bits & 0x7c00u) == 0x7c00u ? (fields | 0x7f800000u) : finite));
}

// Every store rounds to nearest even.
inline void store(double* p, double v) { *p = v; }
inline void store(float* p, float v) { *p = v; }
inline void store(BFloat* p, float v) {
  const uint32_t u = to_bits(v);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  p->bits = uint16_t((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
}
inline void store(Half* p, float v) {
  const uint32_t u = to_bits(v);
  const uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  // Normal results: rebias by integer subtraction and round at bit 13.
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Subnormal results: adding 0.5 lines the mantissa up so that the FPU rounds it.
  const uint32_t subnormal = to_bits(from_bits(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t h = magnitude < 0x38800000u ? subnormal : normal;
  h = h > 0x7c00u ? 0x7c00u : h;
  h = magnitude > 0x7f800000u ? 0x7e00u : magnitude == 0x7f800000u ? 0x7c00u : h;
  p->bits = uint16_t(sign | h);
}

// `v` as the storage type holds it.
template <class T>
inline compute_t<T> round_to(compute_t<T> v) {
  T t;
  store(&t, v);
  return load(t);
}

inline int64_t at_least_one(int64_t v) { return v < 1 ? 1 : v; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Work below this many bytes is not worth a second thread.
constexpr int64_t kGrainBytes = 128 * 1024;

// Calls f<T>() for the storage type that dtype names.
template <class F>
void dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat64: f(double{}); break;
    case DType::kFloat32: f(float{}); break;
    case DType::kBFloat16: f(BFloat{}); break;
    case DType::kFloat16: f(Half{}); break;
  }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
