# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3's files: one of the original project, and each setting of its constructor."""

import copy
import functools
import json
import math
from pathlib import Path

import _plain_stylegan2 as of_d
import pytest
import torch
from _plain_stylegan3 import DEFAULTS, MAPPING_DEFAULTS, Generator
from foreign_files import read_description, write_nvidia
from published_table import import_published
from safetensors.torch import load_file

from fastgan.compat.weights import (
    WeightsError,
    import_weights,
    read_weights,
)
from fastgan.compat.weights.configs.stylegan3 import stylegan3_config
from fastgan.models import stylegan3

pytestmark = pytest.mark.usefixtures("reader_here")  # tests/cli/test_transfer.py has the process

PUBLISHED = Path(__file__).parent / "published"
SIZES = {"z_dim": 8, "w_dim": 6, "img_resolution": 16, "img_channels": 3}
BASE = SIZES | {
    "channel_base": 64, "channel_max": 6, "num_layers": 6, "margin_size": 3, "num_fp16_res": 0,
}  # fmt: skip
# {argument: [(another value, the fields of our Config that it changes)]}
CHANGES = {
    "z_dim": [(9, {"z_dim": 9})],
    "c_dim": [(3, {"c_dim": 3})],
    "w_dim": [(7, {"w_dim": 7})],
    "img_resolution": [(32, {"img_height": 32, "img_width": 32})],
    "img_channels": [(1, {"img_channels": 1})],
    "channel_base": [(48, {"channel_base": 48})],
    "channel_max": [(5, {"channel_max": 5})],
    "num_layers": [(3, {"num_layers": 3}), (9, {"num_layers": 9})],
    "num_critical": [(0, {"num_critical": 0}), (3, {"num_critical": 3})],
    "first_cutoff": [(1.5, {"first_cutoff": 1.5})],
    "first_stopband": [(9, {"first_stopband": 9})],
    "last_stopband_rel": [(1.6, {"last_stopband_rel": 1.6})],
    "margin_size": [(0, {"margin_size": 0}), (5, {"margin_size": 5})],
    "output_scale": [(1, {"output_scale": 1})],
    "num_fp16_res": [
        (n, {"half_dtype": "float16", "half_layers": n, "half_on_cpu": False}) for n in (1, 4)],
    "conv_kernel": [(1, {"conv_kernel": 1}), (2, {"conv_kernel": 2})],
    "filter_size": [(1, {"filter_size": 1}), (4, {"filter_size": 4})],
    "lrelu_upsampling": [(1, {"lrelu_upsampling": 1}), (4, {"lrelu_upsampling": 4})],
    "use_radial_filters": [(True, {"use_radial_filters": True})],
    "conv_clamp": [(None, {"conv_clamp": None}), (0.5, {"conv_clamp": 0.5})],
    "magnitude_ema_beta": [(0.9, {"magnitude_ema_beta": 0.9})],
    "mapping_kwargs": [
        ({"num_layers": 1}, {"mapping_layers": 1}),
        ({"num_layers": 8}, {"mapping_layers": 8}),
        ({"lr_multiplier": 0.68}, {"mapping_lr_multiplier": 0.68}),
        ({"w_avg_beta": 0.9}, {"w_avg_beta": 0.9}),
        ({"w_avg_beta": None}, {"w_avg_beta": 1.0}),  # w_avg stays as it is
    ],
}  # fmt: skip
# The same of D, whose images are of 16 × 16, too; a condition is given to both.
BASE_OF_D = {"img_resolution": 16, "img_channels": 3, "channel_base": 128, "channel_max": 12,
             "num_fp16_res": 0, "conv_clamp": 256, "c_dim": 0}  # fmt: skip
