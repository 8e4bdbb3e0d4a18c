# SPDX-License-Identifier: Apache-2.0
"""Recipes for molecules: `recipe(*, elements, most_atoms, gpus=1, **overrides)`."""
