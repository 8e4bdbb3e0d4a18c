// SPDX-License-Identifier: Apache-2.0
// What is said about time: while a picture is computed, and when it is there.

const SAID_AFTER_MS = 150; // a shorter wait needs no words

// 2.0 ms, 40 ms, 2.1 s, 15 s
export function inWords(ms) {
  if (ms < 995) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
}

// Of a wait that is about to begin, with fewer digits: 0.2 s, 3 s.
function roughly(ms) {
  return ms < 950 ? `${Math.max(0.1, ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}

// Says in an element that a picture is being drawn, where that takes a while.
export class Progress {
  #timer = null;

  constructor(element) {
    this.element = element;
  }

  // expected: ms that the last picture took; null: there is none yet.
  begin(expected) {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      const time = expected === null ? "the first picture" : `about ${roughly(expected)}`;
      this.element.textContent = expected === null ? `Drawing ${time}` : `Drawing, ${time}`;
    }, SAID_AFTER_MS);
  }

  end() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.element.textContent = "";
  }
}
