# SPDX-License-Identifier: Apache-2.0
"""Recipes for images: `recipe(*, resolution, img_channels=3, c_dim=0, gpus=1, **overrides)`.

`resolution` is (height, width), `c_dim` the length of a label. A file may name the `RESOLUTION` for
which `fastgan train --help --cfg NAME` shows the defaults; (64, 64) otherwise.
"""
