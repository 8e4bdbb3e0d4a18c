// SPDX-License-Identifier: Apache-2.0
// fastgan._C: build facts and CPU features. Importing it also runs the registration of every op
// that is linked into the same library.
#include <pybind11/pybind11.h>

#include <string>

#include "common/isa.h"

namespace py = pybind11;

namespace {

constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512"};

const char* active_isa() { return kIsaNames[int(fastgan::active_isa())]; }

py::list supported_isas() {
  py::list names;
  for (int i = 0; i <= int(fastgan::supported_isa()); ++i) names.append(kIsaNames[i]);
  return names;
}

void limit_isa(const std::string& wanted) {
  for (int i = 0; i < 3; ++i)
    if (wanted == kIsaNames[i]) return fastgan::limit_isa(fastgan::Isa(i));
  throw py::value_error("limit_isa: expected baseline, avx2 or avx512, got " + wanted);
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native CPU kernels of fastgan: build facts and CPU features.";
  module.def("active_isa", active_isa, "The instruction set that kernels are chosen for.");
  module.def("supported_isas", supported_isas, "Those that this processor has.");
  module.def("limit_isa", limit_isa, py::arg("isa"),
             "Use at most this instruction set, and never one that is missing.");
  module.def(
      "compiler", [] { return FASTGAN_COMPILER; },
      "The first line that the compiler prints about its version.");
}
