# SPDX-License-Identifier: Apache-2.0
"""Generators without fastgan: the same pictures, for any batch, by standard operators alone."""

import importlib.util
import sys

import pytest
import torch
from _small_networks import KINDS, small

from fastgan.export import to_aoti_package, to_exported_program, to_onnx

LIMIT = 1e-5  # of the range of the pictures: float32 sums in another order


def make(name, c_dim=0):
    """A generator in which everything counts."""
    torch.manual_seed(0)
    module, config = small(name, c_dim)
    G = module.Generator(config).eval().requires_grad_(False)
    for p in G.parameters():
        p.add_(0.05 * torch.randn_like(p))
    return G


def inputs(G, n):
    c = torch.eye(max(G.c_dim, n))[:n, : G.c_dim]
    return (torch.randn(n, G.z_dim), c) if G.c_dim else (torch.randn(n, G.z_dim),)


def assert_near(got, want):
    assert (got - want).abs().max() <= LIMIT * (want.max() - want.min())


# With a condition, a mapping network has all that it has without; smaller generators are in both.
REPEATS = {("stylegan2", 0), ("stylegan3", 0)}


@pytest.mark.parametrize(
    ("name", "c_dim"),
    [pytest.param(*kind, marks=[pytest.mark.slow] * (kind in REPEATS)) for kind in KINDS],
)
def test_a_program_of_plain_operators(name, c_dim):
    G = make(name, c_dim).train()
    psi = 1.0 if name == "rosinality" else 0.8  # whose average is not among its weights
    program = to_exported_program(G, truncation_psi=psi)
    assert G.training
    G.eval()
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert targets
    assert not [target for target in targets if "fastgan" in target]
    for n in (1, 2, 7, 16):
        batch = inputs(G, n)
        got = program.module()(*batch)
        assert_near(got, G(*batch, truncation_psi=psi, noise_mode="const"))


def test_what_it_refuses():
    with pytest.raises(ValueError, match="noise_mode must be 'const' or 'none', got 'random'"):
        to_exported_program(make("stylegan2"), noise_mode="random")
    with pytest.raises(ValueError, match=r"G must have z_dim and c_dim.*got Linear"):
        to_exported_program(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"must end in \.pt2, got x\.so"):
        to_aoti_package(make("mlp"), "x.so")


@pytest.mark.parametrize(
    ("name", "c_dim"),
    [("light_skip_gan", 3), pytest.param("stylegan3", 0, marks=pytest.mark.slow)],
)
def test_the_halves_of_a_generator_with_styles(name, c_dim):
    G = make(name, c_dim)
    G.mapping.w_avg.normal_()
    mapping = to_exported_program(G, part="mapping", truncation_psi=0.7).module()
    synthesis = to_exported_program(G, part="synthesis").module()
    for n in (1, 5):
        batch = inputs(G, n)
        ws = mapping(*batch)
        assert ws.shape == (n, G.num_ws, G.w_dim)
        assert_near(ws, G.mapping(*batch, truncation_psi=0.7))
        assert_near(synthesis(ws), G(*batch, truncation_psi=0.7, noise_mode="const"))
        ws = torch.randn(n, G.num_ws, G.w_dim)  # of each layer another
        assert_near(synthesis(ws), G.synthesis(ws, noise_mode="const"))


@pytest.mark.parametrize("fields", [{"img_height": 19}, {"half_dtype": "bfloat16"}])
@pytest.mark.parametrize("trunk_blocks", [1, 2])
def test_a_synthesis_in_two_parts(fields, trunk_blocks):
    torch.manual_seed(0)
    module, config = small("stylegan2", img_width=24, **fields)  # three sizes
    G = module.Generator(config).eval().requires_grad_(False)
    for p in G.parameters():
        p.add_(0.05 * torch.randn_like(p))
    whole, trunk, rest = (
        to_exported_program(G, part=part, trunk_blocks=blocks).module()
        for part, blocks in (("synthesis", 0), ("trunk", trunk_blocks), ("rest", trunk_blocks))
    )
    for n in (1, 5):
        ws = torch.randn(n, G.num_ws, G.w_dim)
        x, image = trunk(ws)
        assert x.dtype == image.dtype == torch.float32
        size = config.sizes[trunk_blocks - 1]
        assert x.shape == (n, config.channels(size), *size)
        assert image.shape == (n, 3, *size)
        assert_near(rest(ws, x, image), whole(ws))


