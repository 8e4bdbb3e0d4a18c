# SPDX-License-Identifier: Apache-2.0
"""Recipes for spoken digits: `recipe(*, c_dim, gpus=1, **overrides)`."""
