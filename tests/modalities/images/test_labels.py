# SPDX-License-Identifier: Apache-2.0
"""The acceptance runs of docs/conditional.md."""

import importlib.util
import json

import pytest
from click.testing import CliRunner

from fastgan.cli import main
from fastgan.metrics import available
from fastgan.models._conditioning import KINDS


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def last(folder, metric):
    line = (folder / f"metric-{metric}.jsonl").read_text().splitlines()[-1]
    return json.loads(line)["results"][metric]


WITH_CLASSIFIER = (
    "--conditioning", "projection_and_classifier", "--loss", "relativistic", "--r1", 1, "--r2", 1,
    "--glr", 5e-4, "--dlr", 5e-4,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "of_real", "flags"),
    [
        ("hair_color", 0.93, (*WITH_CLASSIFIER, "--kimg", 100)),
        ("accessory", 0.96, (*WITH_CLASSIFIER, "--class-balance", 0.5, "--kimg", 40)),
        ("skin_color", 0.97, ("--kimg", 80)),
    ],
    ids=["hair_color", "accessory", "skin_color"],
)
def test_avatars_have_the_attribute_that_was_asked_for(label, of_real, flags, tmp_path):
    if reason := available():
        pytest.skip(reason)
    data = tmp_path / "faces.zip"
    run("data", "avatars", data, "--resolution", 32, "--label", label)
    run(
        "train", "--cfg", "dcgan", "--data", data, "--cond", "true", "--tick", 10, "--snap", 2,
        *flags, "--outdir", tmp_path / "runs", "--metrics", "class_agreement,class_agreement_real",
    )  # fmt: skip
    folder = next((tmp_path / "runs").iterdir())
    assert last(folder, "class_agreement_real") > of_real
    assert last(folder, "class_agreement") >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[:3])  # the kinds of docs/conditional.md
def test_digits_are_of_the_class_that_was_asked_for(kind, tmp_path):
    if reason := available():
        pytest.skip(reason)
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("the package scikit-learn is not installed")
    run(
        "train", "--cfg", "mlp", "--data", "digits", "--cond", "true", "--conditioning", kind,
        "--kimg", 150, "--tick", 50, "--snap", 3, "--outdir", tmp_path,
        "--metrics", "class_agreement,class_agreement_real",
    )  # fmt: skip
    folder = next(tmp_path.iterdir())
    assert last(folder, "class_agreement_real") > 0.97
    assert last(folder, "class_agreement") >= 0.95
