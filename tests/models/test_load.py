# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import re

import pytest
import torch
from _small_networks import FIELDS, UNCONDITIONAL, small, takes

from fastgan.models import architectures, load_architecture

IMAGE = {"img_channels": 2, "img_height": 9, "img_width": 12}


def test_every_architecture_keeps_the_interface():
    names = architectures()
    assert {"dcgan", "mlp", "stylegan2"} <= set(names)
    for name in names:
        module = load_architecture(name)
        for exported in ("Config", "Generator", "Discriminator"):
            assert hasattr(module, exported), name
        fields = {f.name for f in dataclasses.fields(module.Config)}
        if "img_height" in fields:
            assert {"z_dim", "c_dim", "img_channels", "img_width"} <= fields
        else:  # of other samples than images
            assert hasattr(module.Config, "data_shape"), name
    assert load_architecture("vocoders.hifigan").Config


def test_unknown_names_are_refused_with_the_list():
    for name in ("nope", "_pyramid", "dcgan.Config", "../dcgan"):
        with pytest.raises(ValueError, match=r"must be one of .*dcgan, .*mlp, .*stylegan2"):
            load_architecture(name)


# name of a row: (architecture, fields that are not those of small_networks)
ROWS = {name: (name, {}) for name in FIELDS} | {"dcgan, batch norm": ("dcgan", {"d_norm": "batch"})}
CONDITIONAL = [row for row, (name, _) in ROWS.items() if name not in UNCONDITIONAL]
CASES = [(row, 0) for row in ROWS] + [(row, 3) for row in CONDITIONAL]


def make(row, c_dim):
    """(module, config), at 9 × 12 where the architecture takes that."""
    name, fields = ROWS[row]
    return small(name, c_dim, **fields, **(IMAGE if takes(name, **IMAGE) else {}))


def test_sizes_of_any_shape_are_tested():
    sizes = {row: make(row, 0)[1].sample_shape for row in ROWS}
    assert sizes["dcgan"] == sizes["mlp"] == sizes["stylegan2"] == (2, 9, 12)
    assert sizes["r3gan"] == (3, 16, 16)


@pytest.mark.parametrize(("row", "c_dim"), CASES)
def test_forward_contract(row, c_dim):
    torch.manual_seed(0)
    module, config = make(row, c_dim)
    G, D = module.Generator(config), module.Discriminator(config)
    assert (G.z_dim, G.c_dim, G.config) == (config.z_dim, c_dim, config)
    z = torch.randn(4, config.z_dim)
    c = (torch.eye(4)[:, :3].contiguous(),) if c_dim else ()
    psi = 1.0 if row == "rosinality" else 0.7  # whose mean w is not among its weights
    x = G(z, *c, truncation_psi=psi, noise_mode="none")
    assert x.shape == (4, *config.sample_shape)
    assert D(x, *c).shape == (4, 1)
    D(x, *c).sum().backward()
    for network in (G, D):
        for key, p in network.named_parameters():
            if "noise_strength" not in key:  # unused without noise
                assert p.grad is not None, key
                assert p.grad.isfinite().all(), key


@pytest.mark.parametrize("row", CONDITIONAL)
def test_the_condition_matters(row):
    torch.manual_seed(0)
    module, config = make(row, 3)
    G, D = module.Generator(config).eval(), module.Discriminator(config).eval()
    z = torch.randn(1, config.z_dim).expand(2, -1)
    c = torch.eye(3)[:2]
    x = G(z, c, noise_mode="none")
    assert not x[0].allclose(x[1])
    same = x[:1].expand(2, -1, -1, -1)
    logits = D(same, c)
    assert not logits[0].allclose(logits[1], rtol=1e-4, atol=0)


@pytest.mark.parametrize("row", CONDITIONAL)
def test_double_and_autocast(row):
    torch.manual_seed(0)
    module, config = make(row, 3)
    G, D = module.Generator(config).eval(), module.Discriminator(config).eval()
    z, c = torch.randn(4, config.z_dim), torch.rand(4, 3)
    x = G(z, c, noise_mode="none")
    y = D(x, c)
    with torch.autocast("cpu", torch.bfloat16):
        low = D(G(z, c, noise_mode="none"), c)
    torch.testing.assert_close(low.float(), y, rtol=0.1, atol=0.1 * y.abs().max().item())
    wide_x = G.double()(z.double(), c.double(), noise_mode="none")
    wide_y = D.double()(wide_x, c.double())
    assert wide_y.dtype == torch.float64
    torch.testing.assert_close(wide_x.float(), x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(wide_y.float(), y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("row", "c_dim"), CASES)
def test_config_survives_json_and_is_frozen(row, c_dim):
    module, config = make(row, c_dim)
    again = module.Config(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert hash(again) == hash(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.z_dim = 3
    module.Generator(again)


@pytest.mark.parametrize("row", CONDITIONAL)
def test_wrong_inputs_are_refused(row):
    module, config = make(row, 3)
    G, D = module.Generator(config), module.Discriminator(config)
    z, c = torch.zeros(2, config.z_dim), torch.zeros(2, 3)
    x = torch.zeros(2, *config.sample_shape)
    wanted = rf"Generator: z must be floating with shape \[N, {config.z_dim}\]"
    with pytest.raises(ValueError, match=wanted):
        G(z[:, 1:], c)
    with pytest.raises(ValueError, match=r"Generator: c must have shape \[2, 3\], got None"):
        G(z)
    with pytest.raises(ValueError, match=r"Generator: c must be floating with shape \[2, 3\]"):
        G(z, c[:1])
    with pytest.raises(ValueError, match="noise_mode must be one of random, const, none"):
        G(z, c, noise_mode="loud")
    wanted = "Discriminator: x must be floating with shape [N, " + str(config.sample_shape)[1:-1]
    with pytest.raises(ValueError, match=re.escape(wanted)):
        D(x[:, :1], c)
    with pytest.raises(ValueError, match=r"Discriminator: x must be floating"):
        D(x.to(torch.uint8), c)
    with pytest.raises(ValueError, match=r"Discriminator: c must be floating"):
        D(x, c.long())
    _, free = make(row, 0)
    with pytest.raises(ValueError, match=r"c must be None for an unconditional network"):
        module.Discriminator(free)(x, c)
    assert module.Discriminator(free)(x, torch.zeros(2, 0)).shape == (2, 1)
    with pytest.raises(ValueError, match="Config: z_dim must be an integer >= 1, got 0"):
        module.Config(z_dim=0)
    with pytest.raises(ValueError, match="Config: img_height must be an integer >= 1"):
        module.Config(img_height=1.5)
