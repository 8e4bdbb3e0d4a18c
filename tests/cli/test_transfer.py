# SPDX-License-Identifier: Apache-2.0
"""`fastgan train --init-from`: a new run with the weights of another one."""

import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import fastgan
from fastgan.models import stylegan2
from fastgan.training import TrainConfig, build_state
from fastgan.training.checkpoint import checkpoint

PUBLISHED = Path(__file__).parents[1] / "compat" / "published"
SMALL = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8, "mapping_layers": 1}
TRAIN = ("train", "--cfg", "stylegan2-small", "--batch", 4, "--kimg", 0.008)


@pytest.fixture
def imported(cli):
    """The folder "faces", as `fastgan import` writes one."""
    model = stylegan2.Config(img_height=8, img_width=8, **SMALL)
    config = TrainConfig(name="imported stylegan2", architecture="stylegan2", model=model)
    return checkpoint.save(build_state(config), cli.folder / "faces").parent.parent


def options_of(run_dir):
    return json.loads((run_dir / "training_options.json").read_text(encoding="utf-8"))


def words_of(result):
    return " ".join(result.output.split())


def test_an_imported_folder_starts_a_run_with_the_settings_of_the_cfg(cli, images, imported):
    out = words_of(cli(*TRAIN, "--init-from", "faces", "--data", images, "--gamma", 3, "--glr",
                       0.001, "--aug", "ada", "--mbstd-group", 2, "--freezed", 2))  # fmt: skip
    assert "weights copied from" in out
    assert "weights newly initialised: nothing weights left out: nothing" in out
    assert "ADA moves p within 20 kimg, the average of G has no ramp-up" in out
    (run_dir,) = (cli.folder / "runs").iterdir()
    options = options_of(run_dir)
    assert (options["name"], options["r1_gamma"]) == ("stylegan2-small", 3)
    assert (options["g_optimizer"]["lr"], options["d_optimizer"]["lr"]) == (0.001, 0.0025)
    assert (options["augment"]["mode"], options["augment"]["ada_kimg"]) == ("ada", 20)
    assert options["ema"]["rampup_ratio"] is None
    assert {name: options["model"][name] for name in SMALL} == SMALL
    assert options["model"]["mbstd_group"] == 2
    source = imported / "checkpoints" / "ckpt-000000.safetensors"
    assert options["init_from"]["path"] == str(source)
    assert len(options["init_from"]["sha256"]) == 64
    log = (run_dir / "log.txt").read_text(encoding="utf-8").splitlines()
    assert {"newly initialised: nothing", "left out: nothing"} <= set(log)
    old = load_file(source)
    new = load_file(run_dir / "checkpoints" / "ckpt-000000.safetensors")
    assert all((new[f"D.b8.{n}"] == old[f"D.b8.{n}"]).all() for n in ("fromrgb.bias", "conv0.bias"))

    cli("train", "--resume", "latest", "--kimg", 0.016)
    again = options_of(run_dir)
    assert again["init_from"] == options["init_from"]
    assert "copied from" not in "".join(
        (run_dir / "log.txt").read_text(encoding="utf-8").partition("resumed from")[2]
    )
    out = words_of(cli("generate", "--network", "latest", "--seeds", "0-1"))
    assert "2 images written" in out


@pytest.mark.parametrize(
    ("name", "cfg", "classes"),
    [("s2a_cond", "auto", 5), ("s3_r", "stylegan3-r", 0), ("r3_plain", "r3gan-small", 0)],
)
def test_published_files_are_imported_and_trained_on(cli, images, name, cfg, classes):
    out = words_of(cli("import", PUBLISHED / f"{name}.pkl", "--out", "faces"))
    assert f"To train on: fastgan train --cfg {cfg} --init-from faces --data DATA" in out
    out = words_of(cli("train", "--cfg", cfg, "--init-from", "faces", "--data", images, "--kimg",
                       0.004, "--batch", 4, "--resolution", 16))  # fmt: skip
    assert "Training finished" in out
    assert ("left out: nothing" in out) is (classes == 0)
    before = fastgan.load(cli.folder / "faces")
    (run_dir,) = (cli.folder / "runs").iterdir()
    after = fastgan.load(run_dir)
    assert (before.config.model.c_dim, after.config.model.c_dim) == (classes, 0)
    assert after.config.model == dataclasses.replace(before.config.model, c_dim=0)
    theirs = dict(before.G_ema.named_parameters())
    weights = after.G_ema.named_parameters()
    moved = [(t - theirs[n]).abs().max() for n, t in weights if t.shape == theirs[n].shape]
    assert 0 < max(moved) < 0.1  # one step of Adam, of which the average takes a part


def test_a_run_its_number_or_a_checkpoint_are_taken_too(cli, images, imported):
    cli(*TRAIN, "--init-from", "faces", "--data", images)
    (run_dir,) = (cli.folder / "runs").iterdir()
    file = run_dir / "checkpoints" / "ckpt-000000.safetensors"
    for text in ("latest", "0", run_dir, file, file.with_suffix(".json")):
        out = cli(*TRAIN, "--init-from", text, "--data", images, "-n").output
        assert f'"path": "{file}"' in out


def test_another_size_and_classes_say_what_is_new(cli, images, imported):
    cli("data", "convert", images, "classes.zip", "--labels", "folders")
    out = words_of(cli(*TRAIN, "--init-from", "faces", "--data", "classes.zip", "--cond", "true",
                       "--resolution", 16, "-n"))  # fmt: skip
    assert "and the average of G; in part: G.mapping.fc0.weight" in out
    assert "newly initialised: G.synthesis.b16, G.mapping.embed" in out
    assert "left out: " in out


