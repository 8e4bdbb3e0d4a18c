# SPDX-License-Identifier: Apache-2.0
"""What every modality has, whoever adds it: names, files and an error for a name that is none."""

import inspect

import pytest

from fastgan.metrics import PartEvaluator
from fastgan.modalities import load_modality, modalities
from fastgan.training.config.recipes import load_recipe, recipes


def test_an_unknown_modality_lists_those_that_exist():
    assert "images" in modalities()
    with pytest.raises(ValueError, match=r"must be one of .*images.*got 'smells'; a new modality "):
        load_modality("smells")


@pytest.mark.parametrize("name", modalities())
def test_a_modality_has_what_the_commands_call(name):
    modality = load_modality(name)
    data, samples, metric = modality.data, modality.samples, modality.metric
    for function, parameters in (
        (data.describe, ["data"]),
        (data.open_data, ["data", "model"]),
        (samples.make_writer, ["config", "run_dir", "reals", "c", "n"]),
        (samples.write_one, ["x", "stem", "config"]),
        (samples.write_all, ["x", "stem", "config"]),
        (samples.section, ["folder", "files", "fakes"]),
        (metric.available, []),
    ):
        assert list(inspect.signature(function).parameters) == parameters
    assert isinstance(data.BUILT_IN, str)
    assert samples.SUFFIX.startswith(".")
    assert samples.NOUN
    assert set(metric.DEFAULT.split(",")) <= set(metric.NAMES)
    returned = inspect.signature(metric.make_evaluator).return_annotation
    assert issubclass(returned, PartEvaluator)
    assert returned.names == metric.NAMES


@pytest.mark.parametrize("name", [n for n in recipes() if n not in recipes("images")])
def test_a_recipe_of_another_modality_needs_no_argument(name):
    config = load_recipe(name)()
    assert config.name == name
    assert name in recipes(config.data.modality)
    assert type(config).from_dict(config.to_dict()) == config


def test_an_empty_folder_has_no_section(tmp_path):
    for name in modalities():
        above, below = load_modality(name).samples.section(tmp_path, frozenset(), [])
        assert (above, below) == ("", "")
