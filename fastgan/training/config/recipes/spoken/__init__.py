"""Recipes for spoken digits: `recipe(*, c_dim, gpus=1, **overrides)`."""
