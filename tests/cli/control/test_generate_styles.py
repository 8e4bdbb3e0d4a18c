# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image

from fastgan.control import SteerableGenerator, replace_layers, save_ws
from fastgan.modalities.images.grids import to_pixels


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def _image(network, ws):
    return to_pixels(network.images_of_ws(ws))[0]


def test_layers_that_are_not_named_take_the_mean_style(cli, styled, network):
    cli("generate", "--network", styled, "--seeds", "3", "--styles", "1")

    ws = replace_layers(network.mean_w().expand(1, 2, -1), network.ws([3]), [1])
    np.testing.assert_array_equal(_pixels(cli.folder / "out/seed0003.png"), _image(network, ws))


def test_truncation_of_the_first_layers(cli, styled, network):
    cli("generate", "--network", styled, "--seeds", "3", "--trunc", "0.3", "--trunc-cutoff", "1")

    ws = network.ws([3], truncation_psi=0.3, truncation_cutoff=1)
    np.testing.assert_array_equal(_pixels(cli.folder / "out/seed0003.png"), _image(network, ws))


def test_a_label_is_a_condition(cli, of_classes):
    cli("generate", "--network", of_classes, "--seeds", "3", "--label", "0.5,0,0.5")

    network = SteerableGenerator.load(of_classes)
    ws = network.ws([3], [0.5, 0, 0.5])
    np.testing.assert_array_equal(_pixels(cli.folder / "out/seed0003.png"), _image(network, ws))


def test_a_projected_picture_is_generated_again(cli, styled, network):
    save_ws(cli.folder / "two.npz", network.ws([5, 6]), network)
    cli("generate", "--network", styled, "--projected-w", "two.npz")

    assert {p.name for p in (cli.folder / "out").iterdir()} == {"two-00.png", "two-01.png"}
    wanted = _image(network, network.ws([6]))
    np.testing.assert_array_equal(_pixels(cli.folder / "out/two-01.png"), wanted)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--projected-w", "no.npz"], "there is no file no.npz"),
        (["--label", "1"], "has no classes"),
        (["--styles", "0-5"], "has layers 0 to 1"),
        (["--projected-w", "no.npz", "--seeds", "3"], "has no effect beside --projected-w"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(cli, styled, words, message):
    code = 1 if "no file" in message else 2
    output = cli("generate", "--network", styled, *words, code=code).output
    assert message in " ".join(output.split())
    assert not (cli.folder / "out").exists()


@pytest.mark.parametrize("words", [["--styles", "0"], ["--projected-w", "w.npz"]])
def test_a_network_without_styles_is_refused(cli, plain, words):
    assert "has no styles" in cli("generate", "--network", plain, *words, code=1).output
