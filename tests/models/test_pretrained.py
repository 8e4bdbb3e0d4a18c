# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
import torch
from _small_networks import FIELDS, UNCONDITIONAL, is_of_images, small

from fastgan.models import architectures, stylegan2
from fastgan.models.vocoders import load_vocoder


def test_every_architecture_is_among_the_small_ones():
    assert set(FIELDS) == {name for name in architectures() if is_of_images(name)}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("network", ["Generator", "Discriminator"])
def test_a_folder_gives_the_network_back(name, network, tmp_path):
    module, config = small(name, c_dim=0 if name in UNCONDITIONAL else 2)
    made = getattr(module, network)(config)
    made.save_pretrained(tmp_path / "net")
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == [
        "config.json", "model.safetensors",
    ]  # fmt: skip
    back = getattr(module, network).from_pretrained(tmp_path / "net")
    assert back.config == config
    assert not back.training
    for key, t in made.state_dict().items():
        assert torch.equal(back.state_dict()[key], t), key


@pytest.mark.parametrize("name", ["hifigan", "bigvgan"])
def test_vocoders_too(name, tmp_path):
    module = load_vocoder(name)
    config = module.Config(upsample_initial_channel=32)
    G = module.Generator(config)
    G.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architecture"] == f"vocoders.{name}"
    back = module.Generator.from_pretrained(tmp_path)
    assert back.config == config
    assert all(torch.equal(back.state_dict()[k], t) for k, t in G.state_dict().items())


@pytest.fixture
def folder(tmp_path):
    module, config = small("stylegan2")
    module.Generator(config).save_pretrained(tmp_path)
    return tmp_path


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_refusals(folder):
    load = stylegan2.Generator.from_pretrained
    with pytest.raises(ValueError, match=r"is no local folder, and no name of a repository"):
        load(Path("someone/stylegan2"))  # which is never fetched
    with pytest.raises(ValueError, match="a Generator of stylegan2, and this is Discriminator"):
        stylegan2.Discriminator.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())["config"]
    edit(folder, config=config | {"depth": 3})
    with pytest.raises(ValueError, match=r"configuration of .*: missing none; unknown depth"):
        load(folder)
    edit(folder, config=config | {"mapping_layers": 3})
    with pytest.raises(ValueError, match=r"weights of .*: missing mapping\.fc2\.bias, "):
        load(folder)
    edit(folder, config=config, fastgan=2)
    with pytest.raises(ValueError, match="has format 2, this fastgan reads 1"):
        load(folder)
    (folder / "config.json").write_text('{"model_type": "unet"}')
    with pytest.raises(ValueError, match="was not written by fastgan"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: "):
        load(folder)


def test_fields_that_a_config_got_later_have_their_defaults(folder):
    config = json.loads((folder / "config.json").read_text())["config"]
    written = stylegan2.Generator.from_pretrained(folder).config
    edit(folder, config={k: v for k, v in config.items() if k != "kernel_size"})
    assert stylegan2.Generator.from_pretrained(folder).config == written


def hostile(config):
    """Values that no Config takes, each field once with each, and absurd sizes."""
    for name in config:
        for value in ("x", None, -1, [], {}, [[]], 1e300, float("nan"), 2**20):
            yield name, value


@pytest.mark.parametrize(
    "name",
    ["mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in FIELDS if n != "mlp")],
)
def test_no_configuration_raises_anything_else_or_takes_memory(name, tmp_path):
    """2**20 everywhere would be petabytes; a network is made without memory first."""
    module, config = small(name)
    module.Generator(config).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())["config"]
    refused = 0
    for field, value in hostile(config):
        edit(tmp_path, config=config | {field: value})
        try:
            module.Generator.from_pretrained(tmp_path)
        except ValueError:
            refused += 1
    assert refused > 4 * len(config)


def test_a_file_with_other_shapes_is_named(folder):
    config = json.loads((folder / "config.json").read_text())["config"]
    edit(folder, config=config | {"w_dim": config["w_dim"] * 2})
    with pytest.raises(ValueError, match=r"in model\.safetensors is \[.*configuration needs \["):
        stylegan2.Generator.from_pretrained(folder)