CHANGES_OF_D = {
    "architecture": [("orig", {"d_architecture": "orig"}), ("skip", {"d_architecture": "skip"})],
    "channel_base": [(96, {"d_channel_base": 96})],
    "channel_max": [(9, {"d_channel_max": 9})],
    "num_fp16_res": [
        (1, {"half_dtype": "float16", "half_on_cpu": False, "d_half_sizes": 1}),
        (4, {"half_dtype": "float16", "half_on_cpu": False, "d_half_sizes": 2}),
    ],
    "conv_clamp": [(None, {"d_conv_clamp": 0}), (0.5, {"d_conv_clamp": 0.5})],
    "cmap_dim": [(7, {"cmap_dim": 7})],
    "block_kwargs": [
        ({"activation": "relu"}, {"d_activation": "relu", "d_epilogue_activation": "lrelu"}),
        ({"resample_filter": [1, 2, 1]}, {"d_resample_filter": (1, 2, 1)}),
        ({"fp16_channels_last": True}, {}),  # the same values in another order in memory
        ({"freeze_layers": 2}, {}),  # of training; in a file, frozen weights are buffers
    ],
    "mapping_kwargs": [
        ({"num_layers": 2}, {"d_mapping_layers": 2}),
        ({"embed_features": 5}, {"d_embed_features": 5}),
        ({"layer_features": 5}, {"d_layer_features": 5}),
        ({"activation": "relu"}, {"d_mapping_activation": "relu"}),
        ({"lr_multiplier": 0.68}, {"d_mapping_lr_multiplier": 0.68}),
    ],
    "epilogue_kwargs": [
        ({"mbstd_group_size": 2}, {"mbstd_group": 2}),
        ({"mbstd_group_size": None}, {"mbstd_group": None}),
        ({"mbstd_num_channels": 3}, {"mbstd_channels": 3}),
        ({"mbstd_num_channels": 0}, {"mbstd_channels": 0}),
        ({"activation": "swish"}, {"d_epilogue_activation": "swish"}),
    ],
}
MIXED = [
    {"conv_kernel": 1, "use_radial_filters": True, "num_critical": 0, "c_dim": 2},
    {"conv_kernel": 3, "use_radial_filters": True, "filter_size": 4, "lrelu_upsampling": 4},
    {"channel_base": 128, "num_fp16_res": 4, "conv_clamp": None, "c_dim": 5, "margin_size": 10},
]


discriminator = functools.partial(of_d.Discriminator, "stylegan3")


def config_of(description, d=None):
    return stylegan3_config(
        read_description(description), None if d is None else read_description(d)
    )


@functools.cache
def base_config():
    return config_of(Generator(**BASE))


def assert_computes(config, theirs):
    """A network of `config` with their weights, in float64, gives what theirs gives."""
    ours = stylegan3.Generator(config)
    ours.load_state_dict(theirs.weights, strict=True)
    ours = ours.double().eval()
    z = torch.randn(2, config.z_dim, dtype=torch.float64)
    c = torch.eye(config.c_dim, dtype=torch.float64)[:2] if config.c_dim else None
    with torch.no_grad():
        got = ours(z, c, truncation_psi=0.6)
    want = theirs(z, c, 0.6)
    assert (got - want).abs().max() < 1e-9 * (want.max() - want.min())


def assert_judges(config, theirs):
    """The same of D."""
    ours = stylegan3.Discriminator(config)
    ours.load_state_dict(theirs.weights, strict=True)
    ours = ours.double().eval()
    x = torch.randn(4, *config.sample_shape, dtype=torch.float64)
    c = torch.eye(config.c_dim, dtype=torch.float64)[[0, 1, 0, 1]] if config.c_dim else None
    with torch.no_grad():
        got = ours(x, c)
    want = theirs(x, c)
    # The filters are buffers of float32 on both sides.
    assert (got - want).abs().max() < 1e-9 * (want.max() - want.min())


def range_error(got, want):
    return ((got - want).abs().max() / (want.max() - want.min())).item()


def test_a_file_of_the_original_project():
    """Configuration R: what its networks give, and every weight back to the bit."""
    row = import_published(PUBLISHED / "s3_r.pkl")
    assert len(row.differences) == 3
    assert row.of("G") < 1e-5
    assert row.of("D") < 1e-5
    assert row.is_exported


@pytest.mark.parametrize("name", ["G_ema", "D"])
def test_the_plain_writing_is_the_original(name):
    """So that what the plain writing gives for other settings is what the original would give."""
    theirs = read_weights(PUBLISHED / "s3_r.pkl").networks[name]
    arguments = json.loads((PUBLISHED / "s3_r.json").read_text())
    plain = discriminator(**arguments["D"]) if name == "D" else Generator(**arguments["G"])
    assert read_description(plain).modules == theirs.modules
    assert plain.weights.keys() == theirs.weights.keys()
    for key in (key for key in plain.weights if key.endswith("_filter")):
        torch.testing.assert_close(plain.weights[key], theirs.weights[key], rtol=0, atol=1e-7)
    plain.weights = theirs.weights
    expected = load_file(PUBLISHED / "s3_r.expected.safetensors")
    if name == "D":
        assert range_error(plain(expected["x"].double()), expected["D(x, c)"]) < 1e-5
        return
    for psi in (1.0, 0.6):
        got = plain(expected["z"].double(), None, psi)
        assert range_error(got, expected[f"G_ema(z, c) psi={psi}"]) < 2e-6


