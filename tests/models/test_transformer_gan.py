# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.models.transformer_gan import Config, Discriminator, Generator
from fastgan.training import TrainStep

FIELDS_AT_16 = {
    "z_dim": 8, "patch": 4, "g_channels": 8, "d_channels": 8, "g_blocks": 1, "d_blocks": 1,
    "heads": 2,
}  # fmt: skip


def networks(**fields):
    torch.manual_seed(0)
    config = Config(img_height=16, img_width=8, **FIELDS_AT_16 | fields)
    return Generator(config), Discriminator(config)


def test_each_patch_is_in_its_place():
    G, D = networks()
    z = torch.randn(2, 8)
    before = G(z)
    assert before.shape == (2, 3, 16, 8)
    G.blocks = torch.nn.Identity()  # without attention a token changes its own patch alone
    before = G(z)
    with torch.no_grad():
        G.place[5] += 1  # of row 2, column 1, of 4 by 2 patches
    changed = (G(z) != before).any(1).any(0)
    assert changed[8:12, 4:8].all()
    assert changed.sum() == 16
    x = torch.randn(1, 3, 16, 8)
    swapped = x.clone()
    swapped[:, :, :4], swapped[:, :, 4:8] = x[:, :, 4:8], x[:, :, :4]
    assert (D(x) - D(swapped)).abs() > 1e-6  # D knows the places


def test_convolutions_see_across_the_edges_of_their_patch():
    G, D = networks(pixels="convolutions", g_blocks=1)
    z = torch.randn(2, 8)
    G.blocks = torch.nn.Identity()
    before = G(z)
    assert before.shape == (2, 3, 16, 8)
    with torch.no_grad():
        G.place[5] += 1  # of row 2, column 1: rows 8 to 11, columns 4 to 7
    changed = (G(z) != before).any(1).any(0)
    assert changed[8:12, 4:8].all()
    assert changed[5:15, 1:].all()
    assert changed.sum() == 10 * 7  # 3 pixels further on each side, as far as there are pixels
    x = torch.randn(1, 3, 16, 8)
    assert D(x).shape == (1, 1)
    D.blocks = torch.nn.Identity()
    tokens = D.first(x)
    x[:, :, 11, 7] += 1
    changed = (D.first(x) != tokens).any(1)[0]  # [4, 2] tokens
    assert changed.tolist() == [[False] * 2, [False] * 2, [False, True], [False, True]]


def test_maps_between_tokens_and_pixels_halve_their_channels():
    assert Config(patch=4).widths(64) == [64, 32, 3]
    assert Config(patch=8, img_height=64, img_width=64).widths(48) == [48, 24, 12, 3]
    assert Config(patch=2).widths(64) == [64, 3]


def test_sizes_that_do_not_fit_are_named():
    for patch in (1, 6):
        with pytest.raises(ValueError, match=rf"patch must be a power of 2, .*, got {patch}"):
            Config(img_height=24, img_width=24, patch=patch, pixels="convolutions")
    with pytest.raises(ValueError, match=r"img_width must be a multiple of patch=4, got 10"):
        Config(img_width=10)
    with pytest.raises(ValueError, match=r"d_channels must be a multiple of heads=4, got 6"):
        Config(d_channels=6)


@pytest.mark.parametrize("pixels", ["linear", "convolutions"])
def test_steps_with_exact_r1_and_r2_move_both_networks(pixels):
    G, D = networks(pixels=pixels)
    before = [p.clone() for p in (*G.parameters(), *D.parameters())]
    step = TrainStep(G, D, objective="relativistic", r1_gamma=1.0, r2_gamma=1.0)
    for _ in range(2):
        step(torch.randn(4, 3, 16, 8))
    assert {"Loss/r1", "Loss/r2", "Loss/D", "Loss/G"} <= step.read().keys()
    after = (*G.parameters(), *D.parameters())
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert sum(moved) >= len(moved) - 3  # the bias of all keys has no effect on a softmax
