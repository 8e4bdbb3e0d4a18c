# SPDX-License-Identifier: Apache-2.0
"""Recipes for upscaling: `recipe(*, height, width, gpus=1, **overrides)`."""
