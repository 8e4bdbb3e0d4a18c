"""Recipes for upscaling: `recipe(*, height, width, gpus=1, **overrides)`."""
