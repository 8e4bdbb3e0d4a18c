"""Recipes for words: `recipe(*, alphabet, length, gpus=1, **overrides)`."""