def test_gamma_of_the_cfg_is_that_of_the_new_size_and_batch(cli, images, imported):
    found = []
    for flags in (("--batch", 8), ("--batch", 4), ("--batch", 4, "--resolution", 16)):
        out = cli(
            "train",
            "--cfg",
            "stylegan2-small",
            "--init-from",
            "faces",
            "--data",
            images,
            "-n",
            *flags,
        ).output
        found.append(json.loads("{" + out.partition("{")[2].rpartition("}")[0] + "}")["r1_gamma"])
    assert found == pytest.approx([0.0002 * 64 / 8, 0.0002 * 64 / 4, 0.0002 * 256 / 4])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cfg", "faces"], "weights of stylegan2, and --cfg faces trains light_skip_gan; pass "
                             "--cfg auto or cifar or paper1024"),
        (["--cbase", 32], "--cbase: 32 does not fit the weights of --init-from, whose channel_base "
                          "is 64; leave it out"),
        (["--cmax", 4], "whose channel_max is 8"),
        (["--map-depth", 2], "whose mapping_layers is 1"),
        (["--resume", "latest"], "--init-from: excludes --resume"),
        (["--init-from", "nowhere"], "found nothing at 'nowhere'"),
        (["--init-from", "x.pkl"], "x.pkl is a file of another project; convert it first: fastgan "
                                   "import x.pkl --out DIR"),
        (["--init-from", "voice"], "voice is the folder of a vocoder"),
    ],
)  # fmt: skip
def test_what_contradicts_the_weights_is_refused_by_name(cli, images, imported, flags, words):
    (cli.folder / "x.pkl").write_bytes(b"")
    (cli.folder / "voice").mkdir()
    document = {"architecture": "vocoders.hifigan", "network": "Generator"}
    (cli.folder / "voice" / "config.json").write_text(json.dumps(document))
    out = cli(*TRAIN, "--init-from", "faces", "--data", images, "-n", *flags, code=2)
    assert words in words_of(out)


def test_equal_sizes_may_be_typed(cli, images, imported):
    cli(*TRAIN, "--init-from", "faces", "--data", images, "-n", "--cbase", 64, "--map-depth", 1)


def test_freezing_new_layers_is_refused(cli, images, imported):
    out = cli(*TRAIN, "--data", images, "-n", "--freezed", 1, code=2)
    assert "--freezed: keeps layers of trained weights" in words_of(out)
    out = cli(*TRAIN, "--data", images, "-n", "--freezed", 1, "--init-from", "faces",
              "--resolution", 16, code=1)  # fmt: skip
    assert "would keep D.b16.fromrgb as it is initialised" in words_of(out)
    out = cli(*TRAIN, "--data", images, "-n", "--freezed", 99, "--init-from", "faces", code=1)
    assert "--freezed: expected a whole number from 0 to 4" in words_of(out)


def test_training_on_imported_weights_asks_for_data(cli, imported):
    out = words_of(cli(*TRAIN, "-n", "--init-from", "faces", code=2))
    assert "--data: is needed with --init-from of a folder of `fastgan import`" in out
    cli(*TRAIN, "-n", "--init-from", "faces", "--data", "avatars", "--resolution", 8)


def test_freezing_needs_weights_with_a_discriminator(cli, images, imported):
    (imported / "imported.json").write_text(json.dumps({"dtypes": {"G_ema": {}}}))
    flags = (*TRAIN, "--data", images, "-n", "--init-from", "faces")
    out = words_of(cli(*flags, "--freezed", 1, code=1))
    assert "(--freezed)" in out
    assert "has no D (" in out
    assert "no layer can be frozen; set 0" in out
    cli(*flags, "--freezed", 0)


def test_resuming_an_imported_folder_begins_a_new_run_with_its_weights(cli, images, imported):
    """As the commands that such files come from do; what begins is said, and may be chosen."""
    data = ("--data", images, "-n", "--device", "cpu")
    out = words_of(cli("train", "--resume", "faces", *data, "--gamma", 3, "--batch", 8))
    assert "so a new run begins with them, as with --cfg auto --init-from faces" in out
    assert '"r1_gamma": 3.0' in out
    assert '"batch": 8' in out
    same = words_of(cli("train", "--cfg", "auto", "--init-from", "faces", *data))
    out = words_of(cli("train", "--resume", "faces", *data))
    assert out.partition("device ")[2] == same.partition("device ")[2]
    assert sorted(p.name for p in imported.iterdir()) == ["checkpoints"]
    out = words_of(cli("train", "--resume", "faces", *data, "--cfg", "r3gan-small", code=2))
    assert "--init-from: " in out


@pytest.mark.parametrize("command", [
    ("generate", "--network"), ("evaluate", "--network"), ("onnx", "--out", "x.onnx"),
    ("export", "--to", "nvidia", "--out", "y.safetensors"), ("train", "--resume"),
])  # fmt: skip
def test_commands_for_runs_say_what_a_vocoders_folder_is(cli, command):
    folder = cli.folder / "voice"
    folder.mkdir()
    document = {"architecture": "vocoders.bigvgan", "network": "Generator"}
    (folder / "config.json").write_text(json.dumps(document))
    out = words_of(cli(*command, "voice", code=2))
    assert "voice is the folder of a vocoder (Generator of vocoders.bigvgan)" in out
    assert "fastgan.load('voice')" in out
