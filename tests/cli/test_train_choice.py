# SPDX-License-Identifier: Apache-2.0
"""What `fastgan train` chose and why, in its output and in log.txt."""

import importlib
from pathlib import Path

import click
import pytest

from fastgan.cli import train_choice
from fastgan.cli.train_config import new_config
from fastgan.cli.train_options.fields import apply_options
from fastgan.training import predict
from fastgan.training.config.recipes import load_recipe
from fastgan.training.config.run import InitConfig


def lines_of(text):
    return [line.partition("chosen")[2].strip() for line in text.splitlines() if "chosen " in line]


def r3gan_line(batch_gpu):
    return (
        f"r3gan: batch-gpu {batch_gpu}, predicted to fit into 80 GB of a GPU's memory; the "
        "published number is not known, and a smaller --batch-gpu needs less memory"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cfg", "auto", "--gpus", 2],
         ["auto: StyleGAN2 by the rules of stylegan2-ada-pytorch, for 8x8 pixels and 2 CPU "
          "processes",
          "auto: batch 64 (min(gpus·min(4096 / 8, 32), 64), but at least gpus), cbase 16384 (32768 "
          "from 512 pixels on, else 16384), learning rate 0.0025 (0.002 from 1024 pixels on, else "
          "0.0025), gamma 0.0002 (0.0002·8·8 / batch), half-life of the average 20 kimg "
          "(batch·10 / 32)",
          "auto: batch-gpu 32, the whole share of a process; a smaller --batch-gpu needs less "
          "memory"]),
        (["--cfg", "auto", "--gamma", 3, "--batch", 16, "--batch-gpu", 4, "--glr", 1, "--cbase", 9],
         ["auto: StyleGAN2 by the rules of stylegan2-ada-pytorch, for 8x8 pixels and 1 CPU process",
          "auto: half-life of the average 5 kimg (batch·10 / 32)"]),
        (["--cfg", "r3gan", "--resolution", 64],
         ["preset FFHQ-64: the published one for 64x64 images with no classes", r3gan_line(32)]),
        (["--cfg", "r3gan", "--resolution", 64, "--preset", "ImageNet-64"],
         ["preset ImageNet-64: the published run was conditional; --cond true is that",
          r3gan_line(64)]),
        (["--cfg", "r3gan", "--resolution", 64, "--preset", "FFHQ-64", "--gpus", 16],
         [r3gan_line(16)]),
        (["--cfg", "r3gan", "--resolution", 64, "--preset", "FFHQ-64", "--batch-gpu", 2], []),
        (["--cfg", "stylegan3-r"],
         ["gamma 0.002: 0.001·8·8 / 32, as it is published for sides of 256, 512, 1024 alone; try "
          "--gamma with half to four times that"]),
        (["--cfg", "stylegan3-r", "--gamma", 2], []),
        (["--cfg", "stylegan3-t", "--resolution", 512], []),
        (["--cfg", "stylegan2", "--gpus", 16],
         ["mbstd-group 2: the published 4 does not divide the 2 images of a process (batch 32, 16 "
          "processes); a --batch that is a multiple of 64 keeps it"]),
        (["--cfg", "stylegan3-r", "--gpus", 3, "--batch", 30, "--gamma", 2],
         ["mbstd-group 2: the published 4 does not divide the 10 images of a process (batch 30, 3 "
          "processes); a --batch that is a multiple of 12 keeps it"]),
        (["--cfg", "stylegan2", "--gpus", 16, "--mbstd-group", 2], []),
        (["--cfg", "stylegan2", "--gpus", 8], []),
        (["--cfg", "cifar"],
         ["cifar: published for 32x32 pixels; gamma 0.01, batch 64, cbase 32768, learning rate "
          "0.0025 and all other settings are kept for 8x8, because none of them is published for "
          "another size; --cfg auto computes them from it"]),
        (["--cfg", "cifar", "--resolution", 32], []),
        (["--cfg", "paper256", "--gamma", 2, "--batch", 32, "--cbase", 9, "--glr", 1], []),
        (["--exchange-buckets", 4, "--exchange-dtype", "bf16", "--gpus", 2], []),
        (["--exchange-buckets", 4, "--exchange-dtype", "bf16"],
         ["exchange-buckets 4: no effect, one process exchanges no gradients; --gpus and "
          "torchrun start several",
          "exchange-dtype bf16: no effect, one process exchanges no gradients; --gpus and "
          "torchrun start several"]),
        (["--deterministic", "--aug", "noaug"], ["deterministic: no effect on a CPU"]),
        (["--deterministic", "--aug", "fixed", "--p", 0.2],
         ["deterministic: no effect on a CPU, and on CUDA it is refused with --aug fixed; add "
          "--aug noaug"]),
        ([], []),
        (["--aug", "ada"],
         ["cfg few-shot: --aug ada on 8 images, fewer than 1,000; it has the weak penalty with "
          "which augmentation helps; --cfg faces takes the usual recipe"]),
        (["--aug", "ada", "--cfg", "faces"], []),
        (["--aug", "fixed", "--p", 0.2], []),
    ],
)  # fmt: skip
def test_what_was_chosen_is_said(cli, images, flags, words):
    output = cli("train", "--data", images, "--device", "cpu", "-n", *flags).output
    assert lines_of(output) == words


