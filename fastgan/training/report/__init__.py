# SPDX-License-Identifier: Apache-2.0
"""What a run writes for people: observers that make logs, pictures and a page.

log       RunLog: log.txt, stats.jsonl, logits.jsonl, metric-*.jsonl
samples   reals.png, fakes*.png and progress.gif, or what another modality writes
page      report.html
charts    line charts as SVG
logits    histograms of D's logits
spectra   power of real and generated images by spatial frequency
style     the page's style sheet
script    its slider over snapshots
logger    Logger: base of those that pass a run on to other programs
tensorboard, weights_and_biases: these programs
"""
