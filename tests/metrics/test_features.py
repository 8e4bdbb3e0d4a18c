# SPDX-License-Identifier: Apache-2.0
import importlib.util

import pytest
import torch

from fastgan.metrics import Evaluator, available, compute
from fastgan.metrics import features as module
from fastgan.metrics.features import EfficientNetLite0, to_uint8


@pytest.fixture(scope="module")
def lite0():
    if reason := available():
        pytest.skip(reason)
    return EfficientNetLite0()


def faces(tmp_path_factory, count):
    from fastgan.data import ImageDataset
    from fastgan.data.avatars import render_dataset

    path = tmp_path_factory.mktemp("faces") / "faces.zip"
    return ImageDataset(render_dataset(path, 32, count=count))


def test_real_against_real_is_near_zero_and_against_noise_is_not(lite0, tmp_path_factory):
    dataset = faces(tmp_path_factory, 96)
    pixels = torch.stack([torch.from_numpy(dataset[i][0]) for i in range(96)])
    reals = [(pixels[i], None) for i in range(0, 96, 2)]
    evaluator = Evaluator([(x.numpy(), c) for x, c in reals], batch=24, extractor=lite0)
    others = iter(pixels[1::2].split(24))
    names = ["kid_lite0", "precision_lite0", "coverage_lite0"]
    same = evaluator.evaluate(names, lambda n: next(others), 48)
    g = torch.Generator().manual_seed(0)
    noise = evaluator.evaluate(names, lambda n: torch.rand(n, 3, 32, 32, generator=g) * 2 - 1, 48)
    assert abs(same["kid_lite0"].value) < 0.05
    assert noise["kid_lite0"].value > 0.5
    assert same["precision_lite0"].value > 0.7
    assert noise["precision_lite0"].value < 0.3  # outlying reals have wide balls at this N
    assert same["coverage_lite0"].value > 0.7
    assert noise["coverage_lite0"].value < 0.3
    assert same["kid_lite0"].extractor == "efficientnet-lite0"
    assert same["kid_lite0"].resize == "128x128 bilinear antialias"


def test_shape_dtype_and_eval_mode(lite0):
    lite0.train()
    x = torch.randint(0, 256, (3, 3, 7, 13), dtype=torch.uint8)
    features = lite0(x)
    assert features.shape == (3, lite0.num_features)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    torch.testing.assert_close(lite0(x[:1]), features[:1])
    assert not any(p.requires_grad for p in lite0.parameters())


def test_grey_equals_its_three_copies_and_float_equals_uint8(lite0):
    x = torch.randint(0, 256, (2, 1, 9, 9), dtype=torch.uint8)
    torch.testing.assert_close(lite0(x), lite0(x.expand(-1, 3, -1, -1)))
    assert torch.equal(lite0(x), lite0(x.float() / 127.5 - 1))


def test_building_it_leaves_the_global_generator_alone(lite0):
    state = torch.get_rng_state()
    EfficientNetLite0()
    assert torch.equal(torch.get_rng_state(), state)


def test_it_knows_its_classes(lite0):
    # A chessboard is a "crossword puzzle" (class 918): weights, layout and normalisation are right.
    board = (torch.arange(64)[:, None] // 8 + torch.arange(64) // 8) % 2
    pixels = (board * 255).to(torch.uint8).expand(1, 3, 64, 64)
    logits = lite0.net._fc(lite0(pixels))
    assert logits.argmax().item() == 918


def test_to_uint8():
    x = torch.tensor([-2.0, -1, -0.5, 0, 1, 1.001])[None, None, None]
    assert to_uint8(x).flatten().tolist() == [0, 0, 64, 128, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)[None, None, None]
    assert torch.equal(to_uint8(every.float() / 127.5 - 1), every)
    assert to_uint8(every) is every


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(3, 4, 4), r"got \[3, 4, 4\]"),
        (torch.zeros(1, 4, 4, 4), r"got \[1, 4, 4, 4\]"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "int64"),
        (torch.full((1, 3, 4, 4), torch.inf), "finite"),
    ],
)
def test_bad_images(x, words):
    with pytest.raises(ValueError, match=words):
        to_uint8(x)


def test_without_the_extra_the_reason_names_it(monkeypatch):
    find = importlib.util.find_spec
    absent = "efficientnet_lite_pytorch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == absent else find(n))
    assert available() == f"{absent} not installed; pip install 'fastgan[metrics]'"
    with pytest.raises(ImportError, match=r"fastgan\[metrics\]"):
        compute(["kid_lite0"], lambda n: None, [None], num_images=8)


def test_changed_weights_are_refused(monkeypatch, lite0):
    monkeypatch.setattr(module, "_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="SHA-256"):
        EfficientNetLite0()


def test_large_images_are_antialiased(lite0):
    # A one-pixel chessboard, three times as large as the input, must arrive as almost plain grey.
    board = (torch.arange(384)[:, None] + torch.arange(384)) % 2 * 255
    board = board.to(torch.uint8).expand(1, 3, 384, 384)
    grey = lite0(torch.full((1, 3, 128, 128), 128, dtype=torch.uint8))
    assert (lite0(board) - grey).norm() < 0.5 * grey.norm()
    assert (lite0(board[:, :, ::3, ::3]) - grey).norm() > 0.9 * grey.norm()
