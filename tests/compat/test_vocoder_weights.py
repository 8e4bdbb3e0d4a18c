# SPDX-License-Identifier: Apache-2.0
"""`fastgan import` and `export` of HiFi-GAN's and BigVGAN's generators."""

import json
from pathlib import Path

import pytest
import torch
from foreign_files import moved
from safetensors.torch import load_file

from fastgan.compat.weights import WeightsError, export_weights, import_weights
from fastgan.compat.weights.vocoder import vocoder_of
from fastgan.models.vocoders import load_vocoder

pytestmark = pytest.mark.usefixtures("reader_here")

PUBLISHED = Path(__file__).parent / "published"
FILES = {"hifi_v3": "hifigan", "bigvgan_base": "bigvgan"}
VOCODERS = {
    "hifigan": {"num_mels": 5, "resblock": "2", "resblock_kernel_sizes": [3],
                "resblock_dilation_sizes": [[1, 3]]},
    "bigvgan": {"num_mels": 5, "resblock": "1", "resblock_kernel_sizes": [3],
                "activation": "snake", "snake_logscale": False,
                "resblock_dilation_sizes": [[1, 3, 5]]},
}  # fmt: skip
for sizes in VOCODERS.values():
    sizes |= {"upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4],
              "upsample_initial_channel": 8}  # fmt: skip


def published(name):
    """(weights, config.json as a dict, input, expected output) of a published network."""
    weights = torch.load(PUBLISHED / f"{name}.g", weights_only=True)["generator"]
    config = json.loads((PUBLISHED / f"{name}.config.json").read_text())
    expected = load_file(PUBLISHED / f"{name}.expected.safetensors")
    return weights, config, expected["mel"], expected["G(mel)"]


def plain_of(weights):
    """Weights whose norm was removed, as HiFi-GAN's inference leaves them."""
    found = {}
    for name, t in weights.items():
        if name.endswith("weight_v"):
            start = name.removesuffix("_v")
            norm = t.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            found[start] = t * (weights[f"{start}_g"] / norm)
        elif not name.endswith("weight_g"):
            found[name] = t
    return found


def assert_same(path, weights):
    again = torch.load(path, weights_only=True)
    assert set(again) == {"generator"}
    assert set(again["generator"]) == set(weights)
    for name, t in weights.items():
        assert again["generator"][name].dtype == t.dtype, name
        assert torch.equal(again["generator"][name], t), name


def written(folder, weights, config):
    torch.save({"generator": weights}, folder / "g")
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "g", folder / "config.json"


@pytest.mark.parametrize("form", ["normed", "plain", "half"])
@pytest.mark.parametrize("name", FILES)
def test_a_published_generator_to_and_fro(name, form, tmp_path):
    weights, config, mel, want = published(name)
    if form == "plain":
        weights = plain_of(weights)
    elif form == "half":
        weights = {n: t.half() for n, t in weights.items()}
    path, json_path = written(tmp_path, weights, config)
    done = import_weights(path, tmp_path / "voice", config=json_path)
    assert (done.architecture, done.notes) == (FILES[name], ())
    G = load_vocoder(FILES[name]).Generator.from_pretrained(tmp_path / "voice")
    with torch.no_grad():
        difference = (G(mel) - want).abs().max() / (want.max() - want.min())
    assert difference < (1e-2 if form == "half" else 1e-5)
    export_weights(tmp_path / "voice", tmp_path / "again", FILES[name])
    assert_same(tmp_path / "again", weights)


