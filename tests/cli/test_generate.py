# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastgan.cli.control.seeds import parse_seeds

SEEDS = st.integers(0, 2**32 - 1)


@given(st.lists(SEEDS, min_size=1, max_size=30))
def test_a_list_of_seeds_is_itself_without_repeats(seeds):
    assert parse_seeds(",".join(map(str, seeds))) == list(dict.fromkeys(seeds))


@given(first=st.integers(0, 10**6), length=st.integers(0, 500))
def test_a_range_holds_both_ends(first, length):
    assert parse_seeds(f"{first}-{first + length}") == list(range(first, first + length + 1))


@given(st.text(max_size=20))
def test_any_text_is_seeds_or_refused(text):
    try:
        seeds = parse_seeds(text)
    except ValueError:
        return
    assert seeds
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got ''"),
        ("1,,2", "got ''"),
        ("-1", "got '-1'"),
        ("1.5", "got '1.5'"),
        ("5-3", "write 3-5"),
        ("4294967296", "at most 4294967295"),
        ("0-9999999", "at most 1000000 seeds"),
    ],
)
def test_bad_seeds_are_refused_by_the_command(cli, text, words):
    output = cli("generate", "--network", "latest", f"--seeds={text}", code=2).output

    assert "--seeds" in output
    assert words in output


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_seed_gives_the_same_image_in_any_list(cli, trained):
    cli("generate", "--network", trained, "--seeds", "0,3,5-9", "--outdir", "a", "--grid")
    cli("generate", "--network", trained, "--seeds", "3", "--outdir", "b")

    names = sorted(path.name for path in (cli.folder / "a").iterdir())
    assert names == ["grid.png", *(f"seed{seed:04d}.png" for seed in (0, 3, 5, 6, 7, 8, 9))]
    one, other = (_pixels(cli.folder / "a" / f"seed000{seed}.png") for seed in (3, 5))
    same = _pixels(cli.folder / "b" / "seed0003.png")
    assert one.shape == (8, 8, 3)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_truncation_changes_the_image(cli, trained):
    for trunc in (1, 0.2):
        cli("generate", "--network", trained, "--seeds", 1, "--trunc", trunc, "--outdir", trunc)

    full, cut = (_pixels(cli.folder / f"{t}/seed0001.png") for t in ("1", "0.2"))
    assert not np.array_equal(full, cut)


def test_a_checkpoint_file_is_a_network_too(cli, trained):
    path = next((trained / "checkpoints").glob("*.json"))
    output = cli("generate", "--network", path, "--seeds", 0).output

    assert path.with_suffix(".safetensors").name in output
    assert (cli.folder / "out" / "seed0000.png").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--class", "1"], "has no classes"),
        (["--noise-mode", "random"], "has no noise inputs"),
        (["--trunc", "-1"], "--trunc"),
        (["--grid", "--seeds", "0-5000"], "at most 1024"),
        (["--input", "."], "takes no picture or sound; leave it out"),
    ],
)
def test_flags_without_effect_are_refused(cli, trained, flags, words):
    output = cli("generate", "--network", trained, *flags, code=2).output

    assert words in " ".join(output.split())


def test_a_network_that_is_not_there(cli):
    assert "no run with a checkpoint" in cli("generate", "--network", "latest", code=2).output
    output = " ".join(cli("generate", "--network", "nowhere", code=2).output.split())
    assert "'nowhere'" in output


def test_a_damaged_checkpoint_is_refused(cli, trained):
    copy = cli.folder / "copy"
    copy.mkdir()
    for path in (trained / "checkpoints").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    tensors = next(copy.glob("*.safetensors"))
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)

    assert "damaged" in cli("generate", "--network", tensors, code=1).output
