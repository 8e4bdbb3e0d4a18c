"""Recipes for video: `recipe(*, size, frames, gpus=1, **overrides)`."""
