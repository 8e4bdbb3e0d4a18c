# SPDX-License-Identifier: Apache-2.0
"""Metrics on Inception features: FID and others, where this machine has the weights.

names      NAMES, and which kind of metric each is
weights    find_weights: which file, and what to do where there is none
extractor  Inception: images → features and probabilities
score      inception_score
evaluator  InceptionEvaluator: all of them against a data set
"""

from fastgan.metrics.inception.evaluator import InceptionEvaluator
from fastgan.metrics.inception.extractor import Inception
from fastgan.metrics.inception.names import KINDS, NAMES
from fastgan.metrics.inception.score import inception_score
from fastgan.metrics.inception.weights import Weights, find_weights

__all__ = [
    "KINDS",
    "NAMES",
    "Inception",
    "InceptionEvaluator",
    "Weights",
    "find_weights",
    "inception_score",
]
