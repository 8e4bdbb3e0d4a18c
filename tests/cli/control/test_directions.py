# SPDX-License-Identifier: Apache-2.0
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.control import Directions, factorize, load_ws
from fastgan.control import learnt_directions as module


def test_directions_of_the_weights(cli, styled, network):
    words = ("--method", "sefa", "--num-directions", 3, "--styles", "1", "--out", "a/d.npz")
    output = cli("directions", "--network", styled, *words).output

    assert "sefa2" in output
    assert "3 directions written to a/d.npz" in output
    last = output.splitlines()[-1]
    assert last.startswith("To edit images:      fastgan edit --network ")
    cli(*last.split()[4:])  # as it stands there
    assert (cli.folder / "out" / "edit.png").is_file()
    found = Directions.load(cli.folder / "a" / "d.npz", network)
    assert torch.equal(found.vectors, factorize(network, count=3, layers=[1]).vectors)
    with Image.open(cli.folder / "a" / "d.png") as picture:
        assert picture.size == (5 * 98 - 2, 3 * 98 - 2)


def test_directions_of_labels(cli, styled, network, tmp_path, monkeypatch):
    def classifier(x, classes, **_options):
        share = classes.float().mean().item()
        return _Two(), share

    monkeypatch.setattr(module, "train_classifier", classifier)
    monkeypatch.setattr(module, "_STEPS", 2)
    path = tmp_path / "set.zip"
    _write_set(path, 200)
    words = ("--data", path, "--samples", 100, "--attribute", "class=1", "--out", "d.npz")
    output = cli("directions", "--network", styled, *words).output

    assert "class=1" in output
    assert "right on 50.0%" in output
    assert Directions.load(cli.folder / "d.npz", network).names == ("class=1",)


class _Two(torch.nn.Module):
    def forward(self, x):
        return x[:, :2].float().mean((2, 3))


def _write_set(path, count):
    rng = np.random.RandomState(0)
    with zipfile.ZipFile(path, "w") as archive:
        labels = []
        for i in range(count):
            name = f"00000/img{i:08d}.png"
            with archive.open(name, "w") as file:
                Image.fromarray(rng.randint(0, 256, (16, 16, 3), dtype=np.uint8)).save(file, "png")
            labels.append([name, i % 2])
        archive.writestr("dataset.json", json.dumps({"labels": labels}))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--attribute", "beard"], 2, "a question must be one of dark_hair, glasses, dark_skin"),
        (["--method", "sefa", "--data", "x"], 2, "has no effect with --method sefa"),
        (["--num-directions", "3"], 2, "has no effect with --method labels"),
        (
            ["--method", "sefa", "--num-directions", "99"],
            2,
            "have 12 numbers, and no more",
        ),
        (["--method", "sefa", "--out", "d.pkl"], 2, "expected a .npz file"),
        (["--data", "nowhere.zip"], 1, "nowhere.zip"),
    ],
)
def test_what_can_not_be_found_is_refused(cli, styled, words, code, message):
    output = cli("directions", "--network", styled, *words, code=code).output
    assert message in " ".join(output.split())
    assert not list(cli.folder.glob("d*.*"))


def test_an_edit_is_drawn_and_its_styles_are_kept(cli, styled, network):
    found = factorize(network, count=2)
    found.save(cli.folder / "d.npz")
    words = ("--directions", "d.npz", "--direction", "sefa1", "--strength", "-2,0,2", "--save-w")
    output = cli("edit", "--network", styled, *words, "--seeds", "4,5").output

    assert "6 images written to out" in output
    folder = cli.folder / "out"
    stems = {f"seed000{seed}-sefa1{s}" for seed in (4, 5) for s in ("-2", "+0", "+2")}
    names = {f"{stem}.{kind}" for stem in stems for kind in ("png", "npz")}
    assert {path.name for path in folder.iterdir()} == names | {"edit.png"}
    ws = load_ws(folder / "seed0005-sefa1+2.npz", network)
    step = 2 * found.scales[1] * found.vectors[1]
    torch.testing.assert_close(ws, network.ws([5]) + step)

    again = ("--projected-w", folder / "seed0005-sefa1+2.npz", "--strength", "-2")
    cli("edit", "--network", styled, *words[:4], *again, "--outdir", "b")
    with (
        Image.open(cli.folder / "b" / "seed0005-sefa1+2-sefa1-2.png") as back,
        Image.open(folder / "seed0005-sefa1+0.png") as original,
    ):
        difference = np.asarray(back).astype(int) - np.asarray(original)
    assert abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--direction", "hair"],
            2,
            "--direction: there is no direction 'hair'; choose from sefa0",
        ),
        (["--direction", "0", "--directions", "no.npz"], 1, "there is no file no.npz"),
        (["--direction", "0", "--strength", "1,x"], 2, "expected numbers from -100 to 100"),
        (["--direction", "0", "--projected-w", "no.npz"], 1, "there is no file no.npz"),
        (["--direction", "0", "--class", "1"], 2, "has no classes"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(cli, styled, network, words, code, message):
    factorize(network, count=1).save(cli.folder / "directions.npz")
    output = cli("edit", "--network", styled, *words, code=code).output
    assert message in " ".join(output.split())
    assert not (cli.folder / "out").exists()


def test_directions_of_other_weights_and_networks_without_styles(cli, styled, of_classes, plain):
    cli("directions", "--network", styled, "--method", "sefa", "--num-directions", 1)
    words = ("--direction", "sefa0", "--directions", "directions.npz")
    assert "made with other weights" in cli("edit", "--network", of_classes, *words, code=1).output
    assert "has no styles" in cli("edit", "--network", plain, *words, code=1).output
    words = ("--method", "sefa")
    assert "has no styles" in cli("directions", "--network", plain, *words, code=1).output


def test_more_directions_than_numbers_of_a_style_are_refused(cli, styled):
    words = ("--method", "sefa", "--num-directions", 13)
    output = " ".join(cli("directions", "--network", styled, *words, code=2).output.split())
    assert "--num-directions: styles of faces" in output
    assert "have 12 numbers, and no more directions, got 13" in output
