# SPDX-License-Identifier: Apache-2.0
"""How a discriminator takes the condition c: four kinds.

concatenation          c is part of the input, beside x (Mirza and Osindero 2014, arXiv 1411.1784)
projection             the logit has the inner product <embed(c), h(x)> added, of the last features
                       h (Miyato and Koyama 2018, arXiv 1802.05637)
auxiliary_classifier   D does not see c; it has a second output, the logits of the classes, and the
                       loss has the term `fastgan.losses.terms.auxiliary_classifier` (Odena et al.
                       2017, arXiv 1610.09585)
projection_and_classifier
                       both of them; the classifier learns from real samples alone: the projection
                       tells D the class of generated ones, which look like none at first
"""

from typing import Any

KINDS = ("concatenation", "projection", "auxiliary_classifier", "projection_and_classifier")
HAS_PROJECTION = ("projection", "projection_and_classifier")
HAS_CLASSIFIER = ("auxiliary_classifier", "projection_and_classifier")


def loss_terms(config: Any) -> dict[str, dict[str, Any]]:
    """What a Config with the fields c_dim and conditioning needs of the losses: name → arguments of
    the term."""
    if config.c_dim == 0 or config.conditioning not in HAS_CLASSIFIER:
        return {}
    on_fakes = config.conditioning == "auxiliary_classifier"  # as published
    return {"auxiliary_classifier": {"weight": 1.0, "on_fakes": on_fakes}}
