# SPDX-License-Identifier: Apache-2.0
"""The style sheet of report.html: light and dark, wide and narrow."""

CSS = """
:root { color-scheme: light dark; --page: #f6f6f4; --card: #ffffff; --ink: #1b1c1e; --soft: #63666b;
  --line: #e3e3df; --axis: #bfc0bc; --good: #1d8a5f; --k0: #2f6fde; --k1: #d9622b; --k2: #12917b;
  --k3: #8457d3; --k4: #b98800; --k5: #c23a6b; }
@media (prefers-color-scheme: dark) { :root { --page: #141517; --card: #1d1f22; --ink: #ececea;
  --soft: #9a9da3; --line: #2d3034; --axis: #4a4e54; --good: #4cc296; --k0: #6ea0ff; --k1: #f08a55;
  --k2: #3fc2a9; --k3: #ad8bf0; --k4: #dcae3c; --k5: #ee7299; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 2560px; margin: 0 auto; padding: 28px clamp(14px, 2vw, 40px) 60px; }
h1 { font-size: 25px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 12px; letter-spacing: -0.005em; }
h3 { font-size: 14px; margin: 0; font-weight: 600; }
p { margin: 0; } .soft { color: var(--soft); }
.state { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: 13px;
  border: 1px solid var(--line); background: var(--card); margin-right: 8px; }
.state.running { color: var(--good); border-color: currentColor; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px;
  margin: 20px 0 0; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 10px 14px; } .tile span { display: block; color: var(--soft); font-size: 13px; }
.tile b { font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile small { color: var(--soft); font-size: 13px; }
.time { position: sticky; top: 0; z-index: 1; display: flex; align-items: center; gap: 12px;
  margin: 20px 0 -16px; padding: 8px 14px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.time[hidden] { display: none; } .time input { flex: 1; min-width: 0; accent-color: var(--k0); }
.time output { min-width: 10.5em; text-align: right; font-variant-numeric: tabular-nums; }
.time button { font: inherit; color: inherit; background: var(--page); min-width: 4.6em;
  border: 1px solid var(--axis); border-radius: 7px; padding: 2px 10px; cursor: pointer; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  gap: 16px; align-items: start; }
.card { padding: 12px; margin: 0; }
.card img { display: block; width: 100%; height: auto; border-radius: 5px; }
.pair .card img { max-height: 92vh; object-fit: contain; }
.card figcaption { display: flex; justify-content: space-between; gap: 12px; margin: 0 2px 10px; }
.words { columns: 8em; margin: 0 2px; padding: 0; list-style: none; font-size: 14px; }
.card video { display: block; width: 100%; border-radius: 5px; }
.card audio { display: block; width: 100%; margin: 4px 0; }
.charts { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
.chart { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 16px 8px; }
.chart figcaption { display: flex; flex-wrap: wrap; justify-content: space-between;
  gap: 2px 16px; margin-bottom: 8px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 13px; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: 10px; height: 3px; border-radius: 2px;
  margin: 0 6px 3px 0; background: currentColor; }
.key b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
.key.k0::before { background: var(--k0); } .key.k1::before { background: var(--k1); }
.key.k2::before { background: var(--k2); } .key.k3::before { background: var(--k3); }
.key.k4::before { background: var(--k4); } .key.k5::before { background: var(--k5); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg text.y { text-anchor: end; dominant-baseline: middle; } svg text.x { text-anchor: middle; }
svg line { stroke: var(--line); stroke-width: 1; } svg line.zero { stroke: var(--axis); }
svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
svg circle { stroke: var(--card); stroke-width: 1.5; }
svg .k0 { stroke: var(--k0); } svg .k1 { stroke: var(--k1); } svg .k2 { stroke: var(--k2); }
svg .k3 { stroke: var(--k3); } svg .k4 { stroke: var(--k4); } svg .k5 { stroke: var(--k5); }
svg circle.k0 { fill: var(--k0); } svg circle.k1 { fill: var(--k1); }
svg circle.k2 { fill: var(--k2); } svg circle.k3 { fill: var(--k3); }
svg circle.k4 { fill: var(--k4); } svg circle.k5 { fill: var(--k5); }
svg path.k0 { fill: var(--k0); } svg path.k1 { fill: var(--k1); } svg path.k2 { fill: var(--k2); }
svg path.k3 { fill: var(--k3); } svg path.k4 { fill: var(--k4); } svg path.k5 { fill: var(--k5); }
svg path { fill-opacity: 0.25; } svg .band { stroke-opacity: 0.35; }
.moments > .chart { min-height: 100%; }
.note { color: var(--soft); font-size: 13px; padding: 6px 0; overflow-wrap: anywhere; }
svg .tip { fill: transparent; } svg .tip:hover { fill: var(--ink); fill-opacity: 0.06; }
.empty { color: var(--soft); padding: 44px 0 52px; text-align: center; }
.timeline { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(150px, 30%), 1fr)); }
.timeline a { color: inherit; text-decoration: none; font-size: 13px; }
.timeline img { display: block; width: 100%; height: auto; border-radius: 5px;
  border: 1px solid var(--line); margin-bottom: 3px; }
.tables { display: grid; gap: 16px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(360px, 100%), 1fr)); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
caption { text-align: left; font-weight: 600; padding: 0 0 6px; font-size: 14px; }
th { text-align: left; font-weight: 400; color: var(--soft); padding-right: 14px;
  white-space: nowrap; } td { overflow-wrap: anywhere; }
th, td { border-top: 1px solid var(--line); padding-top: 4px; padding-bottom: 4px;
  vertical-align: top; }
.alarms tr.stands th { color: #c2410c; font-weight: 600; } .alarms tr.over { opacity: .65; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 36px; color: var(--soft); font-size: 13px; }
@media (max-width: 560px) { main { padding: 18px 14px 40px; } .time { flex-wrap: wrap; }
  .time input { flex-basis: 100%; order: 1; } .time output { flex: 1; } }
"""
