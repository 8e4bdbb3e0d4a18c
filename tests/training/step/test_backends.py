# SPDX-License-Identifier: Apache-2.0
"""The switches of PyTorch that a run on CUDA sets; they can be set and read without a GPU."""

import contextlib
import os

import pytest
import torch

from fastgan.training.config.recipes import load_recipe
from fastgan.training.step.backends import backend_settings, backends_note, current_settings

CASES = [
    ({}, ("on", "on", "on", "off")),
    ({"tf32": False}, ("off", "off", "on", "off")),
    ({"cudnn_benchmark": False}, ("on", "on", "off", "off")),
    ({"deterministic": True}, ("on", "on", "off", "on")),
]


def config(**changes):
    return load_recipe("mlp")(resolution=(8, 8), **changes)


def switches():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        current_settings(), cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32,
        cudnn.allow_tf32, matmul.fp32_precision, cudnn.conv.fp32_precision,
        torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        torch.get_float32_matmul_precision(),
    )  # fmt: skip


@pytest.fixture(
    params=[(False, False), (True, True), (False, True)],
    ids=["found off", "found on", "TF32 in convolutions alone"],
)
def found(request):
    """The switches as a program before us left them: (matrix products, all others)."""
    of_products, others = request.param
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32, cudnn.allow_tf32
    cudnn.benchmark = cudnn.deterministic = cudnn.allow_tf32 = others
    matmul.allow_tf32 = of_products
    yield
    cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize(("changes", "expected"), CASES)
def test_a_run_sets_every_switch_and_gives_back_what_it_found(changes, expected):
    before = switches()
    with contextlib.suppress(KeyError), backend_settings(config(**changes), "cuda:0"):
        assert tuple(current_settings().values()) == expected
        _, benchmark, deterministic, *_ = inside = switches()
        assert (benchmark, deterministic) == (expected[2] == "on", expected[3] == "on")
        assert (inside[8] == ":4096:8") == (expected[3] == "on")
        raise KeyError("an error in the run")
    assert switches() == before


def test_a_switch_set_for_the_whole_program_does_not_reach_a_run_without_tf32():
    torch.backends.fp32_precision = "tf32"
    try:
        with backend_settings(config(tf32=False), "cuda"):
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    finally:
        torch.backends.fp32_precision = "none"


def test_a_run_on_a_cpu_changes_nothing():
    before = switches()
    with backend_settings(config(deterministic=True), "cpu"):
        assert switches() == before


def test_the_note_says_what_is_set():
    note = backends_note(config(tf32=False, deterministic=True), "cuda")
    assert note == "TF32 off, cuDNN benchmark off, deterministic on"
    assert backends_note(config(), "cpu").endswith("have no effect on a CPU")


def test_deterministic_with_augmentation_on_cuda_is_refused():
    settings = {"deterministic": True, "augment": {"mode": "ada"}}
    faces = load_recipe("dcgan")
    faces(resolution=(32, 32), device="cpu", **settings)
    with pytest.raises(ValueError, match=r"deterministic=True.*augment\.mode='ada'.*--aug noaug"):
        faces(resolution=(32, 32), device="cuda", **settings)
