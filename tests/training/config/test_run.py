# SPDX-License-Identifier: Apache-2.0
import json
import math

import pytest

from fastgan.models.mlp import Config as MlpConfig
from fastgan.training.config.run import (
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    StepConfig,
    TrainConfig,
)

RISING_P = ScheduleConfig(anneal_kimg=1.0, augment_p_end=0.5)


def mlp_config(**changes) -> TrainConfig:
    return TrainConfig(**({"name": "x", "architecture": "mlp", "model": MlpConfig()} | changes))


def test_json_round_trip_of_every_kind_of_field():
    config = mlp_config(
        model=MlpConfig(g_hidden=(3, 5), c_dim=2),
        data=DataConfig(resolution=(28, 28), use_labels=True),
        g_optimizer=OptimizerConfig(lr=0.1, betas=(0, 1 / 3)),
        ema=EmaConfig(rampup_ratio=None),
        augment=AugmentConfig(mode="fixed", p=0.25),
        metrics=("kid_lite0",),
    )
    text = json.dumps(config.to_dict())
    assert TrainConfig.from_dict(json.loads(text)) == config


def test_int_betas_become_floats():
    assert [type(beta) for beta in OptimizerConfig(betas=[0, 0.99]).betas] == [float, float]


@pytest.mark.parametrize(
    ("place", "key", "message"),
    [
        ([], "bogus", "TrainConfig: unknown key bogus"),
        (["g_optimizer"], "momentum", "TrainConfig.g_optimizer: unknown key momentum"),
        (["model"], "depth", "mlp.Config: unknown key depth"),
    ],
)
def test_from_dict_names_an_unknown_key(place, key, message):
    values = mlp_config().to_dict()
    target = values
    for name in place:
        target = target[name]
    target[key] = 1
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(values)


def test_from_dict_leaves_out_metrics_that_there_are_no_longer():
    values = mlp_config(metrics=("kid_lite0",)).to_dict()
    older = values | {"metrics": ["a_former_one", "kid_lite0"]}
    assert TrainConfig.from_dict(older) == TrainConfig.from_dict(values)


def test_from_dict_names_a_missing_key():
    values = mlp_config().to_dict()
    del values["name"]
    with pytest.raises(ValueError, match="TrainConfig: missing key name"):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch: expected a whole number >= 1, got 0"),
        ({"batch": 2.5}, "batch: expected a whole number"),
        ({"d_reg_interval": 0}, "d_reg_interval"),
        ({"r1_gamma": -1.0}, "r1_gamma: expected a number >= 0"),
        ({"total_kimg": 0}, "total_kimg"),
        ({"style_mixing_prob": 1.5}, "style_mixing_prob"),
        ({"penalty_method": "exact"}, "penalty_method: expected one of auto"),
        ({"penalty_at": "input"}, "penalty_at: expected one of images, augmented, got 'input'"),
        ({"pl_target": "mean"}, "pl_target: expected one of mean_before, mean_after"),
        ({"pl_decay": 0}, r"pl_decay: expected a number in \(0, 1\]"),
        ({"pl_batch_shrink": 0}, "pl_batch_shrink: expected a whole number >= 1"),
        ({"first_network": "g"}, "first_network: expected one of D, G, got 'g'"),
        ({"update_emas": "none"}, "update_emas: expected one of all, d_step"),
        ({"blur_init_sigma": -1}, "blur_init_sigma: expected a number of pixels >= 0"),
        ({"blur_init_sigma": 10}, "blur_fade_kimg: expected a positive number with"),
        (
            {"model": MlpConfig(data_shape=(2,)), "blur_init_sigma": 1.0, "blur_fade_kimg": 1.0},
            "blur_init_sigma=1.0 needs images",
        ),
        ({"objective": "wgan"}, "got 'wgan'"),
        ({"metrics": ("fid50k",)}, "metrics: expected some of kid_lite0"),
        ({"model": {"z_dim": 3}}, "model: expected an architecture's Config"),
        ({"model": MlpConfig(c_dim=3)}, "data.use_labels=False does not fit model.c_dim=3"),
        ({"data": DataConfig(use_labels=True)}, "data.use_labels=True does not fit"),
        (
            {
                "data": DataConfig(modality="words", use_labels=True, class_balance=0.5),
                "model": MlpConfig(c_dim=3),
            },
            "data.class_balance=0.5 needs images, but data.modality",
        ),
        ({"data": DataConfig(resolution=(8, 28))}, r"data.resolution: expected the model's \(28"),
        (
            {"model": MlpConfig(data_shape=(2,)), "augment": AugmentConfig(mode="fixed", p=0.1)},
            "augment.mode='fixed' needs images",
        ),
        ({"augment": AugmentConfig(mode="fixed")}, "augment.p: .*choose mode='noaug'"),
        ({"schedule": RISING_P}, "schedule.augment_p_end=0.5 needs augment.mode='fixed', got 'noa"),
        (
            {"schedule": RISING_P, "augment": AugmentConfig(mode="ada")},
            "got 'ada'; ADA controls p itself",
        ),
    ],
)
def test_impossible_runs_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        mlp_config(**changes)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (OptimizerConfig, {"lr": 0}, "lr: expected a positive"),
        (OptimizerConfig, {"betas": (0.5, 1.0)}, "betas: expected two numbers"),
        (OptimizerConfig, {"betas": (0.5,)}, "betas"),
        (OptimizerConfig, {"eps": 0}, "eps"),
        (OptimizerConfig, {"name": "sgd"}, "name: expected one of adam, adamw, rmsprop, got 'sgd'"),
        (OptimizerConfig, {"weight_decay": 0.1}, "weight_decay: expected 0 with name='adam'"),
        (OptimizerConfig, {"name": "adamw", "weight_decay": -1}, "weight_decay: expected a number"),
        (OptimizerConfig, {"name": "rmsprop", "alpha": 1.0}, "alpha: expected a number in"),
        (EmaConfig, {"half_life_kimg": -1}, "half_life_kimg"),
        (EmaConfig, {"rampup_ratio": 0}, "rampup_ratio"),
        (ScheduleConfig, {"lr_end": 0.1}, "schedule.anneal_kimg"),
        (ScheduleConfig, {"beta2_end": 0.99}, "schedule.anneal_kimg"),
        (ScheduleConfig, {"beta2_end": 1.0}, "schedule.beta2_end: expected None or a number in"),
        (ScheduleConfig, {"ema_half_life_end_kimg": -1}, "schedule.ema_half_life_end_kimg"),
        (ScheduleConfig, {"augment_p_end": 1.5}, "schedule.augment_p_end: expected None or a prob"),
        (ScheduleConfig, {"lr_decay": 0.9}, "schedule.lr_decay_kimg: expected a positive number"),
        (ScheduleConfig, {"lr_decay": 1.1, "lr_decay_kimg": 1}, "schedule.lr_decay: expected"),
        (AugmentConfig, {"mode": "on"}, "augment.mode: expected one of noaug, fixed, ada"),
        (AugmentConfig, {"p": 0.5}, "choose mode='fixed'"),
        (AugmentConfig, {"groups": "all"}, "augment.groups: expected one of blit"),
        (DataConfig, {"resolution": (0, 8)}, "data.resolution"),
        (DataConfig, {"max_images": 0}, "data.max_images"),
        (DataConfig, {"class_balance": 1.1, "use_labels": True}, "data.class_balance"),
        (DataConfig, {"class_balance": 0.5}, "data.class_balance: expected 0 without"),
    ],
)
def test_impossible_parts_are_refused_by_name(cls, values, message):
    with pytest.raises(ValueError, match=message):
        cls(**values)


