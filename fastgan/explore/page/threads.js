// SPDX-License-Identifier: Apache-2.0
// How many threads compute a part of the network: one, or more where this browser is faster so.
import { Runner } from "/runner.js";

// Threads that may be tried: half the cores, because a core often counts twice, but at least 2.
export function mostThreads(limit) {
  const cores = navigator.hardwareConcurrency || 1;
  if (!self.crossOriginIsolated || cores < 2) return 1; // threads share memory
  return Math.min(limit, Math.max(2, cores >> 1));
}

export class TimedRunner {
  #fastest = Infinity; // ms
  #isDecided = false;
  #isTuning = false;
  #latest = null; // inputs
  #rival = null;
  #runner = null;

  // timed: the part whose time counts. most: threads. fromMs: shorter times are not worth a trial.
  constructor({ parts, timed, most, fromMs }) {
    Object.assign(this, { parts, timed, most, fromMs });
    this.slower = null; // the number of threads that was tried, and slower
  }

  async open() {
    this.#runner = await Runner.open(this.parts, 1);
  }

  get threads() {
    return this.#runner.threads;
  }

  async run(part, inputs) {
    const answer = await this.#runner.run(part, inputs);
    if (part === this.timed) {
      this.#fastest = Math.min(this.#fastest, answer.ms);
      this.#latest = inputs;
    }
    return answer;
  }

  // Time a second worker with more threads, and keep the faster one. To be called when nothing is
  // computed; isQuiet() is false when something has been since, and then the time says nothing.
  // Gives the ms of the faster one, or null where nothing was decided.
  async tune(isQuiet) {
    const isDone = this.#isDecided || this.most < 2;
    if (this.#isTuning || isDone || !(this.#fastest >= this.fromMs) || !this.#latest) return null;
    this.#isTuning = true;
    try {
      if (!this.#rival) {
        this.#rival = await Runner.open(this.parts, this.most);
        await this.#rival.run(this.timed, this.#latest); // the first one also gets its memory
      }
      if (!isQuiet()) return null;
      const { ms } = await this.#rival.run(this.timed, this.#latest);
      if (!isQuiet()) return null;
      return this.#decide(ms);
    } catch {
      this.#rival?.close(); // such as for want of memory: one thread has shown that it works
      this.#rival = null;
      this.#isDecided = true;
      return null;
    } finally {
      this.#isTuning = false;
    }
  }

  #decide(ms) {
    this.#isDecided = true;
    const isFaster = ms < this.#fastest;
    const loser = isFaster ? this.#runner : this.#rival;
    if (isFaster) this.#runner = this.#rival;
    this.#rival = null;
    this.slower = loser.threads;
    loser.close();
    return Math.min(ms, this.#fastest);
  }
}
