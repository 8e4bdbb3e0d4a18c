"""The options of `fastgan train`: what they are, and what each changes in a TrainConfig.

names         names that the other files share, found without importing torch
declared      the options themselves, as click declares them
augmentation  what --aug and those that go with it make of the augmentation
losses        the loss, penalties, optimisers and average: values, defaults, contradictions
fields        what each option changes, whether it has an effect, and its default by --cfg
refusals      options that have no effect, or do not fit given weights
"""

from fastgan.cli.train_options.declared import (
    MAY_CHANGE_ON_RESUME,
    NOT_CONFIG,
    OPTIONS,
    train_options,
)
from fastgan.cli.train_options.fields import apply_options, default_of, has_effect
from fastgan.cli.train_options.losses import refuse_contradictions, remarks
from fastgan.cli.train_options.names import (
    AUGMENT_GROUPS,
    HAS_PRESETS,
    OF_CFG,
    PRESETS,
    cfg_of,
    loss_names,
    option_name,
)
from fastgan.cli.train_options.refusals import refuse_other_sizes, refuse_without_effect

__all__ = [
    "AUGMENT_GROUPS",
    "HAS_PRESETS",
    "MAY_CHANGE_ON_RESUME",
    "NOT_CONFIG",
    "OF_CFG",
    "OPTIONS",
    "PRESETS",
    "apply_options",
    "cfg_of",
    "default_of",
    "has_effect",
    "loss_names",
    "option_name",
    "refuse_contradictions",
    "refuse_other_sizes",
    "refuse_without_effect",
    "remarks",
    "train_options",
]
