// SPDX-License-Identifier: Apache-2.0
// The command that draws the same picture, where one does.

function quoted(text) {
  return /^[\w./:@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

// Set {0, 1, 2, 5} as 0-2,5.
export function ranges(numbers) {
  const parts = [];
  for (const x of [...numbers].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && last[1] === x - 1) last[1] = x;
    else parts.push([x, x]);
  }
  return parts.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(",");
}

export function commandOf(network, { a, b, blend, psi, mixed, strengths }) {
  const words = network.options.map(quoted);
  const isMixed = mixed.size > 0;
  const isPlain = strengths.every((x) => x === 0) && (blend === 0 || (blend === 1 && !isMixed));
  const hasOneClass = !isMixed || a.label === b.label;
  if (!isPlain || !hasOneClass) return "No single command draws this picture.";
  const shown = blend === 1 ? b : a;
  if (isMixed) words.push("--rows", a.seed, "--cols", b.seed, "--styles", ranges(mixed));
  else words.push("--seeds", shown.seed);
  if (psi !== 1) words.push("--trunc", psi);
  if (shown.label !== null) words.push("--class", shown.label);
  return ["fastgan", isMixed ? "mix" : "generate", ...words].join(" ");
}
