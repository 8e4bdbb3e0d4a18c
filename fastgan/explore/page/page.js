// SPDX-License-Identifier: Apache-2.0
// The page: its controls, and what they do. drawing.js decides when a picture is computed.
import { layerBoxes, seedControl, slider } from "/controls.js";
import { Drawing } from "/drawing.js";
import { toPixels } from "/latents.js";
import { Network } from "/network.js";
import { inWords, Progress } from "/progress.js";
import { commandOf, ranges } from "/command.js";

const $ = (id) => document.getElementById(id);
const MOST_SEED = 2 ** 32 - 1;
const SECONDS = 3; // of one way from picture to picture
const row = (name) => document.querySelector(`[data-slider="${name}"]`);

function failed(error) {
  document.body.dataset.state = "failed";
  $("message").setAttribute("role", "alert");
  $("message").textContent = `This does not work here: ${error.message ?? error}`;
  $("message").hidden = false;
}

function start(network) {
  const values = { blend: 0, psi: 1, strengths: [] };
  const sliders = [];
  let playing = 0;

  const state = () => ({
    ...values,
    strengths: [...values.strengths],
    a: { ...seeds.a.state },
    b: { ...seeds.b.state },
    mixed: network.styles ? layers.chosen() : new Set(),
  });

  function draw(canvas, { data, shape }) {
    [canvas.height, canvas.width] = shape.slice(1);
    canvas.getContext("2d").putImageData(toPixels(data, shape), 0, 0);
  }

  const progress = new Progress($("progress"));
  let smallMs = null; // until a first image is shown, where there is a smaller one
  function showSpeed() {
    const words = [`${inWords(network.ms)} per picture`];
    if (smallMs !== null) words.push(`${inWords(smallMs)} to a preview`);
    const { threads, slower } = network.late;
    const compared = slower === null ? "" : ` (faster than ${slower})`;
    words.push(`${threads} thread${threads === 1 ? "" : "s"}${compared}`);
    $("speed").textContent = words.join(", ");
  }
  const show = {
    small: (made) => {
      draw($("picture"), made);
      document.body.dataset.picture = "small";
    },
    picture: (made, now) => {
      draw($("picture"), made);
      document.body.dataset.picture = "whole";
      smallMs = made.smallMs ?? null;
      showSpeed();
      $("line").textContent = commandOf(network, now);
    },
    aside: (side, made) => draw(seeds[side].canvas, made),
    busy: () => {
      document.body.dataset.state = "busy";
      progress.begin(network.ms);
    },
    ready: () => {
      document.body.dataset.state = "ready";
      progress.end();
    },
    tuned: showSpeed,
    failed: (error) => {
      progress.end();
      failed(error);
    },
  };
  const drawing = new Drawing(network, { state, isPlaying: () => playing !== 0, show });
  const changed = () => drawing.changed();

  const seeds = {};
  for (const [side, title, value] of [["a", "First", 0], ["b", "Second", 1]]) {
    seeds[side] = seedControl(document.querySelector(`[data-seed="${side}"]`), {
      title, value, classes: network.c_dim, mostSeed: MOST_SEED, changed,
    });
  }
  const add = (place, options, take) => {
    const one = slider(place, {
      ...options,
      changed: (x) => {
        take(x);
        changed();
      },
    });
    sliders.push(() => {
      one.set(options.neutral);
      take(options.neutral);
    });
    return one;
  };
  const blend = add(
    row("blend"),
    { label: "From the first to the second", min: 0, max: 100, step: 1, value: 0, neutral: 0,
      say: (x) => `${Math.round(x)} %` },
    (x) => { values.blend = x / 100; },
  );

  let layers = null;
  if (network.styles) {
    const { mean, directions, layers: count } = network.styles;
    if (mean !== null) {
      $("truncation").hidden = false;
      add(
        row("psi"),
        { label: "ψ", min: 0, max: 1.5, step: 0.01, value: 1, neutral: 1, say: (x) => x.toFixed(2) },
        (x) => { values.psi = x; },
      );
    }
    $("mixing").hidden = false;
    const say = () => {
      const chosen = [...(layers?.chosen() ?? [])];
      return ranges(chosen) || "none";
    };
    let many = null;
    layers = layerBoxes($("layers"), count, () => {
      const chosen = layers.chosen();
      many.set([...chosen].every((layer, i) => layer === i) ? chosen.size : 0);
      changed();
    });
    many = add(
      row("count"),
      { label: "Layers of the second", min: 0, max: count, step: 1, value: 0, neutral: 0,
        say },
      (x) => {
        layers.choose((i) => i < x);
        many.show();
      },
    );
    $("directions").hidden = directions.length === 0;
    directions.forEach(({ name, method, reach }, i) => {
      values.strengths.push(0);
      const place = Object.assign(document.createElement("div"), { className: "row" });
      place.dataset.slider = name;
      $("strengths").append(place);
      const label = method === "sefa" ? name.replace(/^sefa(\d+)$/, "SeFa $1") : name.replaceAll("_", " ");
      add(
        place,
        { label, min: -reach, max: reach, step: 0.05, value: 0, neutral: 0,
          say: (x) => (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(2) },
        (x) => { values.strengths[i] = x; },
      );
    });
  }

  const draws = () => Math.floor(Math.random() * 1000);
  function others() {
    seeds.a.set(draws());
    seeds.b.set(draws());
    changed();
  }
  function reset() {
    stop();
    for (const back of sliders) back();
    changed();
  }
  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    $("play").setAttribute("aria-pressed", "false");
    $("play").querySelector("span").textContent = "Play";
  }
  function play() {
    if (playing) {
      stop();
      changed();
      return;
    }
    $("play").setAttribute("aria-pressed", "true");
    $("play").querySelector("span").textContent = "Stop";
    let before = performance.now();
    const step = (now) => {
      let next = values.blend + (now - before) / 1000 / SECONDS;
      before = now;
      if (next >= 1) {
        seeds.a.set(seeds.b.state.seed, seeds.b.state.label);
        seeds.b.set(draws());
        next = 0;
      }
      values.blend = next;
      blend.set(100 * next);
      changed();
      playing = requestAnimationFrame(step);
    };
    playing = requestAnimationFrame(step);
  }
  function save() {
    $("picture").toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = "fastgan.png";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }
  async function copy() {
    await navigator.clipboard.writeText($("line").textContent);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  }
  function smooth() {
    document.body.classList.toggle("smooth", $("smooth").checked);
  }

  const keys = { r: others, p: play, 0: reset, s: save };
  const buttons = { random: others, play, reset, save, copy };
  for (const [id, act] of Object.entries(buttons)) $(id).addEventListener("click", act);
  addEventListener("keydown", (event) => {
    const isTyped = event.target.matches("input[type=number], select");
    if (isTyped || event.ctrlKey || event.metaKey || event.altKey) return;
    keys[event.key.toLowerCase()]?.();
  });
  $("smooth").addEventListener("change", smooth);
  smooth();

  const [channels, height, width] = network.shape;
  const words = [`${width} × ${height} pixels`, channels === 1 ? "grey" : `${channels} channels`];
  if (network.styles) words.push(`${network.styles.layers} layers with styles`);
  if (network.c_dim) words.push(`${network.c_dim} classes`);
  $("name").textContent = network.name;
  $("command").hidden = network.options.length === 0;
  $("facts").textContent = words.join(", ");
  document.title = `${network.name} - fastgan explore`;
  $("message").hidden = true;
  changed();
}

const say = (words) => { $("message").textContent = words; };
Network.open(say).then(start).catch(failed);
