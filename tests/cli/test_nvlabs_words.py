# SPDX-License-Identifier: Apache-2.0
"""Commands for NVIDIA's and R3GAN's train.py, as people paste them."""

import json

import pytest

from fastgan.augment import GROUPS
from fastgan.cli.train_options.names import AUGMENT_GROUPS, PRESETS
from fastgan.training.config.published.r3gan import PUBLISHED


def options_of(result):
    return json.loads("{" + result.output.partition("{")[2].rpartition("}")[0] + "}")


def test_names_that_are_written_twice_agree():
    """--help shows them without loading PyTorch."""
    assert set(AUGMENT_GROUPS) == set(GROUPS)
    assert set(PRESETS) == set(PUBLISHED)


def test_a_command_for_stylegan3(cli, images):
    options = options_of(cli(
        "train", "--outdir=runs", "--cfg=stylegan3-t", "--data", images, "--gpus=8", "--batch=32",
        "--gamma=8.2", "--mirror=1", "--cond=0", "--metrics=None", "--aug=noaug", "--cbase=16384",
        "--cmax=256", "--glr=0.003", "--dlr=0.0025", "--map-depth=3", "--mbstd-group=2",
        "--kimg=5000", "--tick=2", "--snap=20", "--seed=3", "--fp32=1", "--nobench=1",
        "--workers=2", "--batch-gpu=2", "--desc=x", "-n",
    ))  # fmt: skip
    model = options["model"]
    assert (options["name"], options["batch"], options["batch_gpu"]) == ("stylegan3-t", 32, 2)
    assert (options["r1_gamma"], options["data"]["mirror"], options["metrics"]) == (8.2, True, [])
    assert (model["channel_base"], model["d_channel_base"]) == (16384, 16384)
    assert (model["channel_max"], model["d_channel_max"]) == (256, 256)
    assert (model["mapping_layers"], model["mbstd_group"], model["half_dtype"]) == (3, 2, None)
    assert (options["g_optimizer"]["lr"], options["d_optimizer"]["lr"]) == (0.003, 0.0025)
    assert (options["augment"]["mode"], options["total_kimg"]) == ("noaug", 5000)
    assert (options["cudnn_benchmark"], options["seed"]) == (False, 3)


def test_widths_of_stylegan3_r_are_doubled_in_g(cli, images):
    model = options_of(cli("train", "--cfg=stylegan3-r", "--data", images, "-n", "--cbase=8192",
                           "--cmax=100"))["model"]  # fmt: skip
    assert (model["channel_base"], model["d_channel_base"]) == (16384, 8192)
    assert (model["channel_max"], model["d_channel_max"]) == (200, 100)


def test_a_command_for_stylegan2_ada(cli, images):
    options = options_of(cli(
        "train", "--outdir=runs", "--cfg=auto", "--data", images, "--gpus=2", "--subset=5",
        "--mirror=1", "--aug=fixed", "--p=0.2", "--augpipe=bgcfnc", "--metrics=none", "--fp32=0",
        "--dry-run",
    ))  # fmt: skip
    assert (options["name"], options["batch"], options["model"]["mbstd_group"]) == ("auto", 64, 4)
    assert options["r1_gamma"] == pytest.approx(0.0002 * 64 / 64)
    assert (options["data"]["max_images"], options["data"]["mirror"]) == (5, True)
    assert (options["augment"]["mode"], options["augment"]["p"]) == ("fixed", 0.2)
    assert options["augment"]["groups"] == "bgcfnc"
    assert options["model"]["half_dtype"] == "bfloat16"


def test_a_command_for_r3gan(cli, images):
    command = ("train", "--outdir=runs", "--data", images, "--gpus=8", "--batch=256", "--mirror=1",
               "--tick=1", "--snap=200", "--resolution=64", "-n")  # fmt: skip
    options = options_of(cli(*command, "--aug=1", "--cfg=r3gan", "--preset=FFHQ-64"))
    assert (options["name"], options["batch"], options["batch_gpu"]) == ("r3gan-FFHQ-64", 256, 32)
    assert (options["augment"]["mode"], options["augment"]["groups"]) == ("fixed", "r3gan")
    assert options["schedule"]["augment_p_end"] == 0.3
    options = options_of(cli(*command, "--aug=0", "--cfg=r3gan"))
    assert (options["name"], options["augment"]["mode"]) == ("r3gan-FFHQ-64", "noaug")
    assert options["schedule"]["augment_p_end"] is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--nhwc=1"], "No such option: --nhwc; leave it out: fastgan chooses the memory format"),
        (["--allow-tf32", "1"], "use --tf32 true or --tf32 false"),
        (["--cmethod=bcr"], "use --aug ada"),
        (["--res=64"], "use --resolution"),
        (["--resume=ffhq256"], "ffhq256 stands for weights that fastgan does not download; "
                               "download the .pkl, run `fastgan import FILE.pkl --out DIR`, and"),
        (["--resume=noresume"], "noresume is the default here; leave --resume out"),
        (["--augpipe=bgc"], "--augpipe: has no effect with --aug noaug; add --aug ada"),
        (["--aug=1"], "--aug: 1 takes the augmentation that --cfg has, and faces has none"),
        (["--aug=on"], "'on' is not one of 'noaug', 'ada', 'fixed'"),
        (["--preset=FFHQ-64"], "--preset: chooses among the settings of --cfg r3gan, got --cfg f"),
        (["--cfg=r3gan", "--resolution=64", "--cbase=1"], "no effect with --cfg r3gan (archi"),
        (["--metrics=fid50k_full"], "there is no metric 'fid50k_full'; the nearest is fd_lite0;"),
    ],
)  # fmt: skip
def test_what_is_otherwise_here_is_said(cli, images, flags, words):
    output = cli("train", "--data", images, "-n", *flags, code=2).output
    assert words in " ".join(output.split())


def test_a_run_of_a_preset_takes_its_cfg_and_preset_again():
    """As those of the small recipes, whose names were others once."""
    from fastgan.cli.train_config import continue_config
    from fastgan.cli.train_options.names import cfg_of
    from fastgan.training.config.recipes import load_recipe

    config = load_recipe("r3gan")(resolution=(32, 32))
    assert continue_config(config, {"cfg": "r3gan", "preset": "CIFAR10"}) == config
    for given in ({"cfg": "r3gan-small"}, {"preset": "FFHQ-64"}):
        with pytest.raises(Exception, match="is not what the run was started with"):
            continue_config(config, given)
    old = load_recipe("stylegan2-small")(resolution=(16, 16)).with_changes(name="stylegan2")
    assert continue_config(old, {"cfg": "stylegan2"}) == old
    assert (cfg_of("r3gan-ImageNet-32"), cfg_of("r3gan-small")) == ("r3gan", "r3gan-small")