@pytest.mark.parametrize(
    ("argument", "value", "fields"),
    [(name, *change) for name, changes in CHANGES.items() for change in changes],
)
def test_each_argument_of_the_constructor(argument, value, fields):
    theirs = Generator(**BASE | {argument: value})
    config, base = config_of(theirs), base_config()
    assert {name: getattr(config, name) for name in fields} == fields
    others = vars(config).keys() - fields.keys()
    assert {n: getattr(config, n) for n in others} == {n: getattr(base, n) for n in others}
    assert_computes(config, theirs)


def test_no_argument_is_left_out():
    assert CHANGES.keys() == DEFAULTS.keys() | SIZES.keys()
    of_mapping = {name for value, _ in CHANGES["mapping_kwargs"] for name in value}
    assert of_mapping == MAPPING_DEFAULTS.keys()


@pytest.fixture(scope="module")
def conditional():
    return Generator(**BASE | {"c_dim": 2})


@pytest.mark.parametrize(
    ("argument", "value", "fields"),
    [(name, *change) for name, changes in CHANGES_OF_D.items() for change in changes],
)
def test_each_argument_of_ds_constructor(argument, value, fields, conditional):
    base = config_of(conditional, discriminator(**BASE_OF_D | {"c_dim": 2}))
    theirs = discriminator(**BASE_OF_D | {"c_dim": 2, argument: value})
    config = config_of(conditional, theirs)
    assert {name: getattr(config, name) for name in fields} == fields
    others = vars(config).keys() - fields.keys()
    assert {n: getattr(config, n) for n in others} == {n: getattr(base, n) for n in others}
    assert_judges(config, theirs)


def test_no_argument_of_d_is_left_out():
    assert CHANGES_OF_D.keys() == of_d.DISCRIMINATOR_DEFAULTS.keys()
    for name, defaults in (
        ("block_kwargs", of_d.BLOCK_DEFAULTS),
        ("mapping_kwargs", of_d.MAPPING_DEFAULTS),
        ("epilogue_kwargs", of_d.EPILOGUE_DEFAULTS),
    ):
        assert {k for value, _ in CHANGES_OF_D[name] for k in value} == set(defaults)


@pytest.mark.parametrize("clamps", [(None, 256), (0.5, None), (0.5, 0.5), (256, 0.25)])
def test_g_and_d_have_bounds_of_their_own(clamps):
    G = Generator(**BASE | {"conv_clamp": clamps[0]})
    D = discriminator(**BASE_OF_D | {"conv_clamp": clamps[1]})
    config = config_of(G, D)
    assert (config.conv_clamp, config.discriminator.conv_clamp) == clamps
    assert_computes(config, G)
    assert_judges(config, D)


def test_a_discriminator_of_other_images_is_refused():
    with pytest.raises(ValueError, match="img_height is 16 in G and 32 in D"):
        config_of(Generator(**BASE), discriminator(**BASE_OF_D | {"img_resolution": 32}))
    with pytest.raises(ValueError, match="c_dim is 2 in G and 0 in D"):
        config_of(Generator(**BASE, c_dim=2), discriminator(**BASE_OF_D))


@pytest.mark.parametrize("arguments", MIXED)
def test_arguments_together(arguments):
    theirs = Generator(**BASE | arguments)
    assert_computes(config_of(theirs), theirs)


def test_arguments_that_are_left_to_their_defaults():
    """As published, but for widths that fit a test: all other settings are the class's."""
    theirs = Generator(**SIZES, channel_max=4)
    config = config_of(theirs)
    sizes = {"z_dim": 8, "w_dim": 6, "img_height": 16, "img_width": 16, "channel_max": 4}
    assert config == stylegan3.Config(**sizes, half_dtype="float16", half_on_cpu=False)
    assert_computes(config, theirs)


def another(value):
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value[:-1], another(value[-1])]
    return {int: lambda: value + 1, float: lambda: value * 0.75, str: lambda: "tanh"}.get(
        type(value), lambda: 3
    )()


def all_attributes():
    """(module, attribute), each kind of layer once."""
    modules = Generator(**BASE | {"c_dim": 2}).modules
    chosen = ("", "mapping", "mapping.embed", "mapping.fc1", "synthesis", "synthesis.input",
              "synthesis.input.affine", "synthesis.L3_22_6", "synthesis.L6_16_3")  # fmt: skip
    return [(name, key) for name in chosen for key in modules[name][1]]


