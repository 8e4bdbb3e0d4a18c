"""Op cases, one file per op: each holds `cases() -> list[Case]`, and `gpu_cases()` where the sizes
that say something about a GPU are others. A file of this package that exists is measured."""
