# SPDX-License-Identifier: Apache-2.0
"""Options of `fastgan train` that choose the loss, the penalties, the optimiser and the average."""

import json

import click
import pytest

from fastgan.cli.train_options import error_words
from fastgan.cli.train_options.names import loss_names
from fastgan.cli.train_options.refusals import refuse_without_effect
from fastgan.losses import objectives
from fastgan.training.config.recipes import load_recipe


def dry_run(cli, images, *flags):
    """(the configuration that a run would have, the output)."""
    output = cli("train", "--data", images, "--dry-run", *flags).output
    return json.loads("{" + output.partition("{")[2].rpartition("}")[0] + "}"), output


def test_loss_has_every_objective():
    assert loss_names() == objectives()


ALL = ("--loss", "hinge", "--r1", 2, "--r2", 3, "--gp", 4, "--ema", 7, "--optimizer", "rmsprop",
       "--n-critic", 5, "--weight-clip", 0.5)  # fmt: skip


@pytest.mark.parametrize("cfg", ["dcgan", "faces", "mlp", "r3gan-small", "stylegan2-small"])
def test_every_cfg_takes_them(cli, images, cfg):
    config, _ = dry_run(cli, images, "--cfg", cfg, *ALL)
    names = ("objective", "r1_gamma", "r2_gamma", "gp_weight")
    assert [config[name] for name in names] == ["hinge", 2, 3, 4]
    assert config["ema"]["half_life_kimg"] == 7
    assert (config["n_critic"], config["d_weight_clip"]) == (5, 0.5)
    for optimizer in ("g_optimizer", "d_optimizer"):
        assert (config[optimizer]["name"], config[optimizer]["weight_decay"]) == ("rmsprop", 0)


def test_those_of_a_mapping_network(cli, images):
    config, _ = dry_run(cli, images, "--pl", 0.5, "--style-mixing", 0.25)
    assert (config["pl_weight"], config["style_mixing_prob"]) == (0.5, 0.25)
    output = cli("train", "--data", images, "-n", "--cfg", "mlp", "--pl", 1, code=2).output
    words = " ".join(output.split())
    assert "--pl: has no effect with --cfg mlp (architecture mlp); it works with" in words


def test_the_run_folder_is_named_for_what_they_change(cli, images):
    def name(*flags):
        _, output = dry_run(cli, images, *flags)
        return output.split("the run folder would be ")[1].split()[0].rpartition("00000-")[2]

    assert name("--cfg", "mlp", "--batch", 4) == "noise-mlp-batch4-gamma1"
    # as the recipe has them
    assert name("--cfg", "mlp", "--batch", 4, "--loss", "relativistic", "--n-critic", 1) == (
        "noise-mlp-batch4-gamma1"
    )
    flags = (*ALL, "--batch", 4, "--desc", "a")
    assert name("--cfg", "mlp", *flags) == (
        "noise-mlp-batch4-gamma4-hinge-rmsprop-gp4-weightclip0.5-ncritic5-ema7-a"
    )
    flags = ("--batch", 4, "--pl", 0.5, "--style-mixing", 0.25)
    assert name(*flags).endswith("-pl0.5-stylemixing0.25")


def test_a_learning_rate_and_an_optimizer_go_together(cli, images):
    config, output = dry_run(cli, images, "--optimizer", "adamw", "--dlr", 0.5)
    assert "chosen      optimizer adamw: weight decay 0.01 (torch's default)" in output
    g, d = config["g_optimizer"], config["d_optimizer"]
    assert (g["name"], d["name"], d["lr"], d["weight_decay"]) == ("adamw", "adamw", 0.5, 0.01)
    assert g["lr"] != 0.5


def test_what_is_typed_is_constant(cli, images):
    """R3GAN's half-life and β2 change in its run."""
    flags = ("--cfg", "r3gan", "--resolution", 64)
    plain, _ = dry_run(cli, images, *flags)
    config, output = dry_run(cli, images, *flags, "--ema", 3, "--optimizer", "rmsprop")
    assert plain["schedule"]["ema_half_life_end_kimg"] == 500
    assert config["ema"]["half_life_kimg"] == 3
    assert config["schedule"] == plain["schedule"] | {
        "ema_half_life_end_kimg": None, "beta2_end": None
    }  # fmt: skip
    assert "chosen      optimizer rmsprop: it has no β2" in output


