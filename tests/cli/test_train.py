# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from _small_networks import SMALL_RECIPES
from PIL import Image

from fastgan.losses.adversarial import Relativistic

FAST = ["--batch", 4, "--cfg", "mlp"]


def _options(run_dir):
    return json.loads((run_dir / "training_options.json").read_text(encoding="utf-8"))


def _kimg(run_dir):
    lines = (run_dir / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["kimg"] for line in lines]


@pytest.mark.parametrize("cfg", SMALL_RECIPES)
def test_every_cfg_trains_end_to_end(cli, images, cfg):
    output = cli("train", "--data", images, "--kimg", 0.02, "--cfg", cfg, "--batch", 4).output
    (run_dir,) = (cli.folder / "runs").iterdir()

    assert run_dir.name.startswith(f"00000-noise-{cfg}-batch4")
    for name in ("training_options.json", "log.txt", "stats.jsonl", "reals.png",
                 "fakes000000_020.png", "progress.gif", "report.html"):  # fmt: skip
        assert (run_dir / name).stat().st_size > 0, name
    augment = _options(run_dir)["augment"]
    p = augment["p"] if augment["mode"] == "fixed" else 0.0
    assert re.search(rf"tick 0 +kimg \d.* sec/kimg \d.* gpumem 0.00 +augment {p:.3f}", output)
    assert "backends    " in output
    assert "step        phases run eagerly: a cpu device has no CUDA graphs" in output
    assert "finished at 0.0 kimg" in output


def test_flags_reach_the_options(cli, images):
    cli("data", "convert", images, "noise.zip", "--labels", "folders")
    cli("train", "--data", "noise.zip", "--cfg", "stylegan2-small", "--batch", 4, "--kimg", 0.008,
        "--gamma", 0.5, "--glr", 0.003, "--dlr", 0.004, "--cbase", 64, "--cmax", 16,
        "--map-depth", 1, "--mbstd-group", 2, "--seed", 9, "--tick", 0.004, "--snap", 2,
        "--mirror", "true", "--cond", "true", "--class-balance", 0.5, "--desc", "my words",
        "--outdir", "elsewhere",
        "--resolution", "16x8", "--aug", "fixed", "--p", 0.3, "--metrics", "None",
        "--capture", "off")  # fmt: skip
    run_dir = cli.folder / "elsewhere" / "00000-noise-stylegan2-small-batch4-gamma0.5-my_words"
    options = _options(run_dir)
    model, data = options["model"], options["data"]

    assert (options["r1_gamma"], options["seed"], options["metrics"]) == (0.5, 9, [])
    assert (options["g_optimizer"]["lr"], options["d_optimizer"]["lr"]) == (0.003, 0.004)
    assert (model["channel_base"], model["channel_max"], model["mapping_layers"]) == (64, 16, 1)
    assert (model["mbstd_group"], model["c_dim"]) == (2, 2)
    assert (model["img_height"], model["img_width"]) == (8, 16)
    assert (data["mirror"], data["use_labels"], data["resolution"]) == (True, True, [8, 16])
    assert data["class_balance"] == 0.5
    assert (options["augment"]["mode"], options["augment"]["p"]) == ("fixed", 0.3)
    assert (options["tick_kimg"], options["snapshot_every_ticks"]) == (0.004, 2)
    assert options["capture"] == "off"
    log = (run_dir / "log.txt").read_text(encoding="utf-8").splitlines()
    assert log.count("phases run eagerly: capture is off") == 1


def test_a_recipe_that_derives_from_the_batch_sees_it(cli, images):
    gammas = []
    for batch in (4, 8):
        output = cli(
            "train", "--data", images, "--cfg", "stylegan2-small", "--dry-run", "--batch", batch
        )
        gammas.append(float(re.search(r'"r1_gamma": ([\d.e-]+)', output.output)[1]))

    assert gammas[0] == pytest.approx(2 * gammas[1])


def test_r3gan_has_one_gamma_and_refuses_a_size_in_words(cli, images):
    options = ("--data", images, "--cfg", "r3gan-small", "--dry-run")
    output = cli("train", *options, "--gamma", 0.5).output
    assert output.count('_gamma": 0.5') == 2
    output = cli("train", *options, "--resolution", "16x8", code=1).output
    assert "got 8×16 (height × width); resize the images with --resolution" in output


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ([], "fp32"),
        (["--bf16"], "bf16"),
        (["--fp32", "false"], "bf16"),
        (["--fp32", "true"], "fp32"),
    ],
)
def test_precision(cli, images, flags, precision):
    output = cli("train", "--data", images, "--cfg", "mlp", "--dry-run", *flags).output

    assert f'"precision": "{precision}"' in output


def test_how_cuda_computes_has_a_flag_each_and_is_said(cli, images):
    flags = ("--tf32", "false", "--nobench", 1, "--deterministic", "--recompute", "off")
    output = cli("train", "--data", images, "--cfg", "mlp", "--dry-run", *flags).output

    for setting in ('"tf32": false', '"cudnn_benchmark": false', '"deterministic": true'):
        assert setting in output
    assert '"recompute": "off"' in output
    assert "precision   float32\n" in output
    assert "backends    TF32, cuDNN benchmark and deterministic have no effect on a CPU" in output