@pytest.mark.parametrize(
    ("given", "count", "cfg"),
    [
        ({"aug": "ada"}, 999, "few-shot"),
        ({"aug": "ada"}, 1000, "faces"),
        ({"aug": "ada", "subset": 999}, 1000, "few-shot"),
        ({"aug": "ada", "subset": 2000}, 999, "few-shot"),
        ({"aug": "fixed"}, 999, "faces"),
        ({}, 999, "faces"),
        ({"aug": "ada", "cfg": "faces"}, 999, "faces"),
    ],
)
def test_ada_on_few_images_has_a_recipe_of_its_own(given, count, cfg):
    options = {"cfg": "faces", "init_from": None}
    found, lines = train_choice.choose_cfg(options, given, count)
    assert (found, len(lines)) == (cfg, cfg == "few-shot")
    assert train_choice.choose_cfg(options | {"init_from": "x"}, given, count) == ("faces", [])


def test_few_avatars_with_ada_are_avatars():
    options = {"outdir": Path("runs"), "cfg": "faces", "data": "avatars", "resolution": None,
               "cond": False, "init_from": None, "gpus": 1, "desc": None}  # fmt: skip
    config, name, _ = new_config(options, {"aug": "ada", "subset": 20, "device": "cpu"})
    assert (config.name, config.data.path, name) == (
        "few-shot", "avatars", "avatars64-few-shot-batch16-gamma0.01",
    )  # fmt: skip


def test_widths_of_weights_are_no_choice():
    config = load_recipe("auto")(resolution=(32, 32))
    _, line = train_choice.explain(config, {}, "auto", 1)
    assert "cbase 16384 (32768 from 512 pixels on" in line
    started = config.with_changes(init_from=InitConfig(path="x", sha256="0"))
    _, line = train_choice.explain(started, {}, "auto", 1)
    assert line.startswith("auto: batch 32 (")
    assert "cbase" not in line


@pytest.mark.parametrize(
    ("option", "now"),
    [({"bf16": True}, "bfloat16 in all layers of G and D"), ({"fp32": True}, "float32")],
)
def test_a_resumed_run_says_that_its_16_bit_layers_are_dropped(option, now):
    before = load_recipe("paper256")(resolution=(256, 256))
    (line,) = train_choice.dropped_half(apply_options(before, option), before)
    assert line.startswith(
        "precision: the run had bfloat16 in the 4 largest sizes of G and D, float32 elsewhere; "
        f"from here on it has {now}. "
    )
    assert train_choice.dropped_half(before, before) == []
    small = load_recipe("faces")(resolution=(64, 64))
    assert train_choice.dropped_half(apply_options(small, option), small) == []


