# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.control import video_frames


def test_frames_of_styles_pass_the_seeds(faces):
    frames = list(video_frames(faces, [[0, 1], [2, 3]], 3))

    assert len(frames) == 6
    assert frames[0].shape == (2, *faces.image_shape)
    for i, seeds in ((0, [0, 2]), (3, [1, 3])):
        torch.testing.assert_close(frames[i], faces.images_of_ws(faces.ws(seeds)))


def test_only_the_chosen_layers_move(faces):
    first, _, second, _ = list(video_frames(faces, [[0, 1]], 2, layers=[1]))
    ws = torch.cat([faces.ws([0])[:, :1], faces.ws([1])[:, 1:]], 1)

    torch.testing.assert_close(second, faces.images_of_ws(ws))
    torch.testing.assert_close(first, faces.images_of_ws(faces.ws([0])))


def test_latents_of_a_network_with_styles(faces):
    middle = list(video_frames(faces, [[0, 1]], 2, space="z", kind="linear", is_closed=False))[1]
    ws = faces.map(faces.z([0, 1]).mean(0, keepdim=True), None)
    torch.testing.assert_close(middle, faces.images_of_ws(ws))


def test_a_network_without_styles_moves_in_z(without_styles):
    network = without_styles
    frames = list(video_frames(network, [[0, 1]], 2, kind="linear", is_closed=False))

    z, c = network.z([0, 1]).mean(0, keepdim=True), torch.tensor([[0.5, 0.5]])
    torch.testing.assert_close(frames[1], network.images_of_z(z, c))
    for options in ({"space": "w"}, {"layers": [0]}, {"truncation_cutoff": 1}):
        with pytest.raises(ValueError, match="has no styles"):
            next(video_frames(network, [[0, 1]], 2, **options))
    with pytest.raises(ValueError, match="space must be w or z"):
        next(video_frames(network, [[0, 1]], 2, space="s"))
