# SPDX-License-Identifier: Apache-2.0
"""Recipes for translation: `recipe(*, height, width, gpus=1, **overrides)`."""
