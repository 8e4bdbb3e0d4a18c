// SPDX-License-Identifier: Apache-2.0
// Sliders, seeds and layers: elements of the page, and what they say.

let made = 0;

// A slider with a label and its value in words. `neutral` is where it changes nothing.
export function slider(row, { label, min, max, step, value, neutral, say, changed }) {
  const id = `slider${made++}`;
  const name = Object.assign(document.createElement("label"), { htmlFor: id, textContent: label });
  const output = Object.assign(document.createElement("output"), { htmlFor: id });
  const input = document.createElement("input");
  Object.assign(input, { type: "range", id, min, max, step, value });
  const show = () => {
    const place = (x) => (100 * (x - min)) / (max - min || 1);
    const ends = [place(neutral), place(+input.value)].sort((x, y) => x - y);
    input.style.setProperty("--from", `${ends[0]}%`);
    input.style.setProperty("--to", `${ends[1]}%`);
    output.textContent = say(+input.value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  const set = (x) => {
    input.value = x;
    show();
  };
  input.addEventListener("input", () => {
    show();
    changed(+input.value);
  });
  input.addEventListener("dblclick", () => {
    set(neutral);
    changed(neutral);
  });
  row.replaceChildren(name, output, input);
  show();
  return { set, show };
}

// A seed: a number of any size, a slider over the first ones, and a class where there are classes.
export function seedControl(place, { title, classes, value, mostSeed, changed }) {
  const id = `seed-${place.dataset.seed}`;
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  const box = document.createElement("div");
  const line = Object.assign(document.createElement("div"), { className: "line" });
  const name = Object.assign(document.createElement("label"), { htmlFor: id, textContent: title });
  const number = Object.assign(document.createElement("input"), {
    type: "number", id, min: 0, max: mostSeed, step: 1,
  });
  const range = Object.assign(document.createElement("input"), {
    type: "range", min: 0, max: 999, step: 1,
  });
  range.setAttribute("aria-label", `${title} seed, 0 to 999`);
  line.append(name, number);
  box.append(line, range);
  let select = null;
  if (classes) {
    select = document.createElement("select");
    select.setAttribute("aria-label", `${title} picture: class`);
    select.append(new Option("class of the seed", ""));
    for (let i = 0; i < classes; i++) select.append(new Option(`class ${i}`, i));
    box.append(select);
  }
  place.replaceChildren(canvas, box);
  const state = { seed: value, label: null };
  const show = () => {
    number.value = state.seed;
    range.value = Math.min(999, state.seed);
    range.style.setProperty("--to", `${(100 * range.value) / 999}%`);
    if (select) select.value = state.label ?? "";
  };
  const set = (seed, label = state.label) => {
    Object.assign(state, { seed, label });
    show();
  };
  const take = (seed) => {
    set(seed);
    changed();
  };
  range.addEventListener("input", () => take(+range.value));
  number.addEventListener("input", () => {
    if (number.value !== "" && number.validity.valid) {
      state.seed = +number.value;
      range.value = Math.min(999, state.seed);
      range.style.setProperty("--to", `${(100 * range.value) / 999}%`);
      changed();
    }
  });
  number.addEventListener("change", show);
  select?.addEventListener("change", () => {
    state.label = select.value === "" ? null : +select.value;
    changed();
  });
  show();
  return { state, set, canvas };
}

// One box for each layer, coarsest first.
export function layerBoxes(place, count, changed) {
  const boxes = Array.from({ length: count }, (_, i) => {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    box.setAttribute("aria-label", `layer ${i}`);
    box.addEventListener("change", () => changed());
    label.append(box, String(i));
    place.append(label);
    return box;
  });
  return {
    chosen: () => new Set(boxes.flatMap((box, i) => (box.checked ? [i] : []))),
    choose: (isChosen) => boxes.forEach((box, i) => (box.checked = isChosen(i))),
  };
}
