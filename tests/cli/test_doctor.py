# SPDX-License-Identifier: Apache-2.0
import json

from fastgan.cli.doctor import format_facts


def test_json_names_every_op_on_both_devices(cli):
    facts = json.loads(cli("doctor", "--json").output)

    assert set(facts) == {
        "ops", "library", "versions", "machine", "torch_settings", "train_settings_on_cuda",
        "extras",
    }  # fmt: skip
    assert facts["train_settings_on_cuda"]["TF32"] == "on (--tf32)"
    assert set(facts["torch_settings"].values()) <= {"on", "off"}
    assert all(set(devices) == {"cpu", "cuda"} for devices in facts["ops"].values())
    assert facts["machine"]["cache folder"] == str(cli.folder / "cache")


def test_the_table_has_every_op(cli):
    output = cli("doctor").output

    assert "upfirdn2d" in output
    assert "instruction set" in output


def test_a_reason_is_said_once_and_an_extra_has_its_command():
    slow = {"active": "reference", "why": "not built; run `fastgan build`"}
    facts = {
        "ops": {"a": {"cpu": slow, "cuda": slow}, "b": {"cpu": slow, "cuda": slow}},
        "library": {"cpu_library": None},
        "versions": {"python": "3.11"},
        "machine": {"devices": ["one", "two"]},
        "extras": {"metrics": ["torchmetrics"], "other": []},
    }
    text = format_facts(facts)

    assert text.count("on CPU tensors: not built; run `fastgan build`") == 1
    assert text.count("on CUDA tensors: not built; run `fastgan build`") == 1
    assert "not installed: torchmetrics; run: pip install 'fastgan[metrics]'" in text
    assert "one, two" in text
