"""Step cases, one file per comparison: each holds `cases() -> Sequence[StepCase]`.

A comparison is a file of this package that exists; `fastgan bench step NAME` finds it by name.
"""
