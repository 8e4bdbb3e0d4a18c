"""Recipes for translation: `recipe(*, height, width, gpus=1, **overrides)`."""