def test_log_txt_says_it_too(cli, images):
    flags = ("--cbase", 64, "--cmax", 8, "--batch", 4, "--kimg", 0.004, "--device", "cpu")
    output = cli("train", "--data", images, "--cfg", "auto", *flags).output
    (run_dir,) = (cli.folder / "runs").iterdir()
    log = (run_dir / "log.txt").read_text(encoding="utf-8").splitlines()
    assert lines_of(output) == [line for line in log if line.startswith("auto: ")]
    assert len(lines_of(output)) == 3


@pytest.mark.parametrize(
    ("cfg", "found", "gpus", "line"),
    [
        ("auto", 8, 2,
         "auto: batch-gpu 8, the largest predicted to fit into 79.0 of the GPU's 80.0 GiB"),
        ("r3gan", 16, 2,
         "r3gan: batch-gpu 16, the largest predicted to fit into 79.0 of the GPU's 80.0 GiB"),
        ("auto", None, 1,
         "not even the smallest --batch-gpu is predicted to fit into the GPU's 80.0 GiB; use a "
         "smaller --cbase"),
        ("r3gan", None, 1, "GPU's 80.0 GiB; use a smaller --resolution, or --cfg r3gan-small"),
    ],
)  # fmt: skip
def test_the_memory_of_the_gpu_is_what_may_be_used(monkeypatch, cfg, found, gpus, line):
    asked = []

    def largest(*args, **options):
        asked.append((*args, options))
        return found

    monkeypatch.setattr(train_choice, "_gpu_memory", lambda: 80 * 2**30)
    memory = importlib.import_module("fastgan.training.needs.memory")
    monkeypatch.setattr(memory, "largest_batch_gpu", largest)
    config = load_recipe(cfg)(resolution=(64, 64), gpus=gpus, device="cuda")
    if found is None:
        with pytest.raises(click.BadParameter, match=line):
            train_choice.fit_memory(config, cfg, gpus)
    else:
        chosen, said = train_choice.fit_memory(config, cfg, gpus)
        assert (chosen, said) == (config.with_changes(batch_gpu=found), [line])
    assert asked == [(config, 79 * 2**30, {"gpus": gpus})]


@pytest.mark.parametrize(
    ("mode", "gib", "left"), [("auto", 10, 69), ("auto", 11, 79), ("on", 11, 68), ("off", 10, 79)]
)
def test_memory_is_left_for_images_on_the_gpu(monkeypatch, mode, gib, left):
    monkeypatch.setattr(train_choice, "_gpu_memory", lambda: 80 * 2**30)
    memory = importlib.import_module("fastgan.training.needs.memory")
    monkeypatch.setattr(memory, "largest_batch_gpu", lambda config, free, gpus: free // 2**30)
    config = load_recipe("r3gan")(resolution=(64, 64), batch=69 * 68 * 79, device="cuda")
    config = config.with_changes(data={"on_device": mode})
    chosen, (line,) = train_choice.fit_memory(config, "r3gan", 1, data_bytes=gib * 2**30)
    assert chosen.batch_gpu == left
    assert (f"; {gib}.0 are for the images (--data-on-gpu)" in line) == (left < 79)


@pytest.mark.slow
def test_less_memory_means_fewer_images_at_once(monkeypatch):
    config = load_recipe("auto")(resolution=(32, 32), model={"channel_base": 256}, device="cuda")
    few = config.model.mbstd_group
    assert few < config.batch
    for n in (config.batch, few):
        memory = 2**30 + predict(config, batch_gpu=n).memory.total
        monkeypatch.setattr(train_choice, "_gpu_memory", lambda memory=memory: memory)
        assert train_choice.fit_memory(config, "auto", 1)[0].batch_gpu == n
    monkeypatch.setattr(train_choice, "_gpu_memory", lambda: 2**30)
    with pytest.raises(click.BadParameter, match="not even the smallest --batch-gpu"):
        train_choice.fit_memory(config, "auto", 1)
