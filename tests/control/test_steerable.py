# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.control import SteerableGenerator


def test_styles_and_images_are_those_of_the_generator(network):
    z = torch.from_numpy(np.random.RandomState(5).randn(1, network.G.z_dim)).float()
    ws = network.ws([5])

    torch.testing.assert_close(network.z([5]), z, rtol=0, atol=0)
    assert ws.shape == (1, network.num_ws, network.w_dim)
    images = network.images_of_ws(ws)
    assert images.shape == (1, *network.image_shape)
    torch.testing.assert_close(images, network.G(z, noise_mode="const"))


def test_truncation_and_its_cutoff(faces):
    whole, mean = faces.ws([1, 2]), faces.mean_w()
    cut = faces.ws([1, 2], truncation_psi=0.25, truncation_cutoff=1)

    torch.testing.assert_close(cut[:, 0], mean + 0.25 * (whole[:, 0] - mean))
    torch.testing.assert_close(cut[:, 1:], whole[:, 1:], rtol=0, atol=0)


def test_conditions(conditional, without_styles):
    eye = torch.eye(3)

    torch.testing.assert_close(conditional.conditions([0, 4, 2]), eye[[0, 1, 2]])
    torch.testing.assert_close(conditional.conditions([7, 8], 1), eye[[1, 1]])
    torch.testing.assert_close(
        conditional.conditions([7], [0.5, 0, 2]), torch.tensor([[0.5, 0, 2]])
    )
    for label in (3, -1, [1.0], [1, 2, float("nan")]):
        with pytest.raises(ValueError, match="conditions: light_skip_gan"):
            conditional.conditions([0], label)
    assert not torch.equal(conditional.ws([0], 0), conditional.ws([0], 1))
    assert without_styles.conditions([3]).tolist() == [[0, 1]]


def test_a_label_of_a_network_without_any_is_refused(faces):
    with pytest.raises(ValueError, match="has no classes or labels, got 0; leave it out"):
        faces.ws([0], 0)


def test_a_network_without_styles(without_styles):
    network = without_styles
    images = network.images_of_z(network.z(range(10)), network.conditions(range(10)))

    assert images.shape == (10, *network.image_shape)
    with pytest.raises(ValueError, match=r"ws: dcgan has no styles, .* --cfg faces"):
        network.require_styles("ws")
    for needs_styles in (lambda: network.ws([0]), lambda: network.num_ws, network.mean_w):
        with pytest.raises(ValueError, match="has no styles"):
            needs_styles()


def test_a_network_that_makes_no_images_of_noise_is_refused(faces):
    with pytest.raises(ValueError, match="does not make images of noise"):
        SteerableGenerator(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="does not make images of noise"):
        SteerableGenerator(faces.G, latents="none")


def test_the_fingerprint_is_of_the_weights(faces):
    before = faces.fingerprint
    with torch.no_grad():
        faces.G.const[0, 0, 0] += 1e-3

    assert len(before) == 32
    assert SteerableGenerator(faces.G).fingerprint != before


def test_uniform_latents(faces):
    z = SteerableGenerator(faces.G, latents="uniform").z([3, 4])
    assert z.abs().max() <= 1
    np.testing.assert_allclose(z[1].double().numpy(), np.random.RandomState(4).uniform(
        -1, 1, z.shape[1]), atol=1e-7, rtol=0)  # fmt: skip
