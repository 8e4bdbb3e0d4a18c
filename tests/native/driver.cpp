// SPDX-License-Identifier: Apache-2.0
// driver [--list] [--isas] [--once] [--only TEXT]... [--isa baseline|avx2|avx512]
//
// --list names the cases, --isas the instruction sets that this processor has. Otherwise:
// --once leaves out the second run of each case, which shows that a result depends on the order.
//
// Runs the cases whose name contains one of the texts (default: all). Exit code: 0 all right, 1 bad
// usage, 2 a wrong result, 3 the emulator (or anything else) threw; sanitizers bring their own
// codes.
#include "driver.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <set>

#include "../../csrc/common/isa.h"

namespace fastgan::driver {
namespace {

struct Case {
  std::string name;
  std::function<void()> run;
};
std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Run {
  std::string name;
  bool is_wrong = false;
  std::vector<uint64_t> results;  // digests of what expect_close saw
};
Run* current = nullptr;

constexpr uint64_t kFnvBasis = 0xcbf29ce484222325u;
uint64_t digest_of(const void* bytes, size_t n, uint64_t h = kFnvBasis) {
  const auto* p = static_cast<const unsigned char*>(bytes);
  for (size_t i = 0; i < n; ++i) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

// Binary floating point types by their fields.
struct Format {
  int bytes, mantissa_bits, exponent_bits;
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  double eps() const { return std::ldexp(1.0, -mantissa_bits); }
  double tiny() const { return std::ldexp(1.0, 1 - bias()); }
};
Format format_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat64: return {8, 52, 11};
    case DType::kFloat32: return {4, 23, 8};
    case DType::kBFloat16: return {2, 7, 8};
    case DType::kFloat16: break;
  }
  return {2, 10, 5};
}

double decode(const unsigned char* p, const Format& f) {
  uint64_t bits = 0;
  std::memcpy(&bits, p, size_t(f.bytes));
  const uint64_t mantissa = bits & ((uint64_t(1) << f.mantissa_bits) - 1);
  const int top = (1 << f.exponent_bits) - 1, exponent = int(bits >> f.mantissa_bits) & top;
  const double sign = bits >> (8 * f.bytes - 1) ? -1.0 : 1.0;
  if (exponent == top) return mantissa ? std::nan("") : sign * HUGE_VAL;
  const uint64_t hidden = exponent ? uint64_t(1) << f.mantissa_bits : 0;
  return sign * std::ldexp(double(mantissa | hidden),
                           (exponent ? exponent : 1) - f.bias() - f.mantissa_bits);
}

void encode(unsigned char* p, const Format& f, double v) {
  const uint64_t top = (uint64_t(1) << f.exponent_bits) - 1;
  uint64_t bits;
  if (std::isnan(v)) {
    bits = top << f.mantissa_bits | uint64_t(1) << (f.mantissa_bits - 1);
  } else {
    int exponent = 0;
    const double size = std::fabs(v);
    std::frexp(size, &exponent);  // size = m · 2^exponent with 1/2 ≤ m < 1
    const int least = 1 - f.bias();
    const int e = size == 0 || exponent - 1 < least ? least : exponent - 1;
    const double steps = std::nearbyint(std::ldexp(size, f.mantissa_bits - e));
    // Counting steps of the last place also carries into the exponent, up to infinity.
    bits =
        std::isinf(size) || std::ldexp(steps, e - f.mantissa_bits) >= std::ldexp(1.0, f.bias()) * 2
            ? top << f.mantissa_bits
            : (uint64_t(e - least) << f.mantissa_bits) + uint64_t(steps);
  }
  bits |= uint64_t(std::signbit(v)) << (8 * f.bytes - 1);
  std::memcpy(p, &bits, size_t(f.bytes));
}

double limit_of(DType dtype) {
  return dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 1;
}

constexpr int64_t kAlignment = 64;
constexpr int64_t kGuard = 256;
// NaN beside inputs, so that what is read there shows in the result; a huge number beside outputs,
// since a NaN read beside an input and written beside an output would leave a NaN as it was.
constexpr unsigned char kInputGuard = 0xff, kOutputGuard = 0x7b;

}  // namespace

