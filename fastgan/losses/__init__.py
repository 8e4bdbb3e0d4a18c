"""Adversarial objectives, and the regularisers that go with them.

`load_objective` finds an objective of `fastgan.losses.adversarial` by its name. Penalties are in
`fastgan.losses.gradient_penalty` (R1, R2, WGAN-GP) and `fastgan.losses.path_length`.
"""

from fastgan.losses.adversarial import OBJECTIVES, Objective

__all__ = ["load_objective", "objectives"]


def objectives() -> list[str]:
    """Names that `load_objective` takes, sorted.

    Returns:
        The keys of `fastgan.losses.adversarial.OBJECTIVES`.
    """
    return sorted(OBJECTIVES)


def load_objective(name: str) -> Objective:
    """The objective called `name`.

        objective = load_objective("non_saturating")
        d_loss = objective.discriminator_loss(D(real), D(fake.detach()))

    Args:
        name: one of `objectives()`.

    Returns:
        An `Objective`: `discriminator_loss(real_logits, fake_logits)`,
        `generator_loss(fake_logits, real_logits=None)`, `needs_real_for_g` and `is_separable`.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    if name not in OBJECTIVES:
        raise ValueError(
            f"load_objective: name must be one of {', '.join(objectives())}, got {name!r}; a new "
            "objective is a new class in fastgan/losses/adversarial.py"
        )
    return OBJECTIVES[name]
