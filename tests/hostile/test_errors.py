# SPDX-License-Identifier: Apache-2.0
"""What the system or a person does wrong is said in words, with the file or the option, once."""

import resource
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fastgan import cli
from fastgan.atomic import append, write_atomic
from fastgan.data.convert import convert
from fastgan.data.pack import pack


@pytest.fixture
def full_disk(images):
    """No file of this process grows beyond 4 KiB, as on a disk with no more space."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    return folder


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda path, images: write_atomic(path / "a.png", b"a" * 9000), "a.png"),
        (lambda path, images: append(path / "log.txt", "a" * 9000), "log.txt"),
        (lambda path, images: convert(images, path / "a.zip"), "a.zip"),
        (lambda path, images: pack(images, path / "a.fgpack"), "a.fgpack"),
    ],
    ids=["write_atomic", "append", "convert", "pack"],
)
def test_a_disk_that_is_full_is_said_with_the_file(write, name, images, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(OSError, match=f"{name} cannot be written: .*; free space there, or choose"):
        write(folder, images)
    assert {p.name for p in folder.iterdir()} <= {"log.txt"}


def run(*words):
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def assert_said(result, *words):
    """The command ended with a message of one line, and no traceback."""
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    for word in words:
        assert word in result.output


def test_a_system_error_of_any_command_names_its_file(monkeypatch):
    @click.command()
    def command():
        Path("/proc/nowhere/a").mkdir(parents=True)

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda self, ctx, name: command)
    assert_said(run("generate"), "Error: /proc/nowhere", "No such file or directory")


def test_a_setting_that_is_no_setting(monkeypatch):
    from fastgan import environment

    @click.command()
    def command():
        environment.backend()

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda self, ctx, name: command)
    monkeypatch.setenv("FASTGAN_BACKEND", "foo")
    assert_said(run("doctor"), "Error: FASTGAN_BACKEND: expected one of auto, reference, got 'foo'")


def test_control_characters_of_a_name_reach_no_terminal(tmp_path):
    (tmp_path / "a\x1b]0;owned\x07\u202eb.png").write_bytes(b"no image")
    result = run("data", "info", tmp_path)
    assert_said(result, "\\u001b]0;owned\\u0007\\u202eb.png")
    assert "\x1b" not in result.output


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e999"])
@pytest.mark.parametrize("option", ["--kimg", "--tick", "--class-balance", "--p", "--gamma"])
def test_numbers_without_an_end(option, value):
    assert_said(run("train", option, value), option.removeprefix("--"))


def test_a_batch_that_no_machine_computes_is_refused_at_once():
    assert_said(run("train", "--batch", 10**9), "1<=x<=1048576")


def test_every_number_of_the_command_line_is_finite():
    """No option takes click's own FloatRange or float, which accept inf and nan."""
    sources = Path(cli.__file__).parent.rglob("*.py")
    text = {path: path.read_text(encoding="utf-8") for path in sources}
    ours = {path for path, code in text.items() if "click.FloatRange" in code}
    assert {path.name for path in ours} == {"shared_options.py"}
    assert not [path for path, code in text.items() if "type=float" in code]
