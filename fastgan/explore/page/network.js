// SPDX-License-Identifier: Apache-2.0
// The network as the page asks for it: latents of seeds from the server, the rest from workers.
import { lerp, oneHot, slerp, stylesOf } from "/latents.js";
import { mostThreads, TimedRunner } from "/threads.js";

const KEPT = 64; // points of which w is remembered

export class Network {
  // say: called with what is being done, in words.
  static async open(say) {
    const answer = await fetch("/network.json");
    if (!answer.ok) throw new Error(`network.json: ${await answer.text()}`);
    const network = new Network(await answer.json());
    const bytes = Object.values(network.parts).reduce((sum, size) => sum + size, 0);
    say(`Loading the network, ${Math.max(1, Math.round(bytes / 1e6))} MB …`);
    await Promise.all(network.runners.map((runner) => runner.open()));
    return network;
  }

  // Of a network in two parts, "trunk" makes a small image, and "rest" the whole one of what the
  // trunk gave. Each has a worker, so that small images are made while the rest computes.
  constructor(facts) {
    Object.assign(this, facts);
    this.isSplit = "rest" in this.parts;
    this.points = new Map();
    this.ms = null; // of the last picture
    const options = { most: mostThreads(this.threads), fromMs: this.threads_from_ms };
    const early = Object.keys(this.parts).filter((part) => part !== "rest");
    this.early = new TimedRunner({ parts: early, timed: early.at(-1), ...options });
    this.late = this.early;
    if (this.isSplit) this.late = new TimedRunner({ parts: ["rest"], timed: "rest", ...options });
    this.runners = [...new Set([this.late, this.early])];
  }

  #inputs(z, c) {
    const inputs = { z: { data: z, shape: [this.z_dim] } };
    if (this.c_dim) inputs.c = { data: c, shape: [this.c_dim] };
    return inputs;
  }

  // z, c and, of a network with styles, w of a seed; its class is the seed's where none is chosen.
  async point({ seed, label }) {
    const index = this.c_dim ? (label ?? seed % this.c_dim) : null;
    const key = `${seed}/${index}`;
    if (!this.points.has(key)) {
      const answer = await fetch(`/z?seed=${seed}`);
      if (!answer.ok) throw new Error(await answer.text());
      const z = new Float32Array(await answer.arrayBuffer());
      const c = this.c_dim ? oneHot(index, this.c_dim) : null;
      let w = null;
      if (this.styles) {
        const { outputs } = await this.early.run("mapping", this.#inputs(z, c));
        w = outputs.ws.slice(0, this.styles.width);
      }
      this.points.set(key, { z, c, w });
      if (this.points.size > KEPT) this.points.delete(this.points.keys().next().value);
    }
    return this.points.get(key);
  }

  // The inputs of the first part, or of the only one, of a state of the sliders.
  async #state({ a, b, ...sliders }) {
    const [first, second] = [await this.point(a), await this.point(b)];
    if (this.styles) {
      const ws = stylesOf(this.styles, first.w, second.w, sliders);
      return { ws: { data: ws, shape: [this.styles.layers, this.styles.width] } };
    }
    const z = slerp(first.z, second.z, sliders.blend);
    const c = this.c_dim ? lerp(first.c, second.c, sliders.blend) : null;
    return this.#inputs(z, c);
  }

  // Of a network in two parts: { inputs of the rest, data [C * h * w], shape [C, h, w], ms }.
  async small(state) {
    const { ws } = await this.#state(state);
    const { outputs, ms } = await this.early.run("trunk", { ws });
    const { x, image } = this.border;
    const inputs = {
      ws,
      x: { data: outputs.x, shape: x },
      image: { data: outputs.image, shape: image },
    };
    return { inputs, data: outputs.image, shape: image, ms };
  }

  // The whole picture of what `small` gave: { data [C * H * W], shape [C, H, W], ms }.
  async whole({ inputs, ms: before }) {
    const { outputs, ms } = await this.late.run("rest", inputs);
    this.ms = before + ms;
    return { data: outputs.images, shape: this.shape, ms: this.ms };
  }

  // The picture of a state of the sliders, as of `whole`.
  async picture(state) {
    if (this.isSplit) return this.whole(await this.small(state));
    const part = this.styles ? "synthesis" : "generator";
    const { outputs, ms } = await this.early.run(part, await this.#state(state));
    this.ms = ms;
    return { data: outputs.images, shape: this.shape, ms };
  }

  // What is shown beside a seed.
  aside(state) {
    return this.isSplit ? this.small(state) : this.picture(state);
  }
}
