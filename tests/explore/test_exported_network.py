# SPDX-License-Identifier: Apache-2.0
"""What the page gets of a network: numbers as JSON, and ONNX files that compute what torch does."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from _small_networks import small

from fastgan.control import SteerableGenerator, edit, factorize
from fastgan.explore import network_files
from fastgan.explore.exported_network import _trunk_blocks, describe

HAS_ONNX = all(importlib.util.find_spec(n) for n in ("onnxscript", "onnxruntime"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path))


def test_numbers_of_a_network_with_styles(make_network):
    network = make_network("light_skip_gan", c_dim=3)
    directions = factorize(network, count=2, layers=[1])
    facts = json.loads(json.dumps(describe(network, [directions], ("--network", "runs/a b"))))
    assert facts["options"] == ["--network", "runs/a b"]
    assert facts["shape"] == list(network.image_shape)
    assert (facts["z_dim"], facts["c_dim"]) == (network.G.z_dim, 3)
    styles = facts["styles"]
    assert (styles["layers"], styles["width"]) == (network.num_ws, network.w_dim)
    assert torch.equal(torch.tensor(styles["mean"]), network.mean_w())
    names = [(row["name"], row["method"], row["layers"]) for row in styles["directions"]]
    assert names == [("sefa0", "sefa", [1]), ("sefa1", "sefa", [1])]
    ws = network.ws([0])
    moved = edit(ws, directions, {"sefa1": 1.0})[0, 1] - ws[0, 1]
    step = torch.tensor(styles["directions"][1]["step"])
    torch.testing.assert_close(moved, step, rtol=0, atol=1e-5 * float(step.abs().max()))


def test_numbers_of_a_network_without_styles(make_network):
    facts = describe(make_network("dcgan", c_dim=2), [])
    assert (facts["styles"], facts["c_dim"], facts["options"]) == (None, 2, [])


def test_a_network_that_no_onnx_file_holds_is_refused(make_network, monkeypatch):
    network = make_network("mlp")
    size = sum(t.numel() * t.element_size() for t in network.G.state_dict().values())
    monkeypatch.setattr("fastgan.explore.exported_network.MOST_WEIGHTS", size - 1)
    with pytest.raises(ValueError, match=r"GB of weights.*1.5 GiB.*fastgan generate"):
        network_files(network)


def test_onnx_files_are_written_once_for_the_same_network(make_network, monkeypatch):
    written = []

    def to_onnx(G, path, part, trunk_blocks):
        written.append(part)
        path.write_bytes(part.encode())

    monkeypatch.setattr("fastgan.explore.exported_network.to_onnx", to_onnx)
    network = make_network("light_skip_gan")
    for _ in range(2):
        files = network_files(network)
        assert files["synthesis.onnx"].read_bytes() == b"synthesis"
        assert json.loads(files["network.json"])["parts"] == {"mapping": 7, "synthesis": 9}
    assert written == ["mapping", "synthesis"]
    with torch.no_grad():
        next(network.G.parameters()).mul_(2)
    network_files(SteerableGenerator(network.G, name="other"))
    assert written == ["mapping", "synthesis"] * 2
    network_files(make_network("mlp"))
    assert written[4:] == ["whole"]


SIDES = {"img_height": 160, "img_width": 132}  # 40 x 33 is an inner size


def test_only_large_images_that_are_sums_have_a_small_one_before():
    for name, fields, want in (
        ("stylegan2", SIDES, 4),
        ("stylegan2", {"img_height": 128, "img_width": 128, "channel_base": 1024}, 0),
        ("stylegan2", {**SIDES, "g_architecture": "resnet"}, 0),
        ("light_skip_gan", SIDES, 0),
    ):
        module, config = small(name, **fields)
        assert _trunk_blocks(SteerableGenerator(module.Generator(config))) == want, (name, fields)


@pytest.mark.parametrize(
    ("side", "base", "small_side"),
    [(256, 16384, 32), (256, 32768, 32), (512, 32768, 64), (1024, 32768, 64)],
)
def test_the_small_image_of_published_sizes(side, base, small_side):
    with torch.device("meta"):
        module, config = small("stylegan2", img_height=side, img_width=side)
        config = replace(config, channel_base=base, channel_max=512)
        network = SteerableGenerator(module.Generator(config))
    assert config.sizes[_trunk_blocks(network) - 1] == (small_side, small_side)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="needs pip install onnxscript onnxruntime")
@pytest.mark.parametrize(
    ("name", "c_dim", "fields"),
    [("light_skip_gan", 3, {}), ("stylegan2", 0, {}), ("stylegan2", 0, SIDES), ("stylegan3", 0, {}),
     ("dcgan", 2, {})],
)  # fmt: skip
def test_onnx_files_compute_what_torch_does(make_network, name, c_dim, fields):
    import onnxruntime

    network = make_network(name, c_dim, **fields)
    files = network_files(network)

    def run(part, **inputs):
        session = onnxruntime.InferenceSession(
            str(files[f"{part}.onnx"]), providers=["CPUExecutionProvider"]
        )
        fed = {k: v.numpy() for k, v in inputs.items() if v is not None}
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, map(torch.from_numpy, session.run(names, fed)), strict=True))

    z, c = network.z([3]), network.conditions([3])
    want = network.images_of_z(z, c)
    if network.has_styles:
        facts = json.loads(files["network.json"])
        assert set(files) == {"network.json", *(f"{part}.onnx" for part in facts["parts"])}
        ws = run("mapping", z=z, c=c)["ws"]
        np.testing.assert_allclose(ws, network.ws([3]), rtol=0, atol=1e-5 * float(ws.abs().max()))
        if fields:
            assert list(facts["parts"]) == ["mapping", "trunk", "rest"]
            early = run("trunk", ws=ws)
            assert facts["border"] == {name: list(t.shape[1:]) for name, t in early.items()}
            assert early["image"].shape == (1, 3, 40, 33)
            got = run("rest", ws=ws, **early)["images"]
        else:
            assert list(facts["parts"]) == ["mapping", "synthesis"]
            got = run("synthesis", ws=ws)["images"]
    else:
        assert set(files) == {"network.json", "generator.onnx"}
        got = run("generator", z=z, c=c)["images"]
    limit = 1e-5 * float(want.max() - want.min())
    np.testing.assert_allclose(got, want, rtol=0, atol=limit)
