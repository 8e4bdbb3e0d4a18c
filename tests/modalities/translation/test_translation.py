# SPDX-License-Identifier: Apache-2.0
"""Translation between two domains: data, metrics, networks and commands; one run is slow."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fastgan.cli import main
from fastgan.data.image_codec import encode_png
from fastgan.data.stylegan_zip_writer import write_stylegan_zip
from fastgan.losses import load_objective
from fastgan.losses.terms.cycle import Term
from fastgan.metrics import available
from fastgan.modalities.translation import metric
from fastgan.modalities.translation.data import conditions, grid, open_data
from fastgan.modalities.translation.metric import fit_classifier, make_evaluator
from fastgan.models.cycle_gan import Config, Discriminator, Generator
from fastgan.training.config.recipes import load_recipe
from fastgan.training.config.run import DataConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import create_state


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def paint(folder, count, channel):
    folder.mkdir(parents=True)
    y, x = np.mgrid[:16, :24]
    for i in range(count):
        pixels = np.zeros((16, 24, 3))
        pixels[..., channel] = np.sin(x * (0.1 + 0.02 * i) + y * 0.3) * 60 + 190
        pixels[..., 1] += 2 * i
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02d}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """25 blue and 30 red pictures of 16x24 pixels; i gives each of a domain another green."""
    path = tmp_path_factory.mktemp("pictures") / "waves"
    paint(path / "blue", 25, 2)
    paint(path / "red", 30, 0)
    return path


def opened(path, **options):
    config = DataConfig(modality="translation", path=str(path), **options)
    return open_data(config, Config(height=16, width=24))


def test_domains_are_two_folders_and_share_no_picture(folder):
    pictures = opened(folder)
    held_out = pictures.held_out
    assert (pictures.names, len(pictures), len(held_out)) == (("blue", "red"), 24, 5)
    uniform = np.linspace(0, 1, 96, endpoint=False)[::-1].reshape(24, 4)
    x, c = pictures.batch(np.arange(24), uniform)
    assert x.keys() == c.keys() == {"a", "b"}
    assert x["a"].shape == x["b"].shape == (24, 3, 16, 24)
    assert (x["a"][:, 0] == -1).all()  # no red in the blue ones
    assert (x["b"][:, 2] == -1).all()
    assert len(torch.unique(x["a"], dim=0)) == 20  # all of the smaller domain in one epoch
    assert len(torch.unique(x["b"], dim=0)) > 12  # drawn by `uniform`, not in order
    again = pictures.batch(np.arange(24), uniform / 2)[0]
    assert torch.equal(again["a"], x["a"])
    assert not torch.equal(again["b"], x["b"])
    for d, count in (("a", 20), ("b", 24)):
        assert len(torch.unique(pictures.pictures(d, np.arange(60)), dim=0)) == count
    known = held_out.batch(np.arange(5), uniform)[0]
    for part in (*grid(pictures, 5), conditions(pictures, np.arange(5))):
        assert all(torch.equal(part[d], known[d]) for d in "ab")
    for d in "ab":
        assert not any(torch.equal(one, other) for one in x[d] for other in known[d])


def test_avatars_without_glasses_and_with_sunglasses(tmp_path, monkeypatch):
    kinds = ["NONE"] * 22 + ["WAYFARERS", "SUNGLASSES_2"] * 11 + ["ROUND"] * 4
    kinds = [kinds[(7 * i) % 48] for i in range(48)]
    colors = {"NONE": 0, "ROUND": 100}
    with write_stylegan_zip(tmp_path / "avatars.zip") as writer:
        for kind in kinds:
            writer.add(encode_png(np.full((3, 16, 16), colors.get(kind, 200), np.uint8)))
        writer.add_json("attributes.json", {"attributes": [{"accessory": kind} for kind in kinds]})
        writer.finish([0] * 48)
    name = "fastgan.modalities.pictures.default_dataset"
    monkeypatch.setattr(name, lambda resolution: tmp_path / "avatars.zip")
    config, model = DataConfig(modality="translation"), Config(height=16, width=16)
    pictures = open_data(config, model)
    for part in (pictures, pictures.held_out):
        x = part.batch(np.arange(18), np.random.RandomState(0).rand(18, 4))[0]
        assert (x["a"] == -1).all()
        assert (x["b"] == 200 / 127.5 - 1).all()
    assert (len(pictures), len(pictures.held_out)) == (18, 4)
    with pytest.raises(ValueError, match=r"has 6 of faces without glasses, .* of faces with sun"):
        open_data(dataclasses.replace(config, max_images=12), model)


def test_classes_of_a_dataset_json_are_domains(folder, tmp_path):
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.png"))]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    labels = [[name, int(i % 2)] for i, name in enumerate(names)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    pictures = opened(tmp_path)
    assert pictures.names == ("class 0", "class 1")
    is_blue = pictures.batch(np.arange(22), np.zeros((22, 4)))[0]["a"][:, 0].eq(-1).all((1, 2))
    assert 0 < is_blue.sum() < 22


def test_other_pictures_and_sizes_are_refused(folder, tmp_path):
    config = DataConfig(modality="translation", path=str(folder))
    with pytest.raises(ValueError, match=r"makes pictures of \(16, 16\).*have \(16, 24\)"):
        open_data(config, Config(height=16, width=16))
    with pytest.raises(ValueError, match=r"has 5 of blue, 5 of red in 3 channels.* 20 of each"):
        opened(folder, max_images=10)
    paint(tmp_path / "three" / "green", 20, 1)
    for name in ("blue", "red"):
        (tmp_path / "three" / name).symlink_to(folder / name)
    with pytest.raises(ValueError, match=r"has .* of green.*; make a folder with two folders"):
        opened(tmp_path / "three")
    with pytest.raises(ValueError, match="is in no subfolder"):
        opened(folder / "red")
    with pytest.raises(ValueError, match="width must be a multiple of 8, got 20"):
        Config(width=20)
    with pytest.raises(ValueError, match="halvings must be at most 3, got 4"):
        Config(halvings=4)


def pictures_of(n, height=16, width=24):
    return {d: torch.rand(n, 3, height, width) * 2 - 1 for d in "ab"}


def test_g_begins_with_the_pictures_and_d_judges_both_domains():
    G, D = (kind(Config(height=16, width=24, channels=4)) for kind in (Generator, Discriminator))
    c = pictures_of(2)
    made = G(c)
    assert made.keys() == {"a", "b", "cycle_a", "cycle_b", "same_a", "same_b"}
    for name, source in (("a", "b"), ("cycle_a", "a"), ("same_a", "a"), ("b", "a")):
        torch.testing.assert_close(made[name], c[source], rtol=0, atol=0)
    logits = D(made)
    assert [t.shape for t in logits] == [(2, 1, 4, 6)] * 2
    torch.testing.assert_close(D({"a": made["a"], "b": c["b"]})[0], logits[0])
    with pytest.raises(ValueError, match=r"Discriminator: x must be .* \[N, 3, 16, 24\]"):
        D(pictures_of(1, 24, 24))
    with pytest.raises(ValueError, match=r"Generator: .*got a dict without 'b'"):
        G({"a": c["a"]})


def test_entries_are_those_of_the_translators():
    config = Config(height=16, width=24, channels=4, has_skip=False)
    G = Generator(config)
    c = pictures_of(3)
    with torch.no_grad():
        assert G(c).keys() == {"a", "b"}  # the phase that trains D reads no more
    made, whole = G.eval()(c), G(c)
    expected = {
        "b": G.a_to_b(c["a"]), "a": G.b_to_a(c["b"]), "same_b": G.a_to_b(c["b"]),
        "same_a": G.b_to_a(c["a"]),
    }  # fmt: skip
    expected |= {"cycle_a": G.b_to_a(expected["b"]), "cycle_b": G.a_to_b(expected["a"])}
    for name, picture in expected.items():
        torch.testing.assert_close(whole[name], picture)
    with torch.no_grad():
        made = G(c)
    assert made.keys() == {"a", "b", "cycle_a", "cycle_b"}
    torch.testing.assert_close(made["cycle_b"], expected["cycle_b"])
    assert not torch.allclose(expected["a"], expected["same_a"], atol=0.01)
    assert expected["a"].abs().max() <= 1
    assert Generator(Config(has_identity=False))(pictures_of(1)).keys() == made.keys()
    assert G(pictures_of(1, 8, 40))["cycle_a"].shape == (1, 3, 8, 40)  # any size


def test_the_term_is_the_sum_over_domains():
    x = {"a": torch.zeros(2, 3, 4, 4), "b": torch.ones(2, 3, 4, 4)}
    fake = {"cycle_a": x["a"] - 0.5, "cycle_b": x["b"] + 0.25, "same_a": x["a"], "same_b": x["a"]}
    for t in fake.values():
        t.requires_grad_()
    losses = Term(10.0, identity=0.5).generator_losses(fake, Batch(x, x), None)
    assert losses.keys() == {"cycle", "identity"}
    assert losses["cycle"].item() == pytest.approx(10 * 0.75)
    assert losses["identity"].item() == pytest.approx(5 * 1.0)
    sum(losses.values()).backward()
    torch.testing.assert_close(fake["cycle_b"].grad, torch.full((2, 3, 4, 4), 10 / 96))
    assert Term(identity=0.0).generator_losses(fake, Batch(x, x), None).keys() == {"cycle"}
    with pytest.raises(ValueError, match="cycle: G must return 'same_b' for the domain 'b'"):
        Term().generator_losses({k: fake[k] for k in fake if k != "same_b"}, Batch(x, x), None)
    with pytest.raises(ValueError, match=r"cycle: .*got a Tensor and a dict of G; leave the term"):
        Term().generator_losses(fake, Batch(x["a"], None), None)
    load_objective("least_squares", cycle={"weight": 10.0, "identity": 0.5})


class Colors(torch.nn.Module):
    """In the place of the feature extractor: the mean of each channel, and its square."""

    name, resize = "colors", "none"

    def forward(self, x):
        means = x.clamp(-1, 1).mean((2, 3))
        return torch.cat([means, means.square()], 1)


def test_the_classifier_separates_two_kinds():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 60, 8, generator=generator)
    a[:, 3] += 6
    w, bias = fit_classifier(a, b[:20])  # the kinds may differ in number
    assert (a.double() @ w + bias < 0).all()
    assert (b.double() @ w + bias > 0).all()


def test_metrics_of_known_translators(folder, monkeypatch):
    monkeypatch.setattr(metric, "EfficientNetLite0", Colors)
    pictures = opened(folder)
    evaluator = make_evaluator(pictures, batch=2)
    assert len(evaluator.dataset) == 5

    def values(translate):
        place = 0

        def sample(n):
            nonlocal place
            c = conditions(pictures, np.arange(place, place + n))
            place += n
            return translate(c)

        results = evaluator.evaluate(metric.NAMES, sample, 5)
        return {name: result.value for name, result in results.items()}

    same = values(lambda c: {"a": c["b"], "b": c["a"], "cycle_a": c["a"], "cycle_b": c["b"]})
    assert same["change_l1_a"] == same["change_l1_b"] == same["cycle_l1_a"] == 0
    assert same["kid_a"] == pytest.approx(same["kid_untranslated"])
    assert same["kid_b"] == pytest.approx(same["kid_untranslated"])
    assert (same["accepted_a"], same["accepted_b"], same["accepted_real"]) == (0, 0, 1)

    def swap(c):  # red and blue
        a, b = (c[d].flip(1) for d in "ba")
        return {"a": a, "b": b, "cycle_a": c["a"] + 0.5, "cycle_b": c["b"] - 0.25}

    swapped = values(swap)
    assert swapped["kid_a"] < 0.2 * same["kid_a"]
    assert swapped["kid_b"] < 0.2 * same["kid_b"]
    assert (swapped["accepted_a"], swapped["accepted_b"]) == (1, 1)
    assert swapped["cycle_l1_a"] == pytest.approx(0.5)
    assert swapped["cycle_l1_b"] == pytest.approx(0.25)
    assert swapped["change_l1_a"] > 0.5


def test_halves_of_a_batch_are_a_step_of_the_whole():
    """As processes compute them: the losses are means over samples, and each is normed alone."""
    config = load_recipe("cycle")(height=16, width=16, batch=4, model={"channels": 2, "blocks": 1})
    found = []
    for batch_gpu in (None, 2):
        torch.manual_seed(0)
        model = dataclasses.replace(config.model, has_skip=False)
        G, D = (kind(model).double() for kind in (Generator, Discriminator))
        x = {d: t.double() for d, t in pictures_of(4, 16, 16).items()}
        state = create_state(config.with_changes(batch_gpu=batch_gpu), G, D, grid_c=x)
        for _ in range(2):
            train_step(state, Batch(x, x))
        found.append(state.saved_tensors())
    for name, t in found[0].items():
        if name.startswith(("G.", "D.", "G_ema.")):
            torch.testing.assert_close(found[1][name], t, rtol=1e-6, atol=1e-9, msg=name)


FLAGS = ["--batch", 4, "--tick", 0.004, "--snap", 100, "--metrics", "none"]


def test_a_run_is_resumed_bit_for_bit_and_shows_both_translations(folder, tmp_path, monkeypatch):
    words = ["train", "--cfg", "cycle", "--data", folder, *FLAGS, "--outdir"]
    output = run(*words, tmp_path / "whole", "--kimg", 0.012)
    assert "25 of blue (a) and 30 of red (b), 24x16 pixels" in output
    run(*words, tmp_path / "parts", "--kimg", 0.008)
    whole, parts = (next((tmp_path / name).iterdir()) for name in ("whole", "parts"))
    assert "resumed from" in run("train", "--resume", parts, "--kimg", 0.012, *FLAGS)
    digests = [
        re.findall(r"digest (\w+)", (path / "log.txt").read_text())[-1] for path in (whole, parts)
    ]
    assert digests[0] == digests[1]
    # a row for each of the 5 held-out pairs, six pictures in it
    assert size_of(whole / "fakes000000_012.png") == (6 * (24 * 4 + 2) - 2, 5 * (16 * 4 + 2) - 2)
    assert "A to B" in (whole / "report.html").read_text()
    stats = (whole / "stats.jsonl").read_text()
    assert "Loss/cycle" in stats
    assert "Loss/identity" in stats
    output = run(
        "generate", "--network", whole, "--seeds", "0-1", "--grid", "--outdir", tmp_path / "made"
    )
    assert "2 pairs of pictures written" in output
    made = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert made == ["grid.png", *(f"seed000{i}_{d}.png" for i in (0, 1) for d in "ab")]
    assert size_of(tmp_path / "made/seed0001_b.png") == (24, 16)
    Image.new("RGB", (60, 50)).save(tmp_path / "photo.png")
    words = ["generate", "--network", whole, "--input", tmp_path / "photo.png"]
    run(*words, "--outdir", tmp_path)
    assert [size_of(tmp_path / f"photo-cycle_{d}.png") for d in "ab"] == [(24, 16)] * 2
    monkeypatch.setattr(metric, "EfficientNetLite0", Colors)
    output = run("evaluate", "--network", whole, "--num", 5)
    assert re.search(r"kid_untranslated +\d", output)
    assert "5 generated and 5 real pairs of pictures" in output


@pytest.mark.slow
def test_the_recipe_translates_both_ways(tmp_path):
    """The acceptance run of docs/other-samples.md."""
    if available() is not None:
        pytest.skip(available())
    run("train", "--cfg", "cycle", "--outdir", tmp_path)
    folder = next(tmp_path.iterdir())

    def last(name):
        line = (folder / f"metric-{name}.jsonl").read_text().splitlines()[-1]
        return json.loads(line)["results"][name]

    assert last("kid_a") < 0.85 * last("kid_untranslated")
    assert last("kid_b") < 0.5 * last("kid_untranslated")
    for domain in "ab":
        assert last(f"cycle_l1_{domain}") < 0.03
        assert last(f"change_l1_{domain}") > 2 * last(f"cycle_l1_{domain}")
        assert last(f"accepted_{domain}") > 0.75
