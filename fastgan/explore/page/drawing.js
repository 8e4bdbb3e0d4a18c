// SPDX-License-Identifier: Apache-2.0
// When something is computed. The newest state of the sliders comes first; pictures beside the
// seeds, and trials of more threads, come when nothing has changed for a while.

const QUICK_MS = 50; // pictures that take less are drawn beside the seeds at once
const QUIET_MS = 150; // without a change, until the whole of a slow picture is begun
const IDLE_MS = 600; // without a change, until slow pictures are drawn beside the seeds

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Drawing {
  #aside = { a: "", b: "" }; // what is shown beside the seeds
  #changes = 0;
  #isDrawing = false;
  #isFinishing = false;
  #isStale = false;
  #next = null; // what the rest of the network computes next
  #smallMs = 0;

  // state() reads the sliders; isPlaying() says whether they move by themselves. show: functions
  // picture(made, state), small(made), aside(side, made), busy(), ready(), tuned(), failed(error).
  constructor(network, { state, isPlaying, show }) {
    Object.assign(this, { network, state, isPlaying, show });
  }

  changed() {
    this.#changes++;
    this.#isStale = true;
    this.show.busy();
    if (!this.#isDrawing) this.#guard(this.#draw());
  }

  #guard(promise) {
    promise.catch((error) => this.show.failed(error));
  }

  get #isSlow() {
    const { isSplit, ms, preview_from_ms: limit } = this.network;
    return isSplit && (ms === null || ms >= limit);
  }

  async #draw() {
    this.#isDrawing = true;
    let small = null;
    let now = null;
    try {
      while (this.#isStale) {
        this.#isStale = false;
        now = this.state();
        small = this.#isSlow ? await this.network.small(now) : null;
        if (small) {
          this.#smallMs = small.ms;
          this.show.small(small);
        } else {
          await this.#drawWhole(now);
        }
      }
    } finally {
      this.#isDrawing = false;
    }
    if (small) await this.#finish({ now, small, change: this.#changes });
    else this.#ready(now);
  }

  async #drawWhole(now) {
    this.#shown(now, await this.network.picture(now));
    if (this.network.ms >= QUICK_MS) return;
    await this.#drawAside(now, () => this.isPlaying() || !this.#isStale);
  }

  // The whole picture of a state of which the small one is shown. Where a newer state comes
  // meanwhile, its small picture is not painted over by this one.
  async #finish(job) {
    await pause(QUIET_MS);
    if (job.change !== this.#changes) return; // the newer state comes here by itself
    this.#next = job;
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    try {
      while (this.#next) {
        const { now, small, change } = this.#next;
        this.#next = null;
        if (change !== this.#changes) continue;
        const made = await this.network.whole(small);
        if (change !== this.#changes) continue;
        this.#shown(now, { ...made, smallMs: small.ms });
        this.#ready(now);
      }
    } finally {
      this.#isFinishing = false;
    }
  }

  #shown(now, made) {
    this.show.picture(made, now);
    const isPlain = now.mixed.size === 0 && now.strengths.every((x) => x === 0);
    if (!isPlain || (now.blend !== 0 && now.blend !== 1)) return;
    this.#showAside(now.blend === 0 ? "a" : "b", now, made); // they are the same
  }

  #ready(now) {
    this.show.ready();
    this.#guard(this.#idle(now));
  }

  async #idle(now) {
    const change = this.#changes;
    const isQuiet = () => change === this.#changes;
    await pause(this.network.ms < QUICK_MS ? 0 : IDLE_MS);
    await this.#drawAside(now, isQuiet);
    for (const runner of this.network.runners) {
      if (!isQuiet()) return;
      const ms = await runner.tune(isQuiet);
      if (ms === null) continue;
      if (runner === this.network.late) {
        this.network.ms = ms + (this.network.isSplit ? this.#smallMs : 0);
      }
      this.show.tuned();
    }
  }

  #showAside(side, now, made) {
    this.#aside[side] = JSON.stringify([now[side], now.psi]);
    this.show.aside(side, made);
  }

  // The pictures of both seeds alone, each only while isNewest().
  async #drawAside(now, isNewest) {
    const plain = { ...now, blend: 0, mixed: new Set(), strengths: now.strengths.map(() => 0) };
    for (const side of ["a", "b"]) {
      if (!isNewest()) return;
      if (this.#aside[side] === JSON.stringify([now[side], now.psi])) continue;
      const one = { ...plain, a: now[side], b: now[side] };
      this.#showAside(side, now, await this.network.aside(one));
    }
  }
}
