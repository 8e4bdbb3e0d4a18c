// SPDX-License-Identifier: Apache-2.0
// fastgan._C: build facts and CPU features. Importing it also runs the registration of every op
// that is linked into the same library. It uses Python's limited API alone, so that one library
// serves CPython 3.11 and every later one; pybind11 has no such mode.
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstring>

#include "common/amx/support.h"

namespace {

constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512", "amx"};

constexpr int kAmx = 3;  // AVX-512's kernels, but for the ops that have others

PyObject* active_isa(PyObject*, PyObject*) {
  return PyUnicode_FromString(kIsaNames[fastgan::uses_amx() ? kAmx : int(fastgan::active_isa())]);
}

PyObject* supported_isas(PyObject*, PyObject*) {
  const bool has_amx = fastgan::supported_isa() == fastgan::Isa::kAvx512 && fastgan::supports_amx();
  const int top = has_amx ? kAmx : int(fastgan::supported_isa());
  PyObject* names = PyList_New(0);
  for (int i = 0; names != nullptr && i <= top; ++i) {
    PyObject* name = PyUnicode_FromString(kIsaNames[i]);
    if (name == nullptr || PyList_Append(names, name) != 0) Py_CLEAR(names);
    Py_XDECREF(name);
  }
  return names;
}

PyObject* limit_isa(PyObject*, PyObject* argument) {
  const char* wanted = PyUnicode_AsUTF8AndSize(argument, nullptr);
  if (wanted == nullptr) return nullptr;  // TypeError: it is no str
  for (int i = 0; i <= kAmx; ++i)
    if (std::strcmp(wanted, kIsaNames[i]) == 0) {
      fastgan::limit_amx(i == kAmx);
      fastgan::limit_isa(i == kAmx ? fastgan::Isa::kAvx512 : fastgan::Isa(i));
      Py_RETURN_NONE;
    }
  return PyErr_Format(PyExc_ValueError, "limit_isa: expected baseline, avx2, avx512 or amx, got %s",
                      wanted);
}

PyObject* compiler(PyObject*, PyObject*) { return PyUnicode_FromString(FASTGAN_COMPILER); }

PyMethodDef kFunctions[] = {
    {"active_isa", active_isa, METH_NOARGS, "The instruction set that kernels are chosen for."},
    {"supported_isas", supported_isas, METH_NOARGS, "Those that this processor has."},
    {"limit_isa", limit_isa, METH_O,
     "Use at most this instruction set, and never one that is missing."},
    {"compiler", compiler, METH_NOARGS,
     "The first line that the compiler prints about its version."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef kModule = {
    PyModuleDef_HEAD_INIT,
    "_C",
    "Native CPU kernels of fastgan: build facts and CPU features.",
    -1,
    kFunctions,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&kModule); }
