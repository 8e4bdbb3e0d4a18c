# SPDX-License-Identifier: Apache-2.0
"""Recipes for speech: `recipe(*, gpus=1, **overrides)`."""
