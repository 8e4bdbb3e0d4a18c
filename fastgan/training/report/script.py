# SPDX-License-Identifier: Apache-2.0
"""The script of report.html: the slider over snapshots. It asks for nothing from elsewhere."""

SCRIPT = """
(() => {
  const bar = document.querySelector(".time");
  const groups = [...document.querySelectorAll(".moments")].map((place) => {
    const templates = [...place.querySelectorAll(":scope > template")];
    const kimg = [...templates.map((t) => +t.dataset.kimg), +place.dataset.kimg];
    const newest = [...place.children].filter((e) => e.tagName !== "TEMPLATE");
    const made = new Map([[kimg.length - 1, newest]]);
    const nodes = (i) => {
      if (i < 0 || i >= kimg.length) return [];
      if (!made.has(i)) made.set(i, [...document.importNode(templates[i].content, true).children]);
      return made.get(i);
    };
    const show = (now) => {
      const i = Math.max(0, kimg.findLastIndex((k) => k <= now));
      place.style.minHeight = place.offsetHeight + "px";  // the page below stays where it is
      place.replaceChildren(...nodes(i));
      nodes(i - 1), nodes(i + 1);  // so that their pictures are loaded by then
    };
    return { kimg, show };
  });
  const stops = groups.length ? groups[0].kimg : [];
  const last = stops.length - 1;
  const input = bar.querySelector("input");
  const say = bar.querySelector("output");
  const button = bar.querySelector("button");
  let timer = 0;
  const isNewest = () => last < 1 || +input.value === last;
  const show = () => {
    const kimg = stops[input.value];
    say.textContent = kimg + " kimg" + (isNewest() ? ", the newest" : "");
    input.setAttribute("aria-valuetext", say.textContent);
    for (const group of groups) group.show(isNewest() ? Infinity : kimg);
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  };
  const step = () => {
    input.value = +input.value + 1;
    show();
    if (isNewest()) stop();
  };
  if (last > 0) {
    bar.hidden = false;
    input.max = input.value = last;
    say.textContent = stops[last] + " kimg, the newest";
    input.addEventListener("input", () => { stop(); show(); });
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (isNewest()) { input.value = 0; show(); }
      button.textContent = "Pause";
      timer = setInterval(step, 600);
    });
    addEventListener("resize", () => {
      for (const place of document.querySelectorAll(".moments")) place.style.minHeight = "";
    });
  }
  const seconds = +document.body.dataset.reload;
  const isPlaying = () => [...document.querySelectorAll("audio")].some((a) => !a.paused);
  if (seconds) {
    const { written, silent } = document.body.dataset;
    const quiet = Date.now() / 1000 - written;
    if (quiet > +silent) {
      document.querySelector(".state").textContent =
        `nothing written for ${Math.round(quiet / 60)} minutes: the run may have ended`;
    }
    setInterval(() => { if (isNewest() && !timer && !isPlaying()) location.reload(); },
      1000 * seconds);
  }
})();
"""
