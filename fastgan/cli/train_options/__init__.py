# SPDX-License-Identifier: Apache-2.0
"""The options of `fastgan train`: what they are, and what each changes in a TrainConfig.

names         names that the other files share, found without importing torch
declared      the options themselves, as click declares them
augmentation  what --aug and those that go with it make of the augmentation
losses        the loss, penalties, optimisers and average: values, defaults, contradictions
fields        what each option changes, whether it has an effect, and its default by --cfg
refusals      options that have no effect, or do not fit given weights
"""
