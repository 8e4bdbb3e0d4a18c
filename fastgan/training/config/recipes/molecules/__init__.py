"""Recipes for molecules: `recipe(*, elements, most_atoms, gpus=1, **overrides)`."""
