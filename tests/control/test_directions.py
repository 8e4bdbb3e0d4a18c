# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.control import Directions, edit, factorize, learn_directions
from fastgan.control import learnt_directions as module


def _rows(network, layers):
    """A of SeFa, from the networks' own fields: the weights that multiply the style of a layer."""
    G, found = network.G, []
    if network.name == "light_skip_gan":
        for i in layers:
            found += [G.convs[i].affine, G.to_images[i].affine]
    elif network.name == "stylegan3":
        modules = [G.synthesis.input, *(getattr(G.synthesis, x) for x in G.synthesis.layer_names)]
        found = [modules[i].affine for i in layers]
    else:
        blocks, first = [getattr(G.synthesis, name) for name in G.synthesis.names], 0
        for block in blocks:
            taken = [getattr(block, x) for x in ("conv0", "conv1", "torgb") if hasattr(block, x)]
            found += [m.affine for i, m in enumerate(taken, start=first) if i in layers]
            first += block.num_convs
    return torch.cat([m.weight * m.weight_gain for m in found]).double()


@pytest.mark.parametrize("chosen", [None, [0], [1, 2]])
def test_sefa_is_the_largest_singular_vectors_of_the_style_weights(network, chosen):
    if network.name == "light_skip_gan" and chosen == [1, 2]:
        chosen = [1]
    found = factorize(network, count=3, layers=chosen)

    layers = range(network.num_ws) if chosen is None else chosen
    _, values, vectors = torch.linalg.svd(_rows(network, layers), full_matrices=True)
    torch.testing.assert_close(found.scores.double(), values[:3] ** 2, rtol=1e-4, atol=1e-5)
    signs = (found.vectors.double() * vectors[:3]).sum(1)
    if (values[:4].diff().abs() > 1e-2).all():
        torch.testing.assert_close(signs.abs(), torch.ones(3).double(), rtol=1e-4, atol=1e-4)
    assert found.names == ("sefa0", "sefa1", "sefa2")
    assert found.layers == tuple(layers)
    largest = found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), -float("inf")])
def test_a_strength_that_is_not_finite_is_refused_by_name(faces, strength):
    directions = factorize(faces, count=2)
    with pytest.raises(ValueError, match=r"edit: the strength of 'sefa1' must be a finite number"):
        edit(faces.ws([0]), directions, {"sefa0": 1.0, "sefa1": strength})


def test_an_edit_moves_the_chosen_layers_by_deviations(faces):
    found = factorize(faces, count=2)
    ws = faces.ws([0, 1])
    moved = edit(ws, found, {"sefa1": -2.0, "sefa0": 1.0}, layers=[1])

    step = found.scales[0] * found.vectors[0] - 2 * found.scales[1] * found.vectors[1]
    torch.testing.assert_close(moved[:, 1], ws[:, 1] + step)
    assert torch.equal(moved[:, 0], ws[:, 0])
    along = faces.ws(range(3000))[:, 0] @ found.vectors.T
    torch.testing.assert_close(along.std(0), found.scales, rtol=0.1, atol=0)
    with pytest.raises(ValueError, match="no direction 'hair'; choose from sefa0, sefa1"):
        edit(ws, found, {"hair": 1.0})


def test_a_direction_is_what_the_classifier_answers(faces, monkeypatch):
    """The judge here looks at the mean of red, which the direction raises."""

    class Judge(torch.nn.Module):
        def forward(self, x):
            red = x[:, 0].float().mean((1, 2))
            return torch.stack([-red, red], 1)

    monkeypatch.setattr(module, "train_classifier", lambda *_a, **_k: (Judge(), 0.75))
    monkeypatch.setattr(module, "_STEPS", 5)
    images = torch.zeros(120, 3, 16, 16, dtype=torch.uint8)
    answers = {"red": torch.arange(120) % 2}
    found = learn_directions(faces, images, answers, samples=600)

    assert found.names == ("red",)
    assert found.scores.tolist() == [0.75]
    ws = faces.ws(range(20))
    reds = [
        faces.images_of_ws(edit(ws, found, {"red": s}))[:, 0].clamp(-1, 1).mean()
        for s in (-2.0, 0.0, 2.0)
    ]
    assert reds[0] < reds[1] - 0.01 < reds[2] - 0.02


