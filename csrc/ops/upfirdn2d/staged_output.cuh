// SPDX-License-Identifier: Apache-2.0
// A tile of outputs that leaves through shared memory.
//
// Rows of GANs are often odd (2H + 1 before a blur, H + 1 after one), so neither their width nor
// their padding may decide how memory is accessed. Global memory is written in aligned 16-byte
// chunks: an element lies as far off such a chunk in shared memory as it does in global memory.
#pragma once

#include "tiling.cuh"

namespace fastgan::cuda {
namespace {

struct StagedOutput {
  int shift, pitch;  // of the tile's first element, and from one row to the next

  __device__ __forceinline__ StagedOutput(const void* out, int size, const Tiling& t,
                                          const Tile& tile)
      : pitch(t.out_pitch) {
    const uint32_t row = uint32_t(tile.plane) * uint32_t(t.y.a.out) + uint32_t(tile.out_y);
    const uint32_t offset = row * uint32_t(t.x.a.out) + uint32_t(tile.out_x);  // its low bits
    shift = int((uint32_t(uintptr_t(out)) / uint32_t(size) + offset) & uint32_t(16 / size - 1));
  }
  __device__ __forceinline__ int at(int row) const { return shift + row * pitch; }
};

// Writes the staged tile: one run of memory, or one per row.
template <class T>
__device__ __forceinline__ void write_output(const T* staged, const Upfirdn2dParams& p,
                                             const Tiling& t, const Tile& tile,
                                             const StagedOutput& rows) {
  constexpr int kN = Vec<T>::kN;
  const int64_t plane_size = int64_t(t.y.a.out) * t.x.a.out;
  T* out = static_cast<T*>(p.out) + tile.plane * plane_size +
           int64_t(NarrowIndex(tile.out_y) * t.x.a.out + tile.out_x);
  const int length = t.is_flat ? tile.planes * tile.rows * tile.columns : tile.columns;
  const int chunks = t.is_flat ? (rows.shift + length + kN - 1) / kN : t.out_chunks;
  const int total = t.is_flat ? chunks : chunks * tile.rows;
  for (int i = threadIdx.x; i < total; i += int(blockDim.x)) {
    const int row = t.is_flat ? 0 : int(t.by_out_chunks.divide(i));
    const int first = rows.at(row), begin = (i - row * chunks) * kN - (first & (kN - 1));
    if (begin >= length) continue;
    const T* from = staged + first + begin;
    T* to = out + int64_t(row) * t.x.a.out + begin;
    if (begin >= 0 && begin + kN <= length) {
      store16(to, load16(from));
      continue;
    }
    const int last = length - begin < kN ? length - begin : kN;
#pragma unroll 1
    for (int k = begin < 0 ? -begin : 0; k < last; ++k) to[k] = from[k];
  }
}

}  // namespace
}  // namespace fastgan::cuda
