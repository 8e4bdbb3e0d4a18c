// SPDX-License-Identifier: Apache-2.0
// The emulator's NarrowIndex: an unsigned 32-bit index whose every result is checked, under a limit
// that a test lowers. A kernel that took the narrow path for a tensor above the limit, or that
// multiplies in 32 bits what needs 64, fails here on a small tensor.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace fastgan::emulator {

int64_t narrow_limit();  // FASTGAN_EMULATOR_NARROW_LIMIT, else 2^31 - 1
[[noreturn]] void fail_index(int64_t value);
extern int64_t largest_index;  // set by narrow_limit()

class CheckedIndex {
 public:
  CheckedIndex() = default;
  template <std::integral U>
  CheckedIndex(U value) : value_(check(static_cast<int64_t>(value))) {}  // NOLINT: as uint32_t is

  operator int64_t() const { return value_; }  // NOLINT

  CheckedIndex& operator+=(CheckedIndex other) { return *this = *this + other; }
  CheckedIndex& operator-=(CheckedIndex other) { return *this = *this - other; }
  CheckedIndex& operator++() { return *this += 1; }

#define FASTGAN_OPERATOR(op)                                                                       \
  friend CheckedIndex operator op(CheckedIndex a, CheckedIndex b) { return a.value_ op b.value_; } \
  template <std::integral U>                                                                       \
  friend auto operator op(CheckedIndex a, U b) {                                                   \
    return Result<U>(a.value_ op static_cast<int64_t>(b));                                         \
  }                                                                                                \
  template <std::integral U>                                                                       \
  friend auto operator op(U a, CheckedIndex b) {                                                   \
    return Result<U>(static_cast<int64_t>(a) op b.value_);                                         \
  }
  FASTGAN_OPERATOR(+)
  FASTGAN_OPERATOR(-)
  FASTGAN_OPERATOR(*)
  FASTGAN_OPERATOR(/)
  FASTGAN_OPERATOR(%)
#undef FASTGAN_OPERATOR

#define FASTGAN_COMPARISON(op)                                                             \
  friend bool operator op(CheckedIndex a, CheckedIndex b) { return a.value_ op b.value_; } \
  template <std::integral U>                                                               \
  friend bool operator op(CheckedIndex a, U b) {                                           \
    return a.value_ op static_cast<int64_t>(b);                                            \
  }                                                                                        \
  template <std::integral U>                                                               \
  friend bool operator op(U a, CheckedIndex b) {                                           \
    return static_cast<int64_t>(a) op b.value_;                                            \
  }
  FASTGAN_COMPARISON(<)
  FASTGAN_COMPARISON(>)
  FASTGAN_COMPARISON(<=)
  FASTGAN_COMPARISON(>=)
  FASTGAN_COMPARISON(==)
  FASTGAN_COMPARISON(!=)
#undef FASTGAN_COMPARISON

 private:
  // As in CUDA: uint32_t with a 64-bit integer is computed in 64 bits.
  template <class U>
  using Result = std::conditional_t<sizeof(U) == 8, int64_t, CheckedIndex>;

  static int64_t check(int64_t value) {
    if (value < 0 || value > largest_index) fail_index(value);
    return value;
  }

  int64_t value_ = 0;
};

}  // namespace fastgan::emulator
