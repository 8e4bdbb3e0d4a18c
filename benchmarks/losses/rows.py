# SPDX-License-Identifier: Apache-2.0
"""The rows of the comparison: what each changes in the recipe mlp.

Networks, batch, latents and moving average are the recipe's (`fastgan train --cfg mlp`) in every
row, and so are Adam's 1e-3 and (0, 0.99) unless the row says otherwise.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fastgan.models.mlp import Discriminator
from fastgan.training import OptimizerConfig

__all__ = ["ROWS", "DiscriminatorWithFeatures", "Row"]


class DiscriminatorWithFeatures(Discriminator):
    """D that also returns its last hidden layer, for feature matching."""

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        features = self.layers[:-1](x.flatten(1))
        return self.layers[-1](features), [features]


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        settings: fields of `fastgan.training.StepConfig`.
        model: fields of `fastgan.models.mlp.Config`.
        discriminator: class of D.
        flags: the same as options of `fastgan train --cfg mlp`; None where there is no option.
    """

    settings: dict[str, Any]
    flags: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    discriminator: type = Discriminator


def _both(optimizer: OptimizerConfig) -> dict[str, Any]:
    return {"g_optimizer": optimizer, "d_optimizer": optimizer}


_NO_PENALTY = {"r1_gamma": 0.0, "r2_gamma": 0.0}
_SLOW = _both(OptimizerConfig(lr=1e-4, betas=(0.9, 0.999)))  # torch's own β
_NAMES = {
    "minimax": "minimax",
    "non-saturating": "non_saturating",
    "least squares": "least_squares",
    "hinge": "hinge",
    "Wasserstein": "wasserstein",
    "relativistic pairing": "relativistic",
    "relativistic average": "relativistic_average",
}


def _objective(name: str, **settings: Any) -> Row:
    """An objective without penalties but those in `settings`."""
    settings = _NO_PENALTY | settings
    return Row(
        {"objective": name, **settings},
        f"--loss {name} --r1 {settings['r1_gamma']:g} --r2 {settings['r2_gamma']:g}",
    )


def _rows() -> dict[str, Row]:
    rows = {
        "minimax, Adam 1e-4": Row({"objective": "minimax", **_NO_PENALTY, **_SLOW}),
        "non-saturating, Adam 1e-4": Row({"objective": "non_saturating", **_NO_PENALTY, **_SLOW}),
        "non-saturating, Adam 1e-4, R1": Row(
            {"objective": "non_saturating", **_NO_PENALTY, "r1_gamma": 1.0, **_SLOW}
        ),
    }
    for title, name in _NAMES.items():
        rows[title] = _objective(name)
        rows[f"{title}, R1, R2"] = _objective(name, r1_gamma=1.0, r2_gamma=1.0)
    plain = {"objective": "non_saturating", **_NO_PENALTY}
    off = "--r1 0 --r2 0"
    rmsprop = OptimizerConfig(name="rmsprop", lr=5e-4)
    return rows | {
        "Wasserstein, clipped to ±0.01, RMSprop": Row(
            {"objective": "wasserstein", **_NO_PENALTY, "d_weight_clip": 0.01, "n_critic": 5}
            | _both(rmsprop),
            f"--loss wasserstein {off} --weight-clip 0.01 --n-critic 5 --optimizer rmsprop "
            "--glr 5e-4 --dlr 5e-4",
        ),
        "Wasserstein, WGAN-GP": Row(
            {"objective": "wasserstein", **_NO_PENALTY, "gp_weight": 10.0},
            f"--loss wasserstein {off} --gp 10",
        ),
        "non-saturating, R1": _objective("non_saturating", r1_gamma=1.0),
        "non-saturating, R2": _objective("non_saturating", r2_gamma=1.0),
        "non-saturating, DRAGAN": Row(plain | {"gp_weight": 10.0, "gp_at": "near_real"}),
        "non-saturating, zero-centred": Row(plain | {"gp_weight": 10.0, "gp_target": 0.0}),
        "non-saturating, LeCam": Row(plain | {"objective_options": {"lecam": 0.3}}),
        "non-saturating, bCR": Row(
            plain | {"objective_options": {"consistency": {"weight": 10.0, "shift": 1}}}
        ),
        "non-saturating, feature matching": Row(
            plain | {"objective_options": {"feature_matching": 1.0}},
            discriminator=DiscriminatorWithFeatures,
        ),
        "non-saturating, spectral norm": Row(plain, model={"d_norm": "spectral"}),
    }


ROWS: dict[str, Row] = _rows()
