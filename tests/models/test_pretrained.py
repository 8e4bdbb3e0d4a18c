import json

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
    with pytest.raises(ValueError, match=r"no local folder.*huggingface_hub\.snapshot_download"):
        load("someone/stylegan2")
    with pytest.raises(ValueError, match="a Generator of stylegan2, and this is Discriminator"):
        stylegan2.Discriminator.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())["config"]
    edit(folder, config={k: v for k, v in config.items() if k != "w_dim"} | {"depth": 3})
    with pytest.raises(ValueError, match=r"configuration of .*: missing w_dim; unknown depth"):
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