def test_a_dry_run_writes_nothing(cli):
    output = cli("train", "--dry-run").output

    assert "the run folder would be runs/00000-avatars64-faces" in output
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--freezed", 4], "--freezed: has no effect with --cfg faces"),
        (["--fp32", "true", "--bf16"], "--bf16 and --fp32 true exclude each other"),
        (["--bf16", "--fp16"], "--bf16 and --fp16 exclude each other"),
        (["--fp16"], "--fp16: has no effect with --cfg faces"),
        (["--cfg", "stylegan9"], "'stylegan9' is not one of"),
        (["--resolution", "8x"], "expected 64 or 64x48"),
        (["--cfg", "dcgan", "--cbase", 64], "works with --cfg"),
        (["--cfg", "dcgan", "--map-depth", 2], "works with --cfg"),
        (["--cfg", "mlp", "--cmax", 2], "works with --cfg auto, cifar, dcgan,"),
        (["--cfg", "dcgan", "--p", 0.5], "--p: has no effect with --aug noaug"),
        (["--cfg", "dcgan", "--aug", "fixed"], "--aug: fixed needs a probability"),
        (["--aug", "fixed", "--p", 0.5, "--target", 0.6], "--target: has no effect"),
        (["--aug", "ada", "--target", 1], "1.0 is not in the range 0<=x<1"),
        (["--metrics", "fid"], "fid is computed by `fastgan evaluate` alone"),
        (["--metrics", "fid50k_full"], "there is no metric 'fid50k_full'"),
        (["--device", "cuda"], "sees no CUDA device"),
        (["--device", "gpu"], "expected cpu, cuda or cuda:N"),
        (["--kimg", 0], "--kimg"),
        (["--resume", "latest"], "no run with a checkpoint"),
        (
            ["--batch-gpu", 3, "--batch", 8],
            "--batch-gpu: 3 does not divide the 8 images of a process (--batch 8, 1 process); "
            "numbers near it that do: 4, 8",
        ),
        (
            ["--cfg", "r3gan", "--resolution", 64, "--batch-gpu", 24],
            "--batch-gpu: 24 does not divide the 256 images of a process (--batch 256, 1 process); "
            "numbers near it that do: 8, 16, 32, 64",
        ),
    ],
)
def test_refusals_name_the_flag_and_leave_no_run(cli, images, flags, words):
    if flags[:2] == ["--device", "cuda"]:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    output = cli("train", "--data", images, "--dry-run", *flags, code=2).output

    assert words in " ".join(output.split())
    assert not (cli.folder / "runs").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--gpus", 3, "--batch", 4], "batch: expected a multiple of the 3 processes, got 4"),
        (["--cfg", "stylegan2", "--mbstd-group", 8], "--batch-gpu: D compares groups of 8 samples"),
    ],
)
def test_errors_of_the_engine_are_words_not_traces(cli, images, flags, words):
    output = cli("train", "--data", images, "--dry-run", *flags, code=1).output

    assert f"Error: {words}" in output or words in output.splitlines()[-1]
    assert "architecture" not in output  # the configuration is not printed before
    assert not (cli.folder / "runs").exists()


def test_resume_goes_on_in_the_same_folder(cli, images):
    cli("train", "--data", images, *FAST, "--kimg", 0.02, "--tick", 0.008)
    (run_dir,) = (cli.folder / "runs").iterdir()
    assert "--kimg to train for longer" in cli("train", "--resume", "latest").output

    output = cli("train", "--resume", run_dir, "--kimg", 0.04, "--batch", 4, "--bf16").output

    assert "at 0.0 kimg" in output
    assert list((cli.folder / "runs").iterdir()) == [run_dir]
    assert (_options(run_dir)["total_kimg"], _options(run_dir)["precision"]) == (0.04, "bf16")
    assert "settings changed, so the run does not continue bit for bit: precision: fp32 → bf16" in (
        run_dir / "log.txt"
    ).read_text(encoding="utf-8")
    kimg = _kimg(run_dir)
    assert kimg == sorted(set(kimg))
    assert kimg[-1] == 0.04


@pytest.mark.parametrize(
    "flags",
    [["--batch", 8], ["--cfg", "dcgan"], ["--gamma", 3], ["--cond", "true"], ["--seed", 1],
     ["--resolution", "9x7"], ["--cbase", 5], ["--loss", "hinge"], ["--r2", 3], ["--ema", 2],
     ["--optimizer", "adamw"]],
)  # fmt: skip
def test_a_resumed_run_refuses_other_options_by_name(cli, trained, flags):
    output = cli("train", "--resume", trained, "--dry-run", *flags, code=2).output

    assert f"{flags[0]}: {flags[1]}" in " ".join(output.split()).replace("True", "true")
    assert "keeps its options" in " ".join(output.split())


