# SPDX-License-Identifier: Apache-2.0
"""The dtypes that a configuration chooses for its networks, and the line that shows them."""

import pytest

from fastgan.training.config.precision import (
    has_own_half,
    in_one_dtype,
    precision_note,
    with_half_dtype,
)
from fastgan.training.config.recipes import load_recipe

SIZE = {"resolution": (256, 256)}
STYLEGAN2 = load_recipe("paper256")(**SIZE)
STYLEGAN3 = load_recipe("stylegan3-t")(**SIZE)
R3GAN = load_recipe("r3gan")(**SIZE, preset="FFHQ-256")
MLP = load_recipe("mlp")(resolution=(8, 8))


@pytest.mark.parametrize("config", [STYLEGAN2, STYLEGAN3, R3GAN], ids=lambda c: c.name)
def test_one_dtype_switches_off_the_designs_own(config):
    assert has_own_half(config)
    for precision in ("fp32", "bf16"):
        changed = in_one_dtype(config, precision)
        assert changed.precision == precision
        assert not has_own_half(changed)
        assert changed.with_changes(precision="fp32", model=vars(config.model)) == config
    assert not has_own_half(MLP)
    assert in_one_dtype(MLP, "bf16") == MLP.with_changes(precision="bf16")


def test_the_dtype_of_the_16_bit_maps_can_be_chosen_where_there_are_any():
    assert STYLEGAN2.model.half_dtype == STYLEGAN3.model.half_dtype == "bfloat16"
    assert with_half_dtype(STYLEGAN2, "float16").model.half_dtype == "float16"
    with pytest.raises(ValueError, match=r"with_half_dtype: config must have.*mlp"):
        with_half_dtype(MLP, "float16")


@pytest.mark.parametrize(
    ("config", "device", "note"),
    [
        (STYLEGAN2, "cuda", "bfloat16 in the 4 largest sizes of G and D, float32 elsewhere; "),
        (STYLEGAN2, "cpu", "float32 (bfloat16 in the 4 largest sizes of G and D on CUDA alone)"),
        (STYLEGAN3, "cuda", "bfloat16 in the 4 largest sampling rates of G and D, float32"),
        (R3GAN, "cuda", "bfloat16 in the stages of 32x32, 64x64, 128x128, 256x256 of G and D"),
        (in_one_dtype(R3GAN, "bf16"), "cpu", "bfloat16 in all layers of G and D; "),
        (in_one_dtype(STYLEGAN2, "fp32"), "cuda", "float32"),
        (MLP, "cuda", "float32"),
    ],
)
def test_the_note_says_where_which_dtype_is(config, device, note):
    assert precision_note(config, device).startswith(note)
    assert ("weights, optimizers and losses" in precision_note(config, device)) == (
        note not in ("float32",) and "alone" not in note
    )
