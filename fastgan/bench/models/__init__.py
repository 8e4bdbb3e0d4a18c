"""Network cases, one file per architecture: each holds `cases() -> list[StepCase]`.

A file of this package that exists is measured.
"""