class _Channels(torch.nn.Module):
    """Sure of "yes" where the given sum of channels is bright."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, x):
        level = x.mean((2, 3)) @ self.weights
        return torch.stack([-level, level], 1)


def test_a_direction_leaves_other_answers_alone(faces, monkeypatch):
    """Red alone, beside red with green: with the second question, green must fall as red rises."""
    monkeypatch.setattr(module, "_STEPS", 25)
    monkeypatch.setattr(module, "_RATE", 0.1)
    monkeypatch.setattr(module, "_OTHERS", 1.0)
    w = faces.ws(range(200))[:, 0]
    red, both = _Channels([8.0, 0.0, 0.0]), _Channels([8.0, 8.0, 0.0])
    first = torch.ones(faces.w_dim)
    rises = []
    for others in ([], [both]):
        v = module._refined(faces, w, red, others, first, 0)
        ws = torch.stack([w + t * (w @ v).std() * v for t in (-2.0, 2.0)])  # [2, n, w_dim]
        x = faces.images_of_ws(ws.flatten(0, 1)[:, None].expand(-1, faces.num_ws, -1)).clamp(-1, 1)
        rises.append([module._rise(judge, x).mean().item() for judge in (red, both)])

    assert rises[0][0] > 0.05
    assert rises[1][0] > 0.05
    assert abs(rises[1][1]) < 0.5 * abs(rises[0][1])


def test_too_few_answers_are_refused(faces):
    images = torch.zeros(100, 3, 16, 16, dtype=torch.uint8)
    answer = torch.full((100,), -1)
    answer[:60] = 1
    with pytest.raises(ValueError, match=r"at least 50 images with each answer, got 60 .* and 0"):
        learn_directions(faces, images, {"hair": answer}, samples=10)


def test_what_does_not_exist_is_refused(faces, without_styles):
    with pytest.raises(ValueError, match="count must be from 1 to"):
        factorize(faces, count=0)
    with pytest.raises(ValueError, match="layers must lie in 0 to 1"):
        factorize(faces, count=1, layers=[2])
    with pytest.raises(ValueError, match="has no styles"):
        factorize(without_styles, count=1)


def test_directions_come_back(faces, tmp_path):
    found = factorize(faces, count=2, layers=[1])
    found.save(tmp_path / "d.npz")
    again = Directions.load(tmp_path / "d.npz", faces)

    assert (again.names, again.layers, again.method) == (("sefa0", "sefa1"), (1,), "sefa")
    for name in ("vectors", "scales", "scores"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    assert again.index("1") == 1


def _changed(path, **changes):
    with np.load(path, allow_pickle=False) as file:
        arrays = {**{name: file[name] for name in file.files}, **changes}
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "0" * 32}, "made with other weights .* `fastgan directions`"),
        ({"vectors": np.zeros((2, 99), np.float32)}, r"directions of shape \[2, 99\]"),
        ({"scales": None}, "has no array scales"),
        ({"scales": np.zeros(3, np.float32)}, "does not hold directions"),
        ({"layers": np.array([0, 7])}, "does not hold directions"),
        ({"directions": np.array(2)}, "does not hold directions"),
        ({"names": np.array(["a", "b"], dtype=object)}, "no .npz file of plain arrays"),
        ({"scores": np.full(2, np.nan, np.float32)}, "does not hold directions"),
    ],
)
def test_files_of_others_are_refused(faces, tmp_path, changes, words):
    path = tmp_path / "d.npz"
    factorize(faces, count=2).save(path)
    _changed(path, **changes)
    with pytest.raises(ValueError, match=words):
        Directions.load(path, faces)


def test_directions_of_another_network_are_refused(faces, make_network, tmp_path):
    factorize(make_network("light_skip_gan", w_dim=7), count=2).save(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="styles of light_skip_gan have"):
        Directions.load(tmp_path / "d.npz", faces)
