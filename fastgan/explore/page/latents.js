// SPDX-License-Identifier: Apache-2.0
// What happens between the latents of two seeds and the picture. Arrays are Float32Array.

export function lerp(a, b, t) {
  return a.map((x, i) => x + t * (b[i] - x));
}

// Along a great circle, as `fastgan video` goes from z to z: angles in proportion, lengths linear.
export function slerp(a, b, t) {
  if (t <= 0 || t >= 1) return t <= 0 ? a : b;
  const length = (x) => Math.max(Math.hypot(...x), 1e-12);
  const [la, lb] = [length(a), length(b)];
  const cosine = a.reduce((sum, x, i) => sum + (x / la) * (b[i] / lb), 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  const isStraight = sine < 1e-4;
  const u = isStraight ? 1 - t : Math.sin((1 - t) * angle) / sine;
  const v = isStraight ? t : Math.sin(t * angle) / sine;
  const size = la + t * (lb - la);
  return a.map((x, i) => size * ((u * x) / la + (v * b[i]) / lb));
}

// The styles of all layers [layers * width]: the way from w of the first picture to that of the
// second, the second's in the mixed layers, truncated, and moved along directions.
export function stylesOf(styles, first, second, { blend, psi, mixed, strengths }) {
  const { layers, width, mean, directions } = styles;
  const between = lerp(first, second, blend);
  const ws = new Float32Array(layers * width);
  for (let layer = 0; layer < layers; layer++) {
    const w = mixed.has(layer) ? second : between;
    for (let i = 0; i < width; i++) {
      ws[layer * width + i] = mean === null || psi === 1 ? w[i] : mean[i] + psi * (w[i] - mean[i]);
    }
  }
  directions.forEach(({ step, layers: moved }, k) => {
    if (strengths[k] === 0) return;
    for (const layer of moved) {
      for (let i = 0; i < width; i++) ws[layer * width + i] += strengths[k] * step[i];
    }
  });
  return ws;
}

export function oneHot(index, size) {
  const c = new Float32Array(size);
  c[index] = 1;
  return c;
}

// As `fastgan generate` writes pictures: one channel is grey, of more than three the first three.
export function toPixels(data, [channels, height, width]) {
  const pixels = new Uint8ClampedArray(4 * height * width);
  const size = height * width;
  for (let k = 0; k < 3; k++) {
    const from = channels === 1 ? 0 : k;
    for (let i = 0; i < size; i++) {
      const x = from < channels ? data[from * size + i] : -1;
      const shown = Number.isFinite(x) ? x : 0;
      pixels[4 * i + k] = Math.floor(Math.min(255, Math.max(0, shown * 127.5 + 128)));
    }
  }
  for (let i = 0; i < size; i++) pixels[4 * i + 3] = 255;
  return new ImageData(pixels, width, height);
}
