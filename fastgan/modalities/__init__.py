# SPDX-License-Identifier: Apache-2.0
"""Modalities: kinds of samples that a run may be of, such as images.

A modality is a folder of this package with three files, which `load_modality` finds by its name:

data       describe, open_data: what a data set tells a recipe, and the data set itself
samples    NOUN, SUFFIX, make_writer, write_one, write_all, section: how samples are shown
metric     NAMES, available, make_evaluator: metrics of generated samples

docs/new-modality.md says what each of them takes and returns.
"""

from fastgan.modalities.modality import DataFacts, Modality, load_modality, modalities

__all__ = ["DataFacts", "Modality", "load_modality", "modalities"]
