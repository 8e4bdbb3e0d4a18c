// SPDX-License-Identifier: Apache-2.0
// CUDA kernel of augment_matrices: a thread draws the numbers of one image and makes its matrices.
// A batch is a few images, so that what counts is that there is one launch.
#include "augment_matrices.h"

#include "../../common/sample_words.cuh"

namespace fastgan::cuda {
namespace {

constexpr float kScaleStd = 0.2f * 0.6931471805599453f, kShift = 0.125f;
constexpr float kContrastStd = 0.5f * 0.6931471805599453f, kSaturationStd = 0.6931471805599453f;
constexpr float kBrightnessStd = 0.2f, kRootOfThree = 1.7320508075688772f;

// The numbers of one image, one word each, in the order in which they are asked for.
struct Numbers {
  uint64_t key, word;

  __device__ __forceinline__ uint64_t next() { return sample_word(key, word++); }
  __device__ __forceinline__ float uniform() { return unit(next(), 0.0f); }
  __device__ __forceinline__ float normal() {
    float sine, cosine;
    const float radius = normal_pair(next(), sine, cosine);
    return radius * cosine;
  }
  // Below `count`, where `is_executed`, else 0. The word is used up in any case.
  __device__ __forceinline__ int whole(uint32_t count, bool is_executed) {
    const int value = int((next() >> 32) * count >> 32);
    return is_executed ? value : 0;
  }
};

// (x, y) → (a·x + b·y + tx, c·x + d·y + ty).
struct Affine {
  float a = 1, b = 0, tx = 0, c = 0, d = 1, ty = 0;

