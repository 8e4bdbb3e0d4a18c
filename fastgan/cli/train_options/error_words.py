# SPDX-License-Identifier: Apache-2.0
"""Errors of the training code, which names fields of `TrainConfig`, in the words of the options."""

import re

__all__ = ["in_options"]

_OPTIONS = {
    "data.path": "--data",
    "data.resolution": "--resolution",
    "data.use_labels": "--cond",
    "data.max_images": "--subset",
    "data.class_balance": "--class-balance",
    "data.mirror": "--mirror",
    "data.on_device": "--data-on-gpu",
    "augment.mode": "--aug",
    "augment.p": "--p",
    "augment.target": "--target",
    "total_kimg": "--kimg",
    "tick_kimg": "--tick",
    "batch_gpu": "--batch-gpu",
    "n_critic": "--n-critic",
    "r1_gamma": "--r1",
    "r2_gamma": "--r2",
    "gp_weight": "--gp",
    "pl_weight": "--pl",
    "d_weight_clip": "--weight-clip",
    "style_mixing_prob": "--style-mixing",
    "d_frozen_layers": "--freezed",
    "exchange_buckets": "--exchange-buckets",
    "exchange_dtype": "--exchange-dtype",
}
# A name alone, with its value, or quoted; not a part of a path or of a longer name.
_FIELD = re.compile(
    r"(?<![\w./\\-])(" + "|".join(map(re.escape, _OPTIONS)) + r")(?![\w/\\-]|\.\w)"
    r"(?:=(?:'([\w-]+)'|([\w.-]*\w)))?"
)


def in_options(message: str) -> str:
    """The message with `--aug fixed` in the place of augment.mode='fixed', and the like."""

    def option(match: re.Match[str]) -> str:
        value = match[2] or match[3]
        if value in ("True", "False"):
            value = value.lower()
        return _OPTIONS[match[1]] + (f" {value}" if value else "")

    return _FIELD.sub(option, message)