std::string name_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat64: return "float64";
    case DType::kFloat32: return "float32";
    case DType::kBFloat16: return "bfloat16";
    case DType::kFloat16: break;
  }
  return "float16";
}

DType sum_type(DType dtype) { return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

bool add_cases(const char* op, void (*add_all)(Adder add)) {
  add_all([op](const std::string& name, std::function<void()> run) {
    cases().push_back({std::string(op) + "/" + name, std::move(run)});
  });
  return true;
}

void fail(const std::string& text) {
  if (!current->is_wrong) std::printf("WRONG %s: %s\n", current->name.c_str(), text.c_str());
  current->is_wrong = true;
}

void expect_ok(int error) {
  if (error != 0) fail("the launcher returned error " + std::to_string(error));
}

Memory::Memory(std::string name, int64_t bytes, int64_t offset)
    : name_(std::move(name)), bytes_(bytes) {
#if defined(FASTGAN_EXACT_ALLOCATION)
  before_ = offset;
  after_ = 0;
#else
  before_ = kGuard + offset;
  after_ = kGuard;
#endif
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, size_t(before_ + bytes + after_)) != 0) std::abort();
  data_ = static_cast<unsigned char*>(block) + before_;
  std::memset(data_, 0xff, size_t(bytes));
  set_guards(kOutputGuard);
}

Memory::~Memory() {
  if (is_overwritten(data_ - before_, before_)) fail("a kernel wrote before the start of " + name_);
  if (is_overwritten(data_ + bytes_, after_)) fail("a kernel wrote past the end of " + name_);
  if (is_frozen_ && digest() != frozen_digest_) fail("a kernel wrote to its input " + name_);
  std::free(data_ - before_);
}

void Memory::set_guards(unsigned char value) {
  guard_ = value;
  std::memset(data_ - before_, value, size_t(before_));
  std::memset(data_ + bytes_, value, size_t(after_));
}

bool Memory::is_overwritten(const unsigned char* guards, int64_t n) const {
  for (int64_t i = 0; i < n; ++i)
    if (guards[i] != guard_) return true;
  return false;
}

uint64_t Memory::digest() const { return digest_of(data_, size_t(bytes_)); }

void Memory::freeze() {
  set_guards(kInputGuard);
  is_frozen_ = true;
  frozen_digest_ = digest();
}

Floats::Floats(std::string name, DType dtype, int64_t n, int64_t misaligned)
    : Memory(std::move(name), n * format_of(dtype).bytes, misaligned * format_of(dtype).bytes),
      dtype_(dtype),
      n_(n) {}

double Floats::operator[](int64_t i) const {
  const Format format = format_of(dtype_);
  return decode(&at<unsigned char>(i * format.bytes), format);
}

void Floats::set(int64_t i, double value) {
  const Format format = format_of(dtype_);
  encode(&at<unsigned char>(i * format.bytes), format, value);
  thaw();
}

void Floats::fill_in_place(double low, double high) {
  uint64_t state = digest_of(current->name.data(), current->name.size());
  state = digest_of(name().data(), name().size(), state);
  for (int64_t i = 0; i < n_; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint64_t mixed = (state ^ state >> 33) * 0xff51afd7ed558ccdu;
    mixed ^= mixed >> 33;
    set(i, low + (high - low) * std::ldexp(double(mixed >> 11), -53));
  }
}

void Floats::fill(double low, double high) {
  fill_in_place(low, high);
  freeze();
}