def test_wasserstein_alone_is_pointed_out(cli, images):
    for flags, is_said in (
        ((), True),
        (("--gp", 10), False),
        (("--weight-clip", 0.01), False),
        (("--weight-clip", 0), True),
    ):
        _, output = dry_run(cli, images, "--cfg", "dcgan", "--loss", "wasserstein", *flags)
        assert ("loss wasserstein: nothing keeps D 1-Lipschitz" in output) is is_said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cfg", "r3gan-small", "--gamma", 1, "--r1", 2, "--gp", 3],
         "--gamma: sets the penalties that --cfg has (--r1, --r2), and --r1 and --gp are given"),
        (["--loss", "hnge"], "--loss: 'hnge' is not one of 'hinge', "),
        (["--optimizer", "sgd"], "--optimizer: 'sgd' is not one of 'adam', 'adamw', 'rmsprop'"),
        (["--n-critic", 0], "--n-critic: 0 is not in the range x>=1"),
        (["--class-balance", 0.5], "--class-balance: has no effect with --cfg faces (architecture "
         "light_skip_gan); it says how often images of each label are shown; add --cond true"),
        (["--r1", -1], "--r1: -1.0 is not in the range x>=0"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_by_name(cli, images, flags, words):
    output = cli("train", "--data", images, "-n", *flags, code=2).output
    assert words in " ".join(output.replace("'--", "--").replace("':", ":").split())


@pytest.mark.parametrize("name", objectives())
def test_every_loss_takes_every_augmentation(cli, images, name):
    for flags, mode in ((["--aug", "ada"], "ada"), (["--aug", "fixed", "--p", 1], "fixed")):
        for pipe in ("bgc", "diffaug"):
            given = ("--cfg", "dcgan", "--loss", name, *flags, "--augpipe", pipe)
            config, _ = dry_run(cli, images, *given)
            assert (config["augment"]["mode"], config["augment"]["groups"]) == (mode, pipe)


def test_diffaug_is_applied_to_every_image_where_no_p_is_given(cli, images):
    for flags, p in (((), 1), (("--p", 0.5), 0.5)):
        given = ("--cfg", "dcgan", "--aug", "fixed", "--augpipe", "diffaug", *flags)
        assert dry_run(cli, images, *given)[0]["augment"]["p"] == p


def test_gamma_without_a_penalty_is_refused():
    config = load_recipe("mlp")(resolution=(8, 8)).with_changes(r1_gamma=0.0, r2_gamma=0.0)
    with pytest.raises(click.BadParameter, match="--r1, --r2 and --gp add one to every --cfg"):
        refuse_without_effect({"gamma": 1.0}, config, dict)


@pytest.mark.parametrize("cfg", ["stylegan2-small", "stylegan3-small", "auto"])
def test_gamma_auto_is_the_published_rule(cli, images, cfg):
    """For the images and the batch of the run; the configuration has the number."""
    config, output = dry_run(cli, images, "--cfg", cfg, "--gamma", "auto", "--batch", 16)
    assert config["r1_gamma"] == pytest.approx(0.0002 * 8 * 8 / 16)
    assert "chosen      gamma 0.0008: 0.0002·8·8 / 16" in output
    larger, _ = dry_run(
        cli, images, "--cfg", cfg, "--gamma", "auto", "--batch", 16, "--resolution", 32
    )
    assert larger["r1_gamma"] == pytest.approx(0.0002 * 32 * 32 / 16)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cfg", "r3gan-small"], "this --cfg has --r1 and --r2 of architecture r3gan beside "
         "relativistic, for which none is published; give a number: --cfg has 5"),
        (["--cfg", "dcgan"], "this --cfg has --r1 of architecture dcgan beside non_saturating"),
        (["--cfg", "stylegan2-small", "--loss", "hinge"], "beside hinge, for which none is"),
        (["--cfg", "sngan"], "this --cfg has no penalty; --r1, --r2 and --gp add one"),
        (["--cfg", "stylegan2-small", "--r1", 2], "--r1 is given besides"),
    ],
)  # fmt: skip
def test_gamma_auto_is_refused_where_it_is_not_meant(cli, images, flags, words):
    output = cli("train", "--data", images, "-n", *flags, "--gamma", "auto", code=2).output
    assert words in " ".join(output.split())


def test_gamma_is_auto_or_a_number(cli, images):
    output = cli("train", "--data", images, "-n", "--gamma", "automatic", code=2).output
    assert "'automatic' is not a valid float" in " ".join(output.split())
    assert "x>=0" in cli("train", "--data", images, "-n", "--gamma", -1, code=2).output


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            "needs augment.mode='fixed', or objective='hinge'",
            "needs --aug fixed, or objective='hinge'",
        ),
        ("set data.class_balance=0", "set --class-balance 0"),
        ("data.use_labels=True does not fit", "--cond true does not fit"),
        ("set data.resolution, data.use_labels, or", "set --resolution, --cond, or"),
        ("batch_gpu: expected None, got 3; x", "--batch-gpu: expected None, got 3; x"),
        ("augment.p=0.25.", "--p 0.25."),
        ("runs/batch_gpu/a data.resolution.png my_batch_gpu", None),
        ("no field at all", None),
    ],
)
def test_errors_name_options_in_the_place_of_fields(said, wanted):
    assert error_words.in_options(said) == (said if wanted is None else wanted)


def test_the_words_of_errors_are_options_and_fields():
    from fastgan.cli.train import command

    options = {name for option in command.params for name in option.opts}
    config = load_recipe("faces")(resolution=(16, 16))
    for field, option in error_words._OPTIONS.items():
        assert option in options
        owner, _, name = field.rpartition(".")
        assert hasattr(getattr(config, owner) if owner else config, name), field


def test_a_run_is_refused_in_the_words_of_its_options(cli, monkeypatch):
    def refuse(options, given):
        raise ValueError("Words: data.class_balance=0.5 needs images; set data.class_balance=0")

    monkeypatch.setattr("fastgan.cli.train._train", refuse)
    output = cli("train", code=1).output
    assert "Words: --class-balance 0.5 needs images; set --class-balance 0" in output