def test_schedule_is_a_half_cosine_then_constant():
    schedule = ScheduleConfig(anneal_kimg=10, lr_end=0.2, gamma_end=3.0)
    assert schedule.lr_factor(0) == 1
    assert schedule.lr_factor(5) == pytest.approx(0.6)
    assert schedule.lr_factor(2.5) > 0.8
    assert schedule.lr_factor(10) == schedule.lr_factor(99) == pytest.approx(0.2)
    assert schedule.gamma_factor(10) == pytest.approx(3)
    assert ScheduleConfig().gamma_factor(123.0) == 1
    assert [schedule.at(kimg, 0.9, 0.99) for kimg in (0, 5, 10, 99)] == pytest.approx(
        [0.9, 0.945, 0.99, 0.99]
    )
    assert schedule.at(5, 0.9, None) == 0.9


def test_the_decay_of_the_learning_rates_is_stepwise():
    schedule = ScheduleConfig(lr_decay=0.5, lr_decay_kimg=0.1)
    factors = [schedule.lr_factor(kimg) for kimg in (0, 0.099, 0.1, 0.199, 0.2, 0.3, 0.7)]
    assert factors == [1, 1, 0.5, 0.5, 0.25, 0.125, 0.5**7]  # 0.3 / 0.1 < 3 and 0.7 / 0.1 < 7
    both = ScheduleConfig(lr_decay=0.5, lr_decay_kimg=4, anneal_kimg=10, lr_end=0.2)
    assert both.lr_factor(5) == pytest.approx(0.5 * 0.6)
    assert mlp_config(schedule=schedule).scheduled_values(0.2) == {"lr_factor": 0.25}


def test_what_a_tick_reports_of_a_schedule():
    config = mlp_config(
        schedule=ScheduleConfig(anneal_kimg=10, lr_end=0.2, beta2_end=0.9,
                                ema_half_life_end_kimg=30.0, augment_p_end=0.5),
        augment=AugmentConfig(mode="fixed"),
    )  # fmt: skip
    assert config.scheduled_values(5) == pytest.approx(
        {"lr_factor": 0.6, "beta2": 0.945, "ema_kimg": 20.0}
    )
    assert mlp_config().scheduled_values(5) == {}


def test_with_changes_reaches_into_nested_configs():
    config = mlp_config().with_changes(batch=7, model={"z_dim": 3}, g_optimizer={"lr": 0.5})
    assert (config.batch, config.model.z_dim, config.model.g_hidden) == (7, 3, (256, 256))
    assert (config.g_optimizer.lr, config.g_optimizer.betas) == (0.5, (0.0, 0.99))
    with pytest.raises(TypeError, match="bogus"):
        config.with_changes(bogus=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, 1j, "1"])
@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (StepConfig, "r1_gamma", "r1_gamma"),
        (StepConfig, "d_weight_clip", "d_weight_clip"),
        (StepConfig, "n_critic", "n_critic"),
        (OptimizerConfig, "lr", "lr"),
        (EmaConfig, "half_life_kimg", "ema.half_life_kimg"),
        (ScheduleConfig, "lr_end", "schedule.lr_end"),
        (AugmentConfig, "ada_kimg", "augment.ada_kimg"),
        (DataConfig, "class_balance", "data.class_balance"),
    ],
)
def test_what_is_no_number_is_refused_by_its_name(make, name, message, value):
    with pytest.raises(ValueError, match=rf"^{message}: expected a finite number, got "):
        make(**{name: value})