void expect_close(const Floats& got, const std::vector<Exact>& want, double limits) {
  if (int64_t(want.size()) != got.size()) {
    fail(got.name() + " has " + std::to_string(got.size()) + " elements, expected " +
         std::to_string(want.size()));
    return;
  }
  const Format format = format_of(got.dtype());
  const double limit = limits * limit_of(got.dtype());
  for (int64_t i = 0; i < got.size(); ++i) {
    const double value = got[i], exact = want[size_t(i)].value;
    const double unit = format.eps() * want[size_t(i)].scale + format.tiny();
    const bool is_right = std::isnan(exact)   ? std::isnan(value)
                          : std::isinf(exact) ? value == exact
                                              : std::fabs(value - exact) <= limit * unit;
    if (is_right) continue;
    char text[256];
    std::snprintf(text, sizeof text, "%s[%lld]: got %.9g, expected %.9g: %.3g eps, limit %.3g",
                  got.name().c_str(), static_cast<long long>(i), value, exact,
                  std::fabs(value - exact) / unit, limit);
    fail(text);
    break;
  }
  current->results.push_back(digest_of(got.data(), size_t(got.bytes())));
}

namespace {

// Both runs of one case, or the first alone; the exit code it asks for.
int run_case(const Case& c, bool is_once) {
  Run first{c.name, false, {}}, second = first;
  try {
    current = &first;
    c.run();
    if (first.is_wrong) return 2;
    if (is_once) return 0;
#if !defined(FASTGAN_EMULATOR)
    thread_count() = 5;
#endif
    current = &second;
    c.run();
#if !defined(FASTGAN_EMULATOR)
    thread_count() = 3;
#endif
  } catch (const std::exception& error) {
    std::printf("ERROR %s: %s\n", c.name.c_str(), error.what());
    return 3;
  }
  if (!second.is_wrong && first.results != second.results)
    fail("two runs gave different bits: the result depends on the order of threads");
  return second.is_wrong ? 2 : 0;
}

int refuse(const char* what, const std::string& argument) {
  std::fprintf(stderr, "driver: %s %s\n", what, argument.c_str());
  return 1;
}

constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512"};

// Null, or why `name` cannot be chosen.
const char* choose_isa(const std::string& name) {
  for (int isa = 0; isa < 3; ++isa) {
    if (name != kIsaNames[isa]) continue;
    if (Isa(isa) > supported_isa()) return "this processor lacks";
    limit_isa(Isa(isa));
    return nullptr;
  }
  return "--isa takes baseline, avx2 or avx512, got";
}

int run(const std::vector<std::string>& arguments) {
  std::vector<std::string> only;
  bool is_list = false, is_once = false;
  for (size_t k = 0; k < arguments.size(); ++k) {
    const std::string& argument = arguments[k];
    if (argument == "--list") {
      is_list = true;
    } else if (argument == "--once") {
      is_once = true;
    } else if (argument == "--isas") {
      for (int isa = 0; isa <= int(supported_isa()); ++isa) std::printf("%s\n", kIsaNames[isa]);
      return 0;
    } else if (k + 1 == arguments.size()) {
      return refuse("unknown argument, or one without its value:", argument);
    } else if (argument == "--only") {
      only.push_back(arguments[++k]);
    } else if (argument == "--isa") {
      const std::string& isa = arguments[++k];
      if (const char* why = choose_isa(isa)) return refuse(why, isa);
    } else {
      return refuse("unknown argument", argument);
    }
  }
  int code = 0, count = 0;
  std::set<std::string> names;
  for (const Case& c : cases()) {
    if (!names.insert(c.name).second) return refuse("two cases are called", c.name);
    bool is_chosen = only.empty();
    for (const std::string& text : only) is_chosen |= c.name.find(text) != std::string::npos;
    if (!is_chosen) continue;
    ++count;
    if (is_list) {
      std::printf("%s\n", c.name.c_str());
      continue;
    }
    const int found = run_case(c, is_once);
    code = found > code ? found : code;
    std::fflush(stdout);
  }
  if (count == 0) return refuse("no case is called like", only.empty() ? "this" : only[0]);
  if (!is_list) std::printf("%d cases, exit code %d\n", count, code);
  return code;
}

}  // namespace
}  // namespace fastgan::driver

int main(int argc, char** argv) {
  return fastgan::driver::run(std::vector<std::string>(argv + 1, argv + argc));
}
