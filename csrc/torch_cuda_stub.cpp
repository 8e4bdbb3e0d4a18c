// SPDX-License-Identifier: Apache-2.0
// Stands for libtorch_cuda.so while the CUDA library is linked: the installed torch may have no
// CUDA. It holds the one function that the library takes from there, and is never run.
extern "C" int aoti_torch_get_current_cuda_stream(int, void**) { return 1; }