STANDS_ALONE = {("mapping", "w_avg_beta"), ("synthesis", "output_scale")}
# Of these, Config is made; what it gives for other modules is then refused there.
DECISIVE = {
    ("", "w_dim"), ("", "img_resolution"), ("mapping", "num_layers"), ("synthesis", "num_layers"),
    ("synthesis", "num_critical"), ("synthesis", "margin_size"), ("synthesis", "num_fp16_res"),
    ("synthesis.input", "bandwidth"),
}  # fmt: skip


@pytest.mark.parametrize(("module", "attribute"), all_attributes())
def test_each_attribute_of_a_module(module, attribute, conditional):
    """One that the others do not confirm is refused by name; one that stands alone is taken."""
    theirs = copy.copy(conditional)
    theirs.modules = copy.deepcopy(conditional.modules)
    about = theirs.modules[module][1]
    value = about[attribute] = another(about[attribute])
    if attribute == "training":
        assert config_of(theirs) == config_of(conditional)
    elif (module, attribute) in STANDS_ALONE:
        assert getattr(config_of(theirs), attribute) == value
    else:
        is_decisive = (module, attribute) in DECISIVE
        words = "must|no module|is missing" if is_decisive else f"{attribute} of {module}"
        with pytest.raises(ValueError, match=words):
            config_of(theirs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.modules["mapping"][1].update(rand_embedding=True),
         "mapping has the unknown attribute rand_embedding = True"),
        (lambda g: g.modules.update({"mapping.embed_proj": ("FullyConnectedLayer", {})}),
         "mapping.embed_proj is a FullyConnectedLayer, which is unknown there"),
        (lambda g: g.modules.update({"": ("SuperresGenerator", g.modules[""][1])}),
         "the network is a SuperresGenerator, which is unknown there"),
        (lambda g: g.modules["synthesis"][1].pop("output_scale"),
         "'synthesis' has no attribute output_scale"),
        (lambda g: g.modules.pop("mapping"), "no module 'mapping'"),
    ],
)  # fmt: skip
def test_generators_of_other_projects_are_refused(change, words):
    theirs = Generator(**BASE)
    change(theirs)
    with pytest.raises(ValueError, match=words) as refused:
        config_of(theirs)
    assert "such as stylegan-xl and stylegan-t, have other parts" in str(refused.value)


def test_an_unknown_argument_is_refused():
    words = "made with the argument cond_args = 1, which is not known"
    with pytest.raises(ValueError, match=words):
        config_of(Generator(**BASE, cond_args=1))


def test_a_refused_file_names_the_setting(tmp_path):
    theirs = Generator(**BASE)
    theirs.modules["synthesis.L4_22_4"][1]["conv_clamp"] = 128
    write_nvidia(tmp_path / "x.pkl", {"G_ema": theirs})
    words = r"conv_clamp of synthesis.L4_22_4 must be 256, got 128\. Expected is a Generator of NV"
    with pytest.raises(WeightsError, match=words):
        import_weights(tmp_path / "x.pkl", tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


def test_weights_without_their_settings_are_refused(tmp_path):
    torch.save({"G_ema": Generator(**BASE).weights}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="weights alone, from which conv_clamp, output_scale"):
        import_weights(tmp_path / "x.pt", tmp_path / "run")


@pytest.mark.parametrize(
    ("module", "attribute", "value", "words"),
    [
        ("synthesis", "num_layers", 10**9, "num_layers must be an integer of at most 4096"),
        ("synthesis.L0_22_6", "up_taps", 10**5, "up_filter must have shape"),
        ("", "img_resolution", "16", "img_resolution must be an integer of at most 4096, got '16'"),
        ("synthesis", "layer_names", 3, "layer_names of synthesis must be a list of names, got 3"),
        ("synthesis", "layer_names", [], "no module 'synthesis.None'"),
        ("synthesis", "output_scale", math.inf, "output_scale must be a finite number, got inf"),
        ("synthesis.L0_22_6", "conv_clamp", "256", "conv_clamp must be a finite number, got '256'"),
        ("synthesis.L0_22_6", "up_taps", None, "up_taps must be a finite number, got None"),
    ],
)
def test_what_a_file_claims_of_a_network_is_bounded(module, attribute, value, words):
    theirs = Generator(**BASE)
    theirs.modules = copy.deepcopy(theirs.modules)
    theirs.modules[module][1][attribute] = value
    with pytest.raises(ValueError, match=words):
        config_of(theirs)