def test_trunks_that_it_refuses():
    for name, part, blocks, words in (
        ("light_skip_gan", "trunk", 1, "needs a stylegan2 generator with g_architecture 'skip'"),
        ("stylegan2", "trunk", 0, "trunk_blocks must be 1 to 2"),
        ("stylegan2", "rest", 3, "trunk_blocks must be 1 to 2"),
        ("stylegan2", "synthesis", 1, "trunk_blocks has no effect on part='synthesis'"),
    ):
        with pytest.raises(ValueError, match=words):
            to_exported_program(make(name), part=part, trunk_blocks=blocks)
    with pytest.raises(ValueError, match="truncation_psi has no effect on part='rest'"):
        to_exported_program(make("stylegan2"), part="rest", trunk_blocks=1, truncation_psi=0.5)


def test_halves_that_it_refuses():
    words = "part must be one of whole, mapping, synthesis, trunk, rest, got 'w'"
    with pytest.raises(ValueError, match=words):
        to_exported_program(make("stylegan2"), part="w")
    with pytest.raises(ValueError, match="needs a generator with a mapping network"):
        to_exported_program(make("mlp"), part="mapping")
    with pytest.raises(ValueError, match="truncation_psi has no effect on part='synthesis'"):
        to_exported_program(make("stylegan2"), part="synthesis", truncation_psi=0.5)


HAS_ONNX = all(importlib.util.find_spec(n) for n in ("onnxscript", "onnxruntime"))


@pytest.mark.skipif(HAS_ONNX, reason="onnxscript is here")
def test_onnx_without_onnxscript_says_what_to_install(tmp_path):
    with pytest.raises(ImportError, match=r"pip install 'fastgan\[onnx\]'"):
        to_onnx(make("mlp"), tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["whole", "mapping"])
def test_more_weights_than_one_onnx_file_has_are_refused(part, tmp_path, monkeypatch):
    G = make("stylegan2")
    used = G if part == "whole" else G.mapping
    size = sum(t.numel() * t.element_size() for t in used.parameters())
    if not HAS_ONNX:  # as if it were here: it's not needed before the refusal
        find = importlib.util.find_spec
        names = {"onnxscript": "json"}
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: find(names.get(name, name)))
    monkeypatch.setattr(sys.modules[to_onnx.__module__], "MOST_WEIGHTS", size - 1)
    with pytest.raises(ValueError, match=r"GB of weights.*1.5 GiB.*to_aoti_package.*FILE.pt2"):
        to_onnx(G, tmp_path / "new" / "g.onnx", part=part)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="needs pip install onnxscript onnxruntime")
def test_the_weights_that_one_onnx_file_may_have_are_those_of_torch():
    from torch.onnx._internal.exporter import _onnx_program

    module = sys.modules[to_onnx.__module__]
    assert module.MOST_WEIGHTS <= _onnx_program._LARGE_MODEL_THRESHOLD


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="needs pip install onnxscript onnxruntime")
@pytest.mark.parametrize(("name", "c_dim"), KINDS)
def test_onnx(name, c_dim, tmp_path):
    import onnx
    import onnxruntime

    G = make(name, c_dim)
    to_onnx(G, tmp_path / "g.onnx", noise_mode="none")
    assert [p.name for p in tmp_path.iterdir()] == ["g.onnx"]
    model = onnx.load(tmp_path / "g.onnx")
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(
        str(tmp_path / "g.onnx"), providers=["CPUExecutionProvider"]
    )
    for n in (1, 5):
        batch = inputs(G, n)
        fed = {name: t.numpy() for name, t in zip(("z", "c"), batch, strict=False)}
        (images,) = session.run(None, fed)
        assert_near(torch.from_numpy(images), G(*batch, noise_mode="none"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*LeafSpec:FutureWarning")
def test_aoti(tmp_path):
    G = make("stylegan2")
    to_aoti_package(G, tmp_path / "g.pt2")
    assert [p.name for p in tmp_path.iterdir()] == ["g.pt2"]
    run = torch._inductor.aoti_load_package(str(tmp_path / "g.pt2"))
    for n in (1, 5):
        batch = inputs(G, n)
        assert_near(run(*batch), G(*batch, noise_mode="const"))