  // This one after `other`.
  __device__ __forceinline__ Affine after(const Affine& other) const {
    return {a * other.a + b * other.c, a * other.b + b * other.d, a * other.tx + b * other.ty + tx,
            c * other.a + d * other.c, c * other.b + d * other.d, c * other.tx + d * other.ty + ty};
  }
  __device__ __forceinline__ void store(float* to) const {
    to[0] = a, to[1] = b, to[2] = tx;
    to[3] = c, to[4] = d, to[5] = ty;
    to[6] = 0, to[7] = 0, to[8] = 1;
  }
};

__device__ __forceinline__ Affine translation(float tx, float ty) { return {1, 0, tx, 0, 1, ty}; }
__device__ __forceinline__ Affine scaling(float sx, float sy) { return {sx, 0, 0, 0, sy, 0}; }
// By minus the angle of this cosine and sine.
__device__ __forceinline__ Affine inverse_turn(float cosine, float sine) {
  return {cosine, sine, 0, -sine, cosine, 0};
}

// U(-π, π) where executed, else 0, as cosine and sine.
__device__ __forceinline__ void turn(Numbers& numbers, bool is_executed, float& cosine,
                                     float& sine) {
  sine_cosine(numbers.uniform() * 2.0f - 1.0f, sine, cosine);
  if (!is_executed) cosine = 1, sine = 0;
}

// exp(N(0, std²)) where executed, else 1.
__device__ __forceinline__ float lognormal(Numbers& numbers, bool is_executed, float std) {
  const float value = numbers.normal() * std;
  return is_executed ? expf(value) : 1.0f;
}

// round(t·size) with t ~ U(-kShift, kShift); t is exact.
__device__ __forceinline__ float whole_shift(Numbers& numbers, bool is_executed, float size) {
  const float value = rintf((numbers.uniform() * (2 * kShift) - kShift) * size);
  return is_executed ? value : 0.0f;
}

__device__ __forceinline__ Affine blit(Numbers& numbers, float p, int height, int width) {
  const bool is_flipped = numbers.uniform() < p;
  const float mirror = float(1 - 2 * numbers.whole(2, is_flipped));
  const bool is_turned = numbers.uniform() < p;
  const bool is_square = height == width;
  const int drawn = numbers.whole(is_square ? 4 : 2, is_turned);
  const int turns = is_square ? drawn : 2 * drawn;
  const float cosine = turns & 1 ? 0.0f : float(1 - turns);
  const float sine = turns & 1 ? float(2 - turns) : 0.0f;
  const bool is_moved = numbers.uniform() < p;
  const float tx = whole_shift(numbers, is_moved, float(width));
  const float ty = whole_shift(numbers, is_moved, float(height));
  return scaling(mirror, 1).after(inverse_turn(cosine, sine)).after(translation(-tx, -ty));
}

__device__ __forceinline__ Affine geom(Numbers& numbers, float p, float height, float width,
                                       bool& is_any) {
  const float rest = 1 - p, p_rotation = 1 - sqrtf(rest < 0 ? 0.0f : rest);
  float cosine, sine;

  bool is_executed = numbers.uniform() < p;
  is_any = is_executed;
  float s = 1 / lognormal(numbers, is_executed, kScaleStd);
  Affine inverse = scaling(s, s);

  is_executed = numbers.uniform() < p_rotation;
  is_any |= is_executed;
  turn(numbers, is_executed, cosine, sine);
  inverse = inverse.after(inverse_turn(cosine, sine));

  is_executed = numbers.uniform() < p;
  is_any |= is_executed;
  s = 1 / lognormal(numbers, is_executed, kScaleStd);
  inverse = inverse.after(scaling(s, 1 / s));

  is_executed = numbers.uniform() < p_rotation;
  is_any |= is_executed;
  turn(numbers, is_executed, cosine, sine);
  inverse = inverse.after(inverse_turn(cosine, sine));

  is_executed = numbers.uniform() < p;
  is_any |= is_executed;
  const float x = numbers.normal() * kShift, y = numbers.normal() * kShift;
  return is_executed ? inverse.after(translation(-x * width, -y * height)) : inverse;
}

// All of them keep the grey axis and what is orthogonal to it apart, so that their product is one
// factor along the axis, one across it, and the sum of the angles.
__device__ __forceinline__ bool color(Numbers& numbers, float p, int channels, float* to) {
  const bool is_brighter = numbers.uniform() < p;
  const float drawn = numbers.normal() * kBrightnessStd, offset = is_brighter ? drawn : 0.0f;
  const bool is_contrasted = numbers.uniform() < p;
  const float scale = lognormal(numbers, is_contrasted, kContrastStd);
  const bool is_flipped = numbers.uniform() < p;
  const float grey = scale * float(1 - 2 * numbers.whole(2, is_flipped));
  bool is_any = is_brighter || is_contrasted || is_flipped;
  if (channels == 1) {
    to[0] = grey, to[1] = grey * offset;
    to[2] = 0, to[3] = 1;
    return is_any;
  }
  float cosine, sine;
  const bool is_turned = numbers.uniform() < p;
  turn(numbers, is_turned, cosine, sine);
  const bool is_saturated = numbers.uniform() < p;
  const float across = scale * lognormal(numbers, is_saturated, kSaturationStd);
  is_any |= is_turned || is_saturated;
  const float mean = (grey - across * cosine) / 3, twist = across * sine / kRootOfThree;
  const float same = mean + across * cosine, ahead = mean + twist, behind = mean - twist;
  const float shift = grey * offset;
  to[0] = same, to[1] = behind, to[2] = ahead, to[3] = shift;
  to[4] = ahead, to[5] = same, to[6] = behind, to[7] = shift;
  to[8] = behind, to[9] = ahead, to[10] = same, to[11] = shift;
  to[12] = 0, to[13] = 0, to[14] = 0, to[15] = 1;
  return is_any;
}

__global__ void __launch_bounds__(kThreads) matrices_kernel(AugmentMatricesParams p) {
  const uint64_t key = uint64_t(*p.key) + uint64_t(p.offset);
  const float probability = *p.p;
  const int64_t step = int64_t(gridDim.x) * kThreads;
  for (int64_t row = int64_t(blockIdx.x) * kThreads + threadIdx.x; row < p.rows; row += step) {
    const uint64_t sample = uint64_t(p.first) + uint64_t(row) * uint64_t(p.stride);
    Numbers numbers{sample_key(key, sample), uint64_t(p.begin)};
    Affine inverse;
    if (p.blit) {
      inverse = blit(numbers, probability, int(p.height), int(p.width));
      inverse.store(p.blit + row * 9);
    }
    if (p.inverse) {
      bool is_any;
      inverse = inverse.after(geom(numbers, probability, float(p.height), float(p.width), is_any));
      inverse.store(p.inverse + row * 9);
      p.is_moved[row] = is_any;
    }
    if (p.color) {
      const int side = int(p.channels) + 1;
      p.is_colored[row] = color(numbers, probability * p.color_share, int(p.channels),
                                p.color + row * (side * side));
    }
  }
}

int draw(const AugmentMatricesParams& p, const Exec& exec) {
  if (p.rows == 0) return 0;
  launch(matrices_kernel, grid_for(p.rows), dim3(kThreads), 0,
         static_cast<cudaStream_t>(exec.stream), p);
  return last_error();
}

}  // namespace

extern const AugmentMatricesKernels augment_matrices;
const AugmentMatricesKernels augment_matrices = {draw};

}  // namespace fastgan::cuda
