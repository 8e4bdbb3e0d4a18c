# SPDX-License-Identifier: Apache-2.0
"""Recipes for video: `recipe(*, size, frames, gpus=1, **overrides)`."""