def changed(value):
    """Another value of a field of config.json, of its kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2
    if isinstance(value, str):
        return {"1": "2", "2": "1", "snakebeta": "snake", "snake": "snakebeta"}[value]
    return [changed(value[0]), *value[1:]]


# Of each generator's config.json: what a change leads to.
SETTINGS = {
    "hifi_v3": {
        "resblock": "refused", "upsample_rates": "another output",
        "upsample_kernel_sizes": "refused", "upsample_initial_channel": "refused",
        "resblock_kernel_sizes": "refused", "resblock_dilation_sizes": "another output",
        "num_mels": "refused",
    },
    "bigvgan_base": {
        "resblock": "refused", "upsample_rates": "another output",
        "upsample_kernel_sizes": "refused", "upsample_initial_channel": "refused",
        "resblock_kernel_sizes": "refused", "resblock_dilation_sizes": "another output",
        "num_mels": "refused",
        "activation": "refused", "snake_logscale": "another output",
        "use_tanh_at_final": "another output", "use_bias_at_final": "refused",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_of_a_generator_is_ignored(name, tmp_path):
    weights, config, mel, _ = published(name)
    config |= {"use_tanh_at_final": True, "use_bias_at_final": True} if "big" in name else {}
    weights = {n: t * 3 if n == "conv_post.weight_g" else t for n, t in weights.items()}
    kind = FILES[name]

    def output(document):
        (tmp_path / "config.json").write_text(json.dumps(document))
        network, notes = vocoder_of(tmp_path / "g", kind, weights, tmp_path / "config.json")
        assert not notes
        with torch.no_grad():
            return network(mel)

    first = output(config)
    for field, value in config.items():
        if isinstance(value, dict):  # dist_config
            continue
        document = config | {field: changed(value) if value else 7}
        effect = SETTINGS[name].get(field, "none, it is of the training")
        if effect == "refused":
            with pytest.raises(WeightsError):
                output(document)
        elif effect == "another output":
            y = output(document)
            assert y.shape != first.shape or not torch.allclose(y, first, atol=1e-4), field
        else:
            assert torch.equal(output(document), first), field
        if effect != "none, it is of the training" and not field.startswith(("use_", "num_mels")):
            lacking = {key: v for key, v in config.items() if key != field}
            with pytest.raises(WeightsError, match=f"has no {field}"):
                output(lacking)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_mels": 100}, r"conv_pre\.weight_v \(\d+, 80, 7\), expected \(\d+, 100, 7\); is "),
        ({"upsample_initial_channel": 512}, r"conv_pre\.bias .*; .*; .* and \d+ more; is "),
        ({"resblock": "1"}, r"missing .*unknown .*; is "),
    ],
)
def test_the_config_of_another_vocoder_is_said_in_words(change, words, tmp_path):
    weights, config, _, _ = published("hifi_v3")
    path, json_path = written(tmp_path, weights, config | change)
    with pytest.raises(WeightsError, match=words) as caught:
        import_weights(path, tmp_path / "voice", config=json_path)
    assert str(caught.value).endswith(f"{json_path} the config.json beside the file?")
    assert "\n" not in str(caught.value)
    assert "parametrizations" not in str(caught.value) or change.get("resblock")


def test_export_of_the_other_vocoder_names_it(tmp_path):
    path, json_path = written(tmp_path, *published("bigvgan_base")[:2])
    import_weights(path, tmp_path / "voice", config=json_path)
    with pytest.raises(WeightsError, match=r"expected a Generator of hifigan; .* --to bigvgan "):
        export_weights(tmp_path / "voice", tmp_path / "x", "hifigan")


def test_import_and_export_make_the_folder_of_out_or_name_it(tmp_path, cli):
    path, json_path = written(tmp_path, *published("hifi_v3")[:2])
    cli("import", path, "--config", json_path, "--out", "new/voice")
    said = cli("export", "new/voice", "--to", "hifigan", "--out", "deep/er/g")
    assert "written to deep/er/g" in said.output
    for words in (
        ("import", path, "--config", json_path, "--out", path / "x" / "voice"),
        ("export", "new/voice", "--to", "hifigan", "--out", path / "x" / "g"),
    ):
        said = " ".join(cli(*words, code=1).output.split())
        assert f"{words[-1]} cannot be written: " in said
        assert "choose another path" in said


def test_a_field_that_is_not_known_is_named(tmp_path):
    weights, config, _, _ = published("hifi_v3")
    path, json_path = written(tmp_path, weights, config | {"gin_channels": 4})
    done = import_weights(path, tmp_path / "voice", config=json_path)
    assert done.notes == (
        "config.json also has gin_channels, which hifigan's generator has not; it is not used",
    )


@pytest.mark.parametrize("block", [1, 2, None])
def test_a_block_that_is_no_string_is_read_from_the_weights(block, tmp_path):
    """The originals compare it with "1", so that the number 1 makes the block "2"."""
    weights, config, mel, want = published("hifi_v3")
    path, json_path = written(tmp_path, weights, config | {"resblock": block})
    network, _ = vocoder_of(path, "hifigan", weights, json_path)
    with torch.no_grad():
        assert (network(mel) - want).abs().max() < 1e-5


def test_dilations_that_the_original_does_not_use(tmp_path):
    """Its block "2" takes the first two of each row, whatever more there is."""
    weights, config, mel, want = published("hifi_v3")
    rows = [[*row, 9] for row in config["resblock_dilation_sizes"]]
    path, json_path = written(tmp_path, weights, config | {"resblock_dilation_sizes": rows})
    network, _ = vocoder_of(path, "hifigan", weights, json_path)
    with torch.no_grad():
        assert (network(mel) - want).abs().max() < 1e-5


@pytest.mark.parametrize("kind", VOCODERS)
def test_a_vocoder_with_its_config(kind, tmp_path, cli):
    """Weights in the published form of a weight norm, and settings that are not the network's."""
    module = load_vocoder(kind)
    G = moved(module.Generator(module.Config(**VOCODERS[kind])), 1)
    weights = {
        n.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): t
        for n, t in G.state_dict().items()
    }
    assert any(n.endswith("weight_g") for n in weights)
    torch.save({"generator": weights}, tmp_path / "g_00000001")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(VOCODERS[kind] | {"batch_size": 16, "sampling_rate": 22050}))
    said = cli(
        "import", tmp_path / "g_00000001", "--config", config, "--out", "voice", "--as", kind
    )
    assert f"architecture  {kind}" in said.output
    assert "MIT" in said.output
    assert f"{kind}.Generator.from_pretrained('voice')" in said.output
    mel = torch.randn(2, 5, 6)
    with torch.no_grad():
        assert torch.equal(module.Generator.from_pretrained(tmp_path / "voice")(mel), G.eval()(mel))
    said = cli("export", "voice", "--to", kind, "--out", "back")
    assert "wants the config.json" in said.output
    assert_same(tmp_path / "back", weights)
    other = ({*VOCODERS} - {kind}).pop()
    assert f"expected a Generator of {other}" in cli(
        "export", "voice", "--to", other, "--out", "no", code=1
    ).output  # fmt: skip
    assert "no folder of a vocoder" in cli(
        "export", "nowhere", "--to", kind, "--out", "no", code=1
    ).output  # fmt: skip
    lacking = {n: t for n, t in weights.items() if n != "conv_post.weight_g"}
    with pytest.raises(WeightsError, match=r"missing conv_post\.\S+weight.*; unknown \S+"):
        vocoder_of(tmp_path / "g_2", kind, lacking, config)
    for text, words in (("{", "is not valid JSON"), ("[]", "must hold a JSON object"),
                        ("{}", "has no resblock, upsample_rates"),
                        (json.dumps(VOCODERS[kind] | {"num_mels": 7}), "has other shapes"),
                        (json.dumps(VOCODERS[kind] | {"num_mels": -1}), "num_mels"),
                        (json.dumps(VOCODERS[kind] | {"upsample_initial_channel": 2**40}),
                         "config.json: Storage size")):  # fmt: skip
        config.write_text(text)
        with pytest.raises(WeightsError, match=words):
            vocoder_of(tmp_path / "g_00000001", kind, weights, config)


def test_a_vocoder_without_its_config(tmp_path):
    torch.save({"generator": {"conv_pre.bias": torch.zeros(1)}}, tmp_path / "g_1")
    with pytest.raises(WeightsError, match=r"sizes are in the config\.json .*--config"):
        import_weights(tmp_path / "g_1", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_damaged_weight_is_refused(tmp_path):
    weights, config, _, _ = published("hifi_v3")
    name = next(iter(weights))
    weights[name] = weights[name].clone()
    weights[name].view(-1)[0] = float("inf")
    torch.save({"generator": weights}, tmp_path / "g_1")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=rf"{name} of G_ema in .* got 1 of \d+ numbers that are"):
        import_weights(tmp_path / "g_1", tmp_path / "x", config=tmp_path / "config.json")
