// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of augment_positions: a thread computes one position, and only results go through
// memory.
#include "augment_positions.h"

#include "../../common/platform.cuh"

namespace fastgan::cuda {
namespace {

__device__ __forceinline__ float floor_of(float v) { return floorf(v); }
__device__ __forceinline__ double floor_of(double v) { return floor(v); }
__device__ __forceinline__ int round_of(float v) { return int(rintf(v)); }
__device__ __forceinline__ int round_of(double v) { return int(rint(v)); }

// The source (u, v) of position (x, y), all relative to the image's centre.
template <class A>
struct Source {
  A u, v;
  __device__ __forceinline__ Source(const A* inverse, A x, A y)
      : u(inverse[0] * x + inverse[1] * y + inverse[2]),
        v(inverse[3] * x + inverse[4] * y + inverse[5]) {}
};

// A whole position folded into the image, mirrored at its outer pixels.
__device__ __forceinline__ int reflect(int position, int size) {
  if (size == 1) return 0;
  const int period = 2 * (size - 1), rest = position % period;
  const int folded = rest < 0 ? rest + period : rest;
  return folded < size ? folded : period - folded;
}

// The same of any position. One below 0 by a rounding of the quotient is 0.
template <class A>
__device__ __forceinline__ A reflect(A position, int size) {
  if (size == 1) return A(0);
  const A period = A(2 * (size - 1));
  const A folded = position - period * floor_of(position / period);
  const A mirrored = period - folded, least = folded < mirrored ? folded : mirrored;
  return least < A(0) ? A(0) : least;
}

// Image, row and column of flat index i.
template <class Index>
struct Place {
  Index image;
  int row, column;
  __device__ __forceinline__ Place(Index i, const Divisor<Index>& by_columns,
                                   const Divisor<Index>& by_rows, Index columns, Index rows) {
    const Index line = by_columns.divide(i);
    column = int(int64_t(i - line * columns));
    image = by_rows.divide(line);
    row = int(int64_t(line - image * rows));
  }
};

template <class A, class Index>
__global__ void __launch_bounds__(kThreads)
    index_kernel(AugmentPositionsParams p, Divisor<Index> by_columns, Divisor<Index> by_rows) {
  const int height = int(p.height), width = int(p.width);
  const A middle_x = A(width - 1) / 2, middle_y = A(height - 1) / 2;
  const Index total = Index(p.images * p.rows * p.columns), step = Index(gridDim.x) * kThreads;
  for (Index i = Index(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
    const Place<Index> at(i, by_columns, by_rows, Index(p.columns), Index(p.rows));
    const A* inverse = static_cast<const A*>(p.inverse) + at.image * Index(9);
    const Source<A> from(inverse, A(at.column) - middle_x, A(at.row) - middle_y);
    const int u = reflect(round_of(from.u + middle_x), width);
    const int v = reflect(round_of(from.v + middle_y), height);
    static_cast<int64_t*>(p.out)[i] = int64_t(v) * width + u;
  }
}

// grid_sample's coordinate, in the doubled image, of a pixel position in the image itself.
template <class A>
__device__ __forceinline__ A normalized(A position, A center, int size) {
  return (2 * (2 * position + center) + 1) / A(2 * size) - 1;
}

template <class A, class Index>
__global__ void __launch_bounds__(kThreads)
    grid_kernel(AugmentPositionsParams p, Divisor<Index> by_columns, Divisor<Index> by_rows) {
  const int height = int(p.height), width = int(p.width), lead = int(p.lead);
  const A middle_x = A(width - 1) / 2, middle_y = A(height - 1) / 2, center = A(p.center);
  const Index total = Index(p.images * p.rows * p.columns), step = Index(gridDim.x) * kThreads;
  for (Index i = Index(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
    const Place<Index> at(i, by_columns, by_rows, Index(p.columns), Index(p.rows));
    const A* inverse = static_cast<const A*>(p.inverse) + at.image * Index(9);
    const A x = (A(at.column - lead) - center) / 2 - middle_x;
    const A y = (A(at.row - lead) - center) / 2 - middle_y;
    const Source<A> from(inverse, x, y);
    A* to = static_cast<A*>(p.out) + i * Index(2);
    to[0] = normalized(reflect(from.u + middle_x, width), center, width);
    to[1] = normalized(reflect(from.v + middle_y, height), center, height);
  }
}

// `elements` of out belong to each position.
template <class F>
int dispatch_positions(const AugmentPositionsParams& p, int64_t elements, F&& f) {
  const int64_t total = p.images * p.rows * p.columns;
  if (total == 0) return 0;
  return dispatch_index(total * elements, [&](auto index) {
    using Index = decltype(index);
    return f(Divisor<Index>(p.columns), Divisor<Index>(p.rows), grid_for(total), index);
  });
}

int index(const AugmentPositionsParams& p, const Exec& exec) {
  return dispatch_positions(p, 1, [&](auto by_columns, auto by_rows, dim3 grid, auto narrow) {
    using Index = decltype(narrow);
    const auto stream = static_cast<cudaStream_t>(exec.stream);
    if (p.dtype == DType::kFloat64)
      launch(index_kernel<double, Index>, grid, dim3(kThreads), 0, stream, p, by_columns, by_rows);
    else
      launch(index_kernel<float, Index>, grid, dim3(kThreads), 0, stream, p, by_columns, by_rows);
    return last_error();
  });
}

int grid(const AugmentPositionsParams& p, const Exec& exec) {
  return dispatch_positions(p, 2, [&](auto by_columns, auto by_rows, dim3 blocks, auto narrow) {
    using Index = decltype(narrow);
    const auto stream = static_cast<cudaStream_t>(exec.stream);
    if (p.dtype == DType::kFloat64)
      launch(grid_kernel<double, Index>, blocks, dim3(kThreads), 0, stream, p, by_columns, by_rows);
    else
      launch(grid_kernel<float, Index>, blocks, dim3(kThreads), 0, stream, p, by_columns, by_rows);
    return last_error();
  });
}

}  // namespace

extern const AugmentPositionsKernels augment_positions;
const AugmentPositionsKernels augment_positions = {index, grid};

}  // namespace fastgan::cuda
