// SPDX-License-Identifier: Apache-2.0
// A worker that holds some parts of the network, and computes one request after another.

export class Runner {
  #count = 0;
  #waiting = new Map();
  #worker = new Worker("/worker.js", { type: "module" });

  // parts: names of ONNX files without .onnx.
  static async open(parts, threads) {
    const runner = new Runner(threads);
    try {
      await runner.#ask({ kind: "load", parts, threads });
    } catch (error) {
      runner.close();
      throw error;
    }
    return runner;
  }

  constructor(threads) {
    this.threads = threads;
    this.#worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.#worker.onerror = (event) => {
      this.#rejectAll(event.message || "the worker can't be started");
    };
  }

  #rejectAll(message) {
    for (const { reject } of this.#waiting.values()) reject(new Error(message));
    this.#waiting.clear();
  }

  #ask(request) {
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ...request });
    });
  }

  // inputs: { name: { data, shape without N } }. Gives { outputs: { name: data }, ms }.
  run(part, inputs) {
    const shaped = {};
    for (const [name, { data, shape }] of Object.entries(inputs)) {
      shaped[name] = { data, shape: [1, ...shape] };
    }
    return this.#ask({ kind: "run", part, inputs: shaped });
  }

  close() {
    this.#worker.terminate();
    this.#rejectAll("the worker has been closed");
  }
}
