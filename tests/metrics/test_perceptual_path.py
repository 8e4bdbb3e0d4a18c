# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.metrics.perceptual import PerceptualDistance
from fastgan.metrics.perceptual_path import path_length_results, path_lengths, trimmed_mean
from fastgan.models import mlp, stylegan2


def squared(a, b):
    return (a.double() - b.double()).square().sum((1, 2, 3))


@pytest.mark.parametrize("at", [0.0, 0.7])
def test_the_length_of_a_path_with_a_known_derivative(at):
    """G(w) = w² element by element has d/dt = 2 w_t (w_1 - w_0)."""
    draws = np.random.RandomState(0)
    first, last = draws.randn(5, 1, 12), draws.randn(5, 1, 12)
    found = path_lengths(
        lambda ws: ws.square().reshape(-1, 3, 2, 2),
        squared,
        (torch.from_numpy(first), torch.from_numpy(last)),
        torch.full([5], at),
        epsilon=1e-6,
    )
    w = first + np.float32(at).astype(float) * (last - first)
    expected = ((2 * w * (last - first)) ** 2).sum((1, 2))
    assert np.allclose(found, expected, rtol=1e-4)


def test_outer_percentiles_are_left_out():
    lengths = torch.arange(201.0)
    lengths[[0, 200]] = 1e9
    order = torch.randperm(201, generator=torch.Generator().manual_seed(0))
    kept = np.sort(lengths.numpy())[2:-2]
    assert trimmed_mean(lengths[order]) == pytest.approx(kept.mean())
    assert trimmed_mean(torch.tensor([3.0, 5.0])) == 4


def test_the_distance_equals_its_formula(metrics_extra):
    distance, maps = PerceptualDistance(), {}
    blocks = distance.features.net._blocks
    for i in (0, 2, 4, 10, 15):
        blocks[i].register_forward_hook(lambda _, __, y, i=i: maps.update({i: y.double().numpy()}))
    draws = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 40, 32, generator=draws) * 2 - 1 for _ in range(2))
    with torch.no_grad():
        found = distance(a, b).numpy()
        # the extractor's own way through the network, of pictures that are 8 bits deep anyway
        pixels = [(x * 127.5 + 127.5).round() for x in (a, b)]
        exact = distance(*(p / 127.5 - 1 for p in pixels)).numpy()
        hooked = []
        for p in pixels:
            distance.features(p.to(torch.uint8))
            hooked.append(dict(maps))
    expected = np.zeros(2)
    for i in hooked[0]:
        unit = [h[i] / np.sqrt((h[i] ** 2).sum(1, keepdims=True)) for h in hooked]
        expected += ((unit[0] - unit[1]) ** 2).sum(1).mean((1, 2))
    assert len(hooked[0]) == 5
    assert np.allclose(exact, expected, rtol=1e-4)
    assert np.allclose(found, expected, rtol=0.05)
    assert float(distance(a, a).abs().max()) == 0


class Squares(torch.nn.Module):
    name, resize = "squares", "none"

    def forward(self, a, b):
        return squared(a, b)


@pytest.fixture
def squares(monkeypatch):
    monkeypatch.setattr("fastgan.metrics.perceptual_path.PerceptualDistance", Squares)


def test_equal_seeds_give_equal_results_that_say_what_they_are(squares):
    torch.manual_seed(0)
    config = stylegan2.Config(
        img_height=8, img_width=8, z_dim=8, w_dim=8, channel_base=64, channel_max=8, c_dim=3
    )
    G = stylegan2.Generator(config).eval()
    every = torch.eye(3).repeat(20, 1)
    options = {"num": 48, "device": "cpu", "seed": 4, "data": "faces"}
    names = ["ppl_end_lite0", "ppl_full_lite0"]
    state = torch.get_rng_state()
    found, again = (
        path_length_results(names, G, lambda i, n: every[i : i + n], batch=batch, **options)
        for batch in (48, 48)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert found == again
    assert list(found) == names
    assert found["ppl_end_lite0"].value != found["ppl_full_lite0"].value
    result = found["ppl_full_lite0"]
    assert (result.num_real, result.num_fake, result.seed, result.data) == (0, 48, 4, "faces")
    assert 0 < result.interval[0] < result.value < result.interval[1]
    assert result.interval_method == "95 %, 20 random halves of the paths"


@pytest.mark.parametrize("latents", ["normal", "uniform"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_find_the_values_of_one_process(squares, on_ranks, world_size, latents):
    """Bit for bit, with a last part that is smaller, and with more ranks than parts."""
    torch.manual_seed(0)
    config = stylegan2.Config(
        img_height=8, img_width=8, z_dim=8, w_dim=8, channel_base=64, channel_max=8, c_dim=3
    )
    G = stylegan2.Generator(config).eval()
    every = torch.eye(3).repeat(20, 1)

    def values(ranks):
        found = path_length_results(
            ["ppl_end_lite0", "ppl_full_lite0"], G, lambda i, n: every[i : i + n],
            num=47, batch=20, device="cpu", seed=4, latents=latents, ranks=ranks,
        )  # fmt: skip
        return {name: (result.value, result.interval) for name, result in found.items()}

    alone = values(None)
    assert len(alone) == 2
    assert on_ranks(world_size, values) == [alone] + [{}] * (world_size - 1)


def test_a_generator_without_styles_is_refused(squares):
    G = mlp.Generator(mlp.Config(img_height=8, img_width=8))
    with pytest.raises(ValueError, match="ppl_end_lite0: paths are between styles"):
        path_length_results(
            ["ppl_end_lite0"], G, lambda i, n: None, num=4, batch=2, device="cpu", seed=0
        )
