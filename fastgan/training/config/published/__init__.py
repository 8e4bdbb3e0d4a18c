# SPDX-License-Identifier: Apache-2.0
"""Published configurations, every setting of them; a recipe of its own makes each of them usable.

stylegan2  StyleGAN2-ADA's auto, stylegan2, paper256, paper512, paper1024 and cifar
stylegan3  StyleGAN3-T and -R
r3gan      R3GAN's five data sets
split      how many images a process computes at once
"""
