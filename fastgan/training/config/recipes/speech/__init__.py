"""Recipes for speech: `recipe(*, gpus=1, **overrides)`."""
