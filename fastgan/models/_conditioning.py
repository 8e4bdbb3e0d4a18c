"""How a discriminator takes the condition c: three kinds.

concatenation          c is part of the input, beside x (Mirza and Osindero 2014, arXiv 1411.1784)
projection             the logit has the inner product <embed(c), h(x)> added, of the last features
                       h (Miyato and Koyama 2018, arXiv 1802.05637)
auxiliary_classifier   D does not see c; it has a second output, the logits of the classes, and the
                       loss has the term `fastgan.losses.terms.auxiliary_classifier` (Odena et al.
                       2017, arXiv 1610.09585)
"""

from typing import Any

KINDS = ("concatenation", "projection", "auxiliary_classifier")


def loss_terms(config: Any) -> dict[str, float]:
    """What a Config with the fields c_dim and conditioning needs of the losses, name → weight."""
    has_classifier = config.c_dim > 0 and config.conditioning == "auxiliary_classifier"
    return {"auxiliary_classifier": 1.0} if has_classifier else {}
