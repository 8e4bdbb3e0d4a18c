// SPDX-License-Identifier: Apache-2.0
// The network as the page asks for it: latents of seeds from the server, the rest from the worker.
import { lerp, oneHot, slerp, stylesOf } from "/latents.js";

const KEPT = 64; // points of which w is remembered

export class Network {
  static async open() {
    const answer = await fetch("/network.json");
    if (!answer.ok) throw new Error(`network.json: ${await answer.text()}`);
    const network = new Network(await answer.json());
    const parts = network.styles ? ["mapping", "synthesis"] : ["generator"];
    await network.#ask({ kind: "load", parts, threads: network.threads });
    return network;
  }

  constructor(facts) {
    Object.assign(this, facts);
    const cores = navigator.hardwareConcurrency || 1;
    this.threads = self.crossOriginIsolated ? Math.max(1, Math.min(this.threads, cores >> 1)) : 1;
    this.points = new Map();
    this.waiting = new Map();
    this.worker = new Worker("/worker.js", { type: "module" });
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) {
        reject(new Error(event.message || "the worker can't be started"));
      }
      this.waiting.clear();
    };
  }

  #count = 0;

  #ask(request) {
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...request });
    });
  }

  #run(part, inputs) {
    const shaped = {};
    for (const [name, { data, shape }] of Object.entries(inputs)) {
      shaped[name] = { data, shape: [1, ...shape] };
    }
    return this.#ask({ kind: "run", part, inputs: shaped });
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
        const { data } = await this.#run("mapping", this.#inputs(z, c));
        w = data.slice(0, this.styles.width);
      }
      this.points.set(key, { z, c, w });
      if (this.points.size > KEPT) this.points.delete(this.points.keys().next().value);
    }
    return this.points.get(key);
  }

  // The picture of a state of the sliders: { data [C * H * W], ms }.
  async picture({ a, b, ...sliders }) {
    const [first, second] = [await this.point(a), await this.point(b)];
    if (this.styles) {
      const ws = stylesOf(this.styles, first.w, second.w, sliders);
      const shape = [this.styles.layers, this.styles.width];
      return this.#run("synthesis", { ws: { data: ws, shape } });
    }
    const z = slerp(first.z, second.z, sliders.blend);
    const c = this.c_dim ? lerp(first.c, second.c, sliders.blend) : null;
    return this.#run("generator", this.#inputs(z, c));
  }
}
