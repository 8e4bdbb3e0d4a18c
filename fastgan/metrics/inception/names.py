# SPDX-License-Identifier: Apache-2.0
"""Names of the metrics on Inception features."""

__all__ = ["KINDS", "NAMES"]

KINDS = {
    "fid": "fd",
    "kid_inception": "kid",
    "inception_score": "inception_score",
    "precision_inception": "precision",
    "recall_inception": "recall",
    "density_inception": "density",
    "coverage_inception": "coverage",
}
NAMES = tuple(KINDS)
