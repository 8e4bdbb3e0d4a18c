// SPDX-License-Identifier: Apache-2.0
// The torch-free driver of the kernels: cases that fill arrays, call an op's kernel table and
// compare with a plain loop in double. It runs where Python cannot be: under ThreadSanitizer, and
// in the mutation check, where building it costs seconds.
//
// tests/native/<op>.cpp holds one op's cases and is compiled twice, unchanged: with
// -DFASTGAN_EMULATOR it meets the CUDA kernels under the emulator, without it the CPU kernels
// (--isa chooses the instruction set). In both, `<op>_kernels()` of the op's header is the table.
// Cases of an op without a CUDA kernel are in tests/native/cpu_alone/.
//
//   #include "../../csrc/ops/example/example.h"
//   #include "driver.h"
//
//   namespace fastgan::driver {
//   namespace {
//   void doubles(DType dtype, int64_t n) {
//     Floats x("x", dtype, n), y("y", dtype, n);
//     x.fill(-2, 2);
//     expect_ok(example_kernels().run({x.data(), y.data(), n, dtype}, exec()));
//     std::vector<Exact> want(n);
//     for (int64_t i = 0; i < n; ++i) want[i].add(2 * x[i]);
//     expect_close(y, want);
//   }
//   const bool kRegistered = add_cases("example", [](Adder add) {
//     for (DType dtype : kDTypes)
//       for (int64_t n : {0, 1, 7, 63, 300})
//         add(name_of(dtype) + " " + std::to_string(n), [=] { doubles(dtype, n); });
//   });
//   }  // namespace
//   }  // namespace fastgan::driver
//
// Every case runs twice (under another order of threads where the order is random) and must give
// the same bits both times. Keep a case below ~20,000 elements: a CUDA thread costs a microsecond
// here, ten under a sanitizer. What a case should reach: each path of the launcher, ragged edges,
// an array that starts one element off a 16-byte boundary, more than one block and chunk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "../../csrc/common/dtype.h"
#include "../../csrc/common/exec.h"

#if !defined(FASTGAN_EMULATOR)
#include "cpu_exec.h"
#endif

namespace fastgan::driver {

inline constexpr DType kDTypes[] = {DType::kFloat64, DType::kFloat32, DType::kBFloat16,
                                    DType::kFloat16};
inline constexpr DType kFloat32And16[] = {DType::kFloat32, DType::kBFloat16};

std::string name_of(DType dtype);
// The type that sums over `dtype` are kept in: float64 for float64, else float32.
DType sum_type(DType dtype);

// What a launcher gets as its Exec.
inline Exec exec() {
#if defined(FASTGAN_EMULATOR)
  return {nullptr, nullptr};
#else
  return {nullptr, parallel_for_in_threads};
#endif
}

using Adder = std::function<void(const std::string& name, std::function<void()> run)>;
// Called by a static initialiser; the case's full name is "<op>/<name>".
bool add_cases(const char* op, void (*add_all)(Adder add));

// The case has failed, with this one line; it goes on.
void fail(const std::string& text);

// `error` is what a launcher returned.
void expect_ok(int error);

// Bytes of exactly the size asked for, all ones (NaN in every float type) until written.
//
// `offset` bytes after a 64-byte boundary. Under AddressSanitizer the allocation ends with the last
// byte; elsewhere guard zones lie on both sides, and the case fails if one has changed when the
// array dies.
class Memory {
 public:
  Memory(std::string name, int64_t bytes, int64_t offset = 0);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  const std::string& name() const { return name_; }
  int64_t bytes() const { return bytes_; }
  // Null where the array is empty, as a tensor's pointer may be.
  void* data() const { return bytes_ ? data_ : nullptr; }
  // Its `i`-th element of type T, for arrays that hold no floats.
  template <class T>
  T& at(int64_t i) const {
    return reinterpret_cast<T*>(data_)[i];
  }

 protected:
  // The bytes must be the same when the array dies as they are now.
  void freeze();
  void thaw() { is_frozen_ = false; }

 private:
  uint64_t digest() const;
  void set_guards(unsigned char value);
  bool is_overwritten(const unsigned char* guards, int64_t n) const;

  std::string name_;
  int64_t bytes_, before_, after_;  // guard zones lie before and after the data
  unsigned char* data_;
  unsigned char guard_;
  bool is_frozen_ = false;
  uint64_t frozen_digest_ = 0;
};

// `n` values of one float type, read and written as double. `misaligned` elements after a 64-byte
// boundary.
class Floats : public Memory {
 public:
  Floats(std::string name, DType dtype, int64_t n, int64_t misaligned = 0);

  DType dtype() const { return dtype_; }
  int64_t size() const { return n_; }
  double operator[](int64_t i) const;
  // Rounds to nearest even. The array counts as an output from now on, unless fill() follows.
  void set(int64_t i, double value);

  // Values between low and high, the same for this case and array each time; exact in `dtype`.
  // Makes the array an input: the case fails if a kernel writes to it.
  void fill(double low, double high);
  // Filled as an input is, but a kernel may write to it.
  void fill_in_place(double low, double high);

 private:
  DType dtype_;
  int64_t n_;
};

// A sum with the sum of the magnitudes that went into it.
struct Exact {
  double value = 0, scale = 0;
  void add(double term) {
    value += term;
    scale += term < 0 ? -term : term;
  }
};

// |got - want| ≤ limit·eps·scale + tiny in every element; the default limit is that of the dtype: 8
// for float64, 4 for float32, and 1 for 16 bits, which is twice the rounding of the exact result.
// Where `want` is NaN or infinite, `got` must be the same. A multiple of the limit, for long sums
// or for functions of them, is the case's to justify.
void expect_close(const Floats& got, const std::vector<Exact>& want, double limits = 1);

}  // namespace fastgan::driver