def test_a_resumed_run_without_16_bit_layers_refuses_fp16_by_name(cli, trained):
    output = cli("train", "--resume", trained, "--dry-run", "--fp16", code=2).output
    assert "Invalid value for --fp16: has no effect on this run of" in " ".join(output.split())


def test_a_resumed_run_takes_its_own_options_again(cli, images, trained):
    output = cli("train", "--resume", trained, "--kimg", 1, *FAST, "--gamma", 1, "--data", images,
                 "--resolution", 8, "--cond", "false", "--loss", "relativistic", "--r1", 1, "--gp",
                 0, "--ema", 5, "--optimizer", "adam", "--dry-run").output  # fmt: skip

    assert "dry run: the run folder would be" in output


def test_a_resumed_run_resizes_other_images_when_told_so(cli, images, trained):
    larger = cli.folder / "larger"
    larger.mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(larger / f"{i}.png")
    shutil.copytree(trained, cli.folder / "runs" / trained.name)
    resume = ("train", "--resume", "latest", "--kimg", 0.04, "--data", larger)
    for flags in (("-n",), ()):
        output = cli(*resume, *flags, code=1).output
        assert "the model takes images (3, 8, 8) and c_dim 0, but" in " ".join(output.split())
    output = cli(*resume, "--resolution", 8).output
    assert "Training finished at 0.0 kimg" in output


def test_minutes_stop_and_save(cli, images):
    output = cli("train", "--data", images, *FAST, "--minutes", 0.001).output

    assert "Training finished after 0.001 minutes at 0.0 kimg; it is saved in runs/" in output
    assert (
        "To continue:         fastgan train --resume runs/00000-noise-mlp-batch4-gamma1" in output
    )
    assert list(cli.folder.glob("runs/*/checkpoints/ckpt-*.json"))
    (run_dir,) = (cli.folder / "runs").iterdir()
    log = (run_dir / "log.txt").read_text(encoding="utf-8")
    assert log.rstrip().endswith(": finished")
    assert "the run ends after 0.001 minutes, saved (--minutes)" in log
    for path in run_dir.glob("*.*"):
        assert b"interrupted" not in path.read_bytes(), path


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_a_signal_saves_exits_0_and_resumes(cli, images, numbers):
    command = "from fastgan.cli import main; main()"
    flags = [str(flag) for flag in ("train", "--data", images, *FAST, "--tick", 0.02)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", command, *flags], cwd=cli.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    limit = threading.Timer(200, process.kill)
    limit.start()
    with process:
        seen = ""
        for line in process.stdout:
            seen += line
            if line.startswith("tick 2"):
                for number in numbers:
                    process.send_signal(number)
                    time.sleep(0.005)
                break
        seen += process.stdout.read()
    limit.cancel()

    assert process.returncode == 0, seen
    assert "Training stopped on request at" in seen
    (run_dir,) = (cli.folder / "runs").iterdir()
    cli("train", "--resume", "latest", "--kimg", _kimg(run_dir)[-1] + 0.5, "--minutes", 0.001)


def test_a_conditional_run_generates_by_class(cli, images):
    cli("data", "convert", images, "noise.zip", "--labels", "folders")
    cli("train", "--data", "noise.zip", *FAST, "--kimg", 0.008, "--cond", "true")
    for index in (0, 1):
        cli("generate", "--network", "latest", "--seeds", 5, "--class", index, "--outdir", index)
    pictures = [(cli.folder / f"{index}/seed0005.png").read_bytes() for index in (0, 1)]

    assert pictures[0] != pictures[1]
    output = cli("generate", "--network", "latest", "--class", 2, code=2).output
    assert "has classes 0 to 1, got 2" in " ".join(output.split())


def test_what_no_flag_names_stays_as_the_recipe_has_it(cli):
    from fastgan.training.config.recipes import load_recipe

    output = cli("train", "--dry-run", "--device", "cpu").output
    options = json.loads("{" + output.partition("{")[2].rpartition("}")[0] + "}")

    expected = load_recipe("faces")(resolution=(64, 64)).to_dict()
    assert options == expected


def test_a_run_that_fails_before_it_starts_leaves_no_folder(cli):
    images = cli.folder / "data"
    images.mkdir()
    Image.new("RGB", (16, 16)).save(images / "good.png")
    (images / "torn.png").write_bytes(b"not a picture")
    result = cli("train", "--data", images, code=1)
    assert "torn.png" in result.output
    assert "its content is no PNG" in result.output
    assert not (cli.folder / "runs").exists()


def test_numbers_that_stay_broken_are_exit_code_3(cli, images, monkeypatch):
    nan = float("nan")
    monkeypatch.setattr(Relativistic, "_d_loss", lambda self, real, fake: (real * nan).mean())
    output = cli("train", "--data", images, *FAST, "--kimg", 1, "--tick", 0.02, code=3).output

    assert "rollback 3 of 3" in output
    assert "after 3 rollbacks, at kimg" in output
    assert "The last good checkpoint is none" in output
