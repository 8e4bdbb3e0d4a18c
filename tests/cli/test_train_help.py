# SPDX-License-Identifier: Apache-2.0
"""`fastgan train --help --cfg NAME`: the defaults of that configuration."""

import re

import pytest

from fastgan.training.config.recipes import recipes


def defaults(cli, *flags):
    """{option: its default} of a help text, and the whole text."""
    text = " ".join(cli("train", *flags).output.split())
    found = re.findall(r"(--[a-z0-9-]+) (?:(?!\[default).)*?\[default: (.*?)(?:;[^\]]*)?\]", text)
    return dict(found), text


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--help", "--cfg", "stylegan3-r"],
         {"--gamma": "16.4", "--batch": "32", "--cbase": "32768", "--dlr": "0.002",
          "--aug": "(ada)", "--batch-gpu": "4", "--map-depth": "2", "--kimg": "25000.0"}),
        (["--cfg=auto", "--help", "--gpus=8", "--resolution", "1024"],
         {"--gamma": "6.5536", "--batch": "32", "--glr": "0.002", "--mbstd-group": "4"}),
        (["--cfg", "auto", "--help", "--batch=8"],
         {"--batch": "8", "--gamma": "1.6384",
          "--batch-gpu": "(on a GPU the largest predicted to fit"}),
        (["--help", "--cfg=r3gan", "--preset=FFHQ-256"],
         {"--gamma": "150.0", "--p": "(from 0 to 0.3)", "--mirror": "True",
          "--fp32": "(bfloat16 in the stages of 32x32, 64x64, 128x128, 256x256 of G and D, float32 "
          "elsewhere)",
          "--cbase": "(no effect with this --cfg"}),
        (["--help", "--cfg", "stylegan2"],
         {"--fp32": "(on CUDA bfloat16 in the 4 largest sizes of G and D, float32 elsewhere",
          "--bf16": "(as --fp32 says)", "--fp16": "(as --fp32 says)"}),
        (["--cfg", "stylegan3-small", "--help"], {"--cbase": "(1024 in G, 2048 in D)"}),
        (["--cfg", "faces", "--help"],
         {"--gamma": "2.0", "--fp32": "(float32)", "--batch-gpu": "(--batch / --gpus)"}),
        (["--help"], {"--gamma": "(depends on --cfg)", "--batch": "(depends on --cfg)"}),
    ],
)  # fmt: skip
def test_defaults_are_those_of_the_cfg(cli, flags, wanted):
    found, text = defaults(cli, *flags)
    assert {name: found.get(name) for name in wanted} == wanted
    assert ("Defaults below are those of --cfg" in text) is (len(flags) > 1)


@pytest.mark.parametrize("cfg", recipes("images"))
def test_every_cfg_has_a_help(cli, cfg):
    found, text = defaults(cli, "--help", "--cfg", cfg)
    assert "depends on --cfg" not in text
    assert f"Defaults below are those of --cfg {cfg} for images of" in text
    assert float(found["--kimg"]) > 0


def test_what_the_cfg_refuses_is_said_by_its_help(cli):
    output = cli("train", "--help", "--cfg", "r3gan", "--resolution", 48, code=1).output
    assert "FFHQ-256 (256×256)" in output
    assert "is not one of" in cli("train", "--help", "--cfg", "stylegan9", code=2).output
