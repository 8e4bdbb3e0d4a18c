# SPDX-License-Identifier: Apache-2.0
import pytest
from click import BadParameter, ClickException

from fastgan.cli.run_folders import create_run, find_checkpoint, list_runs, next_run_name, run_of


def test_numbers_go_up_and_ignore_other_folders(tmp_path):
    assert next_run_name(tmp_path / "not-yet", "a") == "00000-a"
    (tmp_path / "00007-x").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "00009-file").touch()

    assert create_run(tmp_path, "b").name == "00008-b"
    assert create_run(tmp_path, "b").name == "00009-b"
    assert [path.name for path in list_runs(tmp_path)] == ["00007-x", "00008-b", "00009-b"]


def test_numbers_beyond_five_digits(tmp_path):
    (tmp_path / "99999-x").mkdir()
    (tmp_path / "100000-x").mkdir()

    assert next_run_name(tmp_path, "a") == "100001-a"


def test_descriptions_become_file_names(tmp_path):
    assert next_run_name(tmp_path, "my data/../x ü") == "00000-my_data_.._x_"


def test_newest_number_and_name_mean_the_same_run(trained):
    outdir = trained.parent
    newest = find_checkpoint("latest", outdir, flag="--resume")

    assert newest.suffix == ".safetensors"
    for text in ("0", "00000", trained.name, str(trained), str(newest), str(newest)[:-11] + "json"):
        assert find_checkpoint(text, outdir, flag="--resume") == newest
    assert run_of(newest) == trained


@pytest.mark.parametrize("text", ["latest", "3", "nowhere", ""])
def test_nothing_is_refused_by_flag(tmp_path, text):
    with pytest.raises(BadParameter) as error:
        find_checkpoint(text, tmp_path / "runs", flag="--resume")
    assert error.value.param_hint == "--resume"


def test_a_run_without_checkpoint_is_refused(tmp_path):
    (tmp_path / "00000-x").mkdir()

    with pytest.raises(BadParameter, match="holds no intact checkpoint"):
        find_checkpoint("0", tmp_path, flag="--network")


def test_a_checkpoint_outside_a_run_folder_has_no_run(tmp_path):
    with pytest.raises(ClickException, match="is not in the folder checkpoints/ of a run folder"):
        run_of(tmp_path / "ckpt-000000.safetensors")
