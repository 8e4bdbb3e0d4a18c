# SPDX-License-Identifier: Apache-2.0
"""Recipes for words: `recipe(*, alphabet, length, gpus=1, **overrides)`."""
