// SPDX-License-Identifier: Apache-2.0
// Parts of the network, off the page's own thread: one request is computed after another.
import * as ort from "/ort.wasm.bundle.min.mjs";

ort.env.wasm.wasmPaths = { wasm: "/ort-wasm-simd-threaded.wasm" };
ort.env.logLevel = "error";
const sessions = {};
let last = Promise.resolve();

async function load({ parts, threads }) {
  ort.env.wasm.numThreads = threads;
  for (const part of parts) {
    sessions[part] = await ort.InferenceSession.create(`/${part}.onnx`, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
    });
  }
  return {};
}

async function run({ part, inputs }) {
  const feeds = {};
  for (const [name, { data, shape }] of Object.entries(inputs)) {
    feeds[name] = new ort.Tensor("float32", data, shape);
  }
  const start = performance.now();
  const made = await sessions[part].run(feeds);
  const ms = performance.now() - start;
  const outputs = {};
  for (const name of sessions[part].outputNames) outputs[name] = made[name].data;
  return { outputs, ms };
}

self.onmessage = ({ data: request }) => {
  last = last.then(async () => {
    try {
      const answer = await (request.kind === "load" ? load : run)(request);
      const moved = Object.values(answer.outputs ?? {}).map((data) => data.buffer);
      self.postMessage({ id: request.id, ...answer }, moved);
    } catch (error) {
      self.postMessage({ id: request.id, error: String(error?.message ?? error) });
    }
  });
};
