# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's files: those of the original project, and each setting of its constructors."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from _plain_stylegan2 import (
    BLOCK_DEFAULTS,
    DISCRIMINATOR_DEFAULTS,
    EPILOGUE_DEFAULTS,
    MAPPING_DEFAULTS,
    SYNTHESIS_DEFAULTS,
    Discriminator,
    Generator,
)
from foreign_files import read_description, write_nvidia
from published_table import import_published
from safetensors.torch import load_file

from fastgan.compat.weights import (
    WeightsError,
    import_weights,
    read_weights,
)
from fastgan.compat.weights.configs.stylegan2 import stylegan2_config
from fastgan.compat.weights.configs.stylegan2_attributes import HARMLESS
from fastgan.models import stylegan2
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file

pytestmark = pytest.mark.usefixtures("reader_here")  # tests/cli/test_transfer.py has the process

PUBLISHED = Path(__file__).parent / "published"
FILES = ("s2a_cond",)
IMAGES = {"img_resolution": 16, "img_channels": 3}
LATENTS = {"z_dim": 8, "c_dim": 2, "w_dim": 6}
WIDTHS = {"channel_base": 64, "channel_max": 8}
G_BASE = IMAGES | LATENTS | {"mapping_kwargs": {"num_layers": 3}, "synthesis_kwargs": WIDTHS}
D_BASE = IMAGES | {"c_dim": 2} | WIDTHS | {"mapping_kwargs": {"num_layers": 3}}
HALF = {"half_dtype": "float16", "half_on_cpu": False}
ACTIVATIONS = ("relu", "linear", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
# {argument: [(another value, the fields of our Config that differ then, and their values)]}
SIZE_CHANGES = {
    "img_resolution": [(32, {"img_height": 32, "img_width": 32})],
    "img_channels": [(1, {"img_channels": 1}), (4, {"img_channels": 4})],
    "c_dim": [(3, {"c_dim": 3}), (0, {"c_dim": 0, "d_mapping_layers": 8})],
}
LATENT_CHANGES = {"z_dim": [(9, {"z_dim": 9})], "w_dim": [(7, {"w_dim": 7})]}
MAPPING_CHANGES = {
    "num_layers": [(1, {"mapping_layers": 1})],
    "embed_features": [(5, {"embed_features": 5})],
    "layer_features": [(9, {"layer_features": 9})],
    "activation": [("relu", {"mapping_activation": "relu", "d_mapping_activation": "lrelu"})],
    "lr_multiplier": [
        (1.1, {"mapping_lr_multiplier": 1.1, "d_mapping_lr_multiplier": 0.01}),
        (1, {"mapping_lr_multiplier": 1, "d_mapping_lr_multiplier": 0.01})],
    "w_avg_beta": [(0.9, {"w_avg_beta": 0.9}), (None, {"w_avg_beta": None})],
}  # fmt: skip
FILTERS = ([1, 2, 1], [1, 2], [1], [1, 2, 3, 3, 2, 3, 2, 1])
SYNTHESIS_CHANGES = {
    "channel_base": [(48, {"channel_base": 48, "d_widths": (8, 8, 4)})],
    "channel_max": [(7, {"channel_max": 7, "d_widths": (8, 8, 4)})],
    "num_fp16_res": [(1, HALF | {"half_sizes": 1, "d_half_sizes": 0}),
                     (4, HALF | {"half_sizes": 2, "d_half_sizes": 0})],
    "architecture": [(kind, {"g_architecture": kind}) for kind in ("orig", "resnet")],
    "resample_filter": [(f, {"resample_filter": tuple(f), "d_resample_filter": (1, 3, 3, 1)})
                        for f in FILTERS],
    "conv_clamp": [(0.7, {"conv_clamp": 0.7, "d_conv_clamp": 0})],
    "fp16_channels_last": [(True, {})],
    "kernel_size": [(1, {"kernel_size": 1}), (5, {"kernel_size": 5})],
    "use_noise": [(False, {"use_noise": False})],
    "activation": [(a, {"activation": a, "d_activation": "lrelu"}) for a in ACTIVATIONS],
}  # fmt: skip
DISCRIMINATOR_CHANGES = {
    "architecture": [(kind, {"d_architecture": kind}) for kind in ("orig", "skip")],
    "channel_base": [(48, {"d_widths": (8, 6, 3)})],
    "channel_max": [(7, {"d_widths": (7, 7, 4)})],
    "num_fp16_res": [(1, HALF | {"half_sizes": 0, "d_half_sizes": 1})],
    "conv_clamp": [(0.7, {"d_conv_clamp": 0.7})],
    "cmap_dim": [(5, {"cmap_dim": 5})],
}
D_MAPPING_CHANGES = {
    "num_layers": [(1, {"d_mapping_layers": 1})],
    "embed_features": [(5, {"d_embed_features": 5})],
    "layer_features": [(9, {"d_layer_features": 9})],
    "activation": [("relu", {"d_mapping_activation": "relu"})],
    "lr_multiplier": [(1.1, {"d_mapping_lr_multiplier": 1.1})],
}
BLOCK_CHANGES = {
    "activation": [
        (a, {"d_activation": a, "d_epilogue_activation": "lrelu"}) for a in ("relu", "swish")],
    "resample_filter": [(f, {"d_resample_filter": tuple(f)}) for f in FILTERS],
    "fp16_channels_last": [(True, {})],
    "freeze_layers": [(2, {})],
}  # fmt: skip
EPILOGUE_CHANGES = {
    "mbstd_group_size": [(2, {"mbstd_group": 2}), (None, {"mbstd_group": None})],
    "mbstd_num_channels": [(0, {"mbstd_channels": 0}), (2, {"mbstd_channels": 2})],
    "activation": [(a, {"d_epilogue_activation": a}) for a in ("relu", "swish")],
}
# Together, in both networks: {arguments of G}, {arguments of D}.
MIXED = [
    ({"synthesis_kwargs": {"architecture": "resnet", "conv_clamp": 0.5, "activation": "relu"}},
     {"architecture": "skip", "conv_clamp": 0.5, "block_kwargs": {"activation": "relu"}}),
    ({"synthesis_kwargs": {"architecture": "orig", "kernel_size": 5, "use_noise": False,
                           "resample_filter": [1, 2, 1], "conv_clamp": 0.5}},
     {"architecture": "orig", "block_kwargs": {"resample_filter": [1, 2, 1]}, "conv_clamp": 0.3,
      "epilogue_kwargs": {"mbstd_num_channels": 4, "mbstd_group_size": 2}}),
    ({"synthesis_kwargs": {"num_fp16_res": 2, "channel_base": 128, "channel_max": 6},
      "mapping_kwargs": {"embed_features": 5, "layer_features": 9, "num_layers": 4}},
     {"num_fp16_res": 1, "channel_max": 5, "cmap_dim": 7, "block_kwargs": {"activation": "selu"},
      "mapping_kwargs": {"embed_features": 4, "layer_features": 3, "lr_multiplier": 0.5}}),
]  # fmt: skip


def config_of(g, d=None):
    return stylegan2_config(read_description(g), None if d is None else read_description(d))


def loaded(network, theirs):
    network.load_state_dict(theirs.weights, strict=True)
    return network.double().eval()


def assert_near(got, want):
    assert got.shape == want.shape
    assert (got - want).abs().max() < 1e-9 * (want.max() - want.min())


def assert_computes(config, g, d=None):
    """Networks of `config` with their weights, in float64, give what theirs give."""
    torch.manual_seed(5)
    c = torch.eye(config.c_dim, dtype=torch.float64)[[0, 1, 1, 0]] if config.c_dim else None
    z = torch.randn(4, config.z_dim, dtype=torch.float64)
    G = loaded(stylegan2.Generator(config), g)
    with torch.no_grad():
        for psi in (1.0, 0.6) if config.w_avg_beta is not None else (1.0,):
            assert_near(G(z, c, truncation_psi=psi, noise_mode="const"), g(z, c, psi))
        if d is not None:
            x = torch.randn(4, *config.sample_shape, dtype=torch.float64)
            assert_near(loaded(stylegan2.Discriminator(config), d)(x, c), d(x, c))


def changed(base, change):
    """Arguments with one dict in them changed: {"a": {"b": 1}} leaves the rest of a as it is."""
    found = dict(base)
    for name, value in change.items():
        inner = isinstance(value, dict)
        found[name] = changed(found.get(name, {}), value) if inner else value
    return found


def assert_changes(g_change, d_change, fields):
    """The Config differs in these fields alone, and its networks compute what theirs do."""
    (base_g, base_d), (g, d) = (
        (Generator(**changed(G_BASE, of_g)), Discriminator(**changed(D_BASE, of_d)))
        for of_g, of_d in (({}, {}), (g_change, d_change))
    )
    base, config = config_of(base_g, base_d), config_of(g, d)
    differs = {n: v for n, v in vars(config).items() if v != getattr(base, n)}
    assert differs == fields
    assert_computes(config, g, d)


def cases(changes):
    return [(name, *change) for name, found in changes.items() for change in found]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_original_project(name):
    row = import_published(PUBLISHED / f"{name}.pkl")
    assert len(row.differences) == 3
    assert row.of("G") < 1e-5
    assert row.of("D") < 1e-5
    assert row.is_exported


def test_the_plain_writing_is_the_original():
    """So that what the plain writing gives for other settings is what the original would give."""
    path = PUBLISHED / f"{FILES[0]}.pkl"
    theirs, expected = (
        read_weights(path).networks,
        load_file(path.with_suffix(".expected.safetensors")),
    )
    arguments = json.loads(path.with_suffix(".json").read_text())
    plain = {"G_ema": Generator(**arguments["G"]), "D": Discriminator(**arguments["D"])}
    for name, network in plain.items():
        assert read_description(network).modules == theirs[name].modules
        assert network.weights.keys() == theirs[name].weights.keys()
        for key in (k for k in network.weights if k.endswith("_filter")):
            torch.testing.assert_close(network.weights[key], theirs[name].weights[key])
        network.weights = theirs[name].weights
    z, c, x = (expected[name].double() for name in "zcx")
    outputs = {f"G_ema(z, c) psi={psi}": plain["G_ema"](z, c, psi) for psi in (1.0, 0.6)}
    for name, got in (outputs | {"D(x, c)": plain["D"](x, c)}).items():
        want = expected[name]
        assert (got - want).abs().max() < 2e-6 * (want.max() - want.min()), name


@pytest.mark.parametrize(("name", "value", "fields"), cases(SIZE_CHANGES))
def test_each_argument_of_both_networks(name, value, fields):
    assert_changes({name: value}, {name: value}, fields)


@pytest.mark.parametrize(("name", "value", "fields"), cases(LATENT_CHANGES))
def test_each_argument_of_the_generator(name, value, fields):
    assert_changes({name: value}, {}, fields)


@pytest.mark.parametrize(("name", "value", "fields"), cases(MAPPING_CHANGES))
def test_each_argument_of_the_generators_mapping(name, value, fields):
    assert_changes({"mapping_kwargs": {name: value}}, {}, fields)


@pytest.mark.parametrize(("name", "value", "fields"), cases(SYNTHESIS_CHANGES))
def test_each_argument_of_the_synthesis(name, value, fields):
    assert_changes({"synthesis_kwargs": {name: value}}, {}, fields)


@pytest.mark.parametrize(("name", "value", "fields"), cases(DISCRIMINATOR_CHANGES))
def test_each_argument_of_the_discriminator(name, value, fields):
    assert_changes({}, {name: value}, fields)


@pytest.mark.parametrize(
    ("group", "name", "value", "fields"),
    [
        (f"{group}_kwargs", *case)
        for group, changes in (
            ("mapping", D_MAPPING_CHANGES), ("block", BLOCK_CHANGES), ("epilogue", EPILOGUE_CHANGES)
        )
        for case in cases(changes)
    ],
)  # fmt: skip
def test_each_argument_of_the_discriminators_parts(group, name, value, fields):
    assert_changes({}, {group: {name: value}}, fields)


def test_no_argument_is_left_out():
    assert MAPPING_CHANGES.keys() == {*MAPPING_DEFAULTS, "w_avg_beta"}
    assert SYNTHESIS_CHANGES.keys() == SYNTHESIS_DEFAULTS.keys()
    assert SIZE_CHANGES.keys() | LATENT_CHANGES.keys() == IMAGES.keys() | LATENTS.keys()
    groups = {"block_kwargs", "mapping_kwargs", "epilogue_kwargs"}
    assert DISCRIMINATOR_CHANGES.keys() == DISCRIMINATOR_DEFAULTS.keys() - groups
    assert D_MAPPING_CHANGES.keys() == MAPPING_DEFAULTS.keys()
    assert BLOCK_CHANGES.keys() == BLOCK_DEFAULTS.keys()
    assert EPILOGUE_CHANGES.keys() == EPILOGUE_DEFAULTS.keys()


@pytest.mark.parametrize(("of_g", "of_d"), MIXED)
def test_arguments_together(of_g, of_d):
    g, d = Generator(**changed(G_BASE, of_g)), Discriminator(**changed(D_BASE, of_d))
    assert_computes(config_of(g, d), g, d)


def test_files_of_the_stylegan3_code_base_have_its_defaults():
    """conv_clamp 256, and float16 at the 4 largest sizes on CUDA: classes of the same names."""
    g = Generator("stylegan3", **IMAGES, **LATENTS, **WIDTHS)
    d = Discriminator("stylegan3", **IMAGES, c_dim=2, **WIDTHS)
    config = config_of(g, d)
    assert config == stylegan2.Config(
        z_dim=8, c_dim=2, w_dim=6, img_height=16, img_width=16, channel_base=64, channel_max=8,
        conv_clamp=256.0, half_sizes=2, **HALF,
    )  # fmt: skip
    for network in (g, d):  # so that the clamp is met
        for name in (n for n in network.weights if n.endswith(".bias") and "affine" not in n):
            network.weights[name] *= 3000
    assert_computes(config, g, d)


def test_images_of_4x4():
    g = Generator(**G_BASE | {"img_resolution": 4})
    assert_computes(config_of(g), g)


def another(value):
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value[:-1], another(value[-1])]
    return {int: lambda: value + 1, float: lambda: value * 0.75, str: lambda: "tanh"}.get(
        type(value), lambda: 3
    )()


NETWORKS = {
    "G": Generator("stylegan3", **changed(G_BASE, {"architecture": "resnet"})),
    "D": Discriminator("stylegan3", **D_BASE, conv_clamp=1.5),
}
# Attributes of which there is one, so that nothing confirms them: the field is as they say.
STANDS_ALONE = {("mapping", "w_avg_beta"): "w_avg_beta", ("b4.mbstd", "group_size"): "mbstd_group"}


def all_attributes():
    """(network, module, attribute): each kind of layer once."""
    chosen = {
        "G": ("", "mapping", "mapping.embed", "mapping.fc1", "synthesis", "synthesis.b4",
              "synthesis.b16", "synthesis.b16.conv0", "synthesis.b8.conv1", "synthesis.b16.torgb",
              "synthesis.b8.conv1.affine", "synthesis.b8.skip"),
        "D": ("", "mapping", "mapping.embed", "mapping.fc1", "b16", "b16.fromrgb", "b8.conv0",
              "b16.conv1", "b8.skip", "b4", "b4.mbstd", "b4.conv", "b4.fc", "b4.out"),
    }  # fmt: skip
    kinds = {
        kind: {about[0] for about in network.modules.values()} for kind, network in NETWORKS.items()
    }
    assert kinds == {k: {NETWORKS[k].modules[name][0] for name in chosen[k]} for k in chosen}
    return [(k, m, a) for k in chosen for m in chosen[k] for a in NETWORKS[k].modules[m][1]]


def with_attributes(network, module, **attributes):
    found = copy.copy(network)
    found.modules = copy.deepcopy(network.modules)
    found.modules[module][1].update(attributes)
    return found


@pytest.mark.parametrize(("network", "module", "attribute"), all_attributes())
def test_each_attribute_of_a_module(network, module, attribute):
    """One that the others do not confirm is refused by name; one that stands alone is taken."""
    value = another(NETWORKS[network].modules[module][1][attribute])
    theirs = NETWORKS | {network: with_attributes(NETWORKS[network], module, **{attribute: value})}
    if attribute in HARMLESS:
        assert config_of(theirs["G"], theirs["D"]) == config_of(NETWORKS["G"], NETWORKS["D"])
    elif (module, attribute) in STANDS_ALONE and (network, module) != ("D", "mapping"):
        field = STANDS_ALONE[module, attribute]
        assert getattr(config_of(theirs["G"], theirs["D"]), field) == value
    else:
        with pytest.raises(ValueError, match=attribute):
            config_of(theirs["G"], theirs["D"])


@pytest.mark.parametrize(
    ("network", "change", "words"),
    [
        ("G", lambda n: n.modules["synthesis"][1].update(rand_embedding=True),
         "G: synthesis has the unknown attribute rand_embedding = True"),
        ("G", lambda n: n.modules.update({"": ("EdgeGenerator", n.modules[""][1])}),
         "the network is a EdgeGenerator, which is unknown there"),
        ("G", lambda n: n.modules["synthesis.b16.conv1"][1].pop("conv_clamp"),
         r"'synthesis.b16.conv1' has no attribute conv_clamp"),
        ("G", lambda n: n.arguments.update(truncate_noise=0.5),
         "G was made with the argument truncate_noise = 0.5, which is not known"),
        ("G", lambda n: n.arguments.update(mapping_kwargs={"norm": False}),
         "mapping_kwargs of G was made with the argument norm = False, which is not known"),
        ("D", lambda n: n.arguments.update(block_kwargs={"attention": True}),
         "block_kwargs of D was made with the argument attention = True, which is not known"),
        ("D", lambda n: n.modules.update({"b4.head": ("Linear", {})}),
         "D: b4.head is a Linear, which is unknown there.*other parts"),
        ("D", lambda n: n.modules.pop("b4.mbstd"), "no module 'b4.mbstd'"),
    ],
)  # fmt: skip
def test_what_is_not_published_is_refused(network, change, words):
    theirs = {name: copy.deepcopy(found) for name, found in NETWORKS.items()}
    change(theirs[network])
    with pytest.raises(ValueError, match=words):
        config_of(theirs["G"], theirs["D"])


@pytest.mark.parametrize(
    ("of_g", "of_d", "words"),
    [
        ({"img_channels": 1}, {}, "img_channels is 1 in G and 3 in D"),
        ({"c_dim": 3}, {}, "c_dim is 3 in G and 2 in D"),
        ({}, {"img_resolution": 4}, "images of 8×8 or larger"),
        ({"synthesis_kwargs": {"kernel_size": 4}}, {}, "kernel_size must be odd, got 4"),
        ({"synthesis_kwargs": {"use_noise": "no"}}, {}, "use_noise must be one of False, True"),
        ({"mapping_kwargs": {"num_layers": 0}}, {}, "num_layers 0; expected 1 or more"),
        ({}, {"mapping_kwargs": {"num_layers": 0}}, "num_layers 0; expected 1 or more"),
    ],
)  # fmt: skip
def test_what_our_config_cannot_say_is_refused(of_g, of_d, words):
    g, d = Generator(**changed(G_BASE, of_g)), Discriminator(**changed(D_BASE, of_d))
    with pytest.raises(ValueError, match=words):
        config_of(g, d)


@pytest.mark.parametrize("kind", ["pickled", "weights alone"])
def test_sizes_that_a_file_claims_cost_no_memory(kind):
    """Names of blocks up to 2^40, of one weight each."""
    g = read_description(Generator(**G_BASE))
    weights = dict(g.weights)
    for n in range(5, 41):
        for part in ("conv1.weight", "torgb.weight", "conv0.weight", "conv0.resample_filter"):
            weights[f"synthesis.b{2**n}.{part}"] = g.weights[f"synthesis.b16.{part}"]
        weights[f"synthesis.b{2**n}.resample_filter"] = g.weights["synthesis.b4.resample_filter"]
    modules = g.modules if kind == "pickled" else {}
    with pytest.raises(ValueError, match=r"the weight \S+ is missing|must have shape|no module"):
        stylegan2_config(dataclasses.replace(g, weights=weights, modules=modules), None)


def test_a_refused_file_names_the_setting(tmp_path):
    theirs = with_attributes(NETWORKS["G"], "synthesis.b8.conv1", conv_clamp=128)
    write_nvidia(tmp_path / "x.pkl", {"G_ema": theirs})
    with pytest.raises(WeightsError, match=r"G: conv_clamp of synthesis\.b8\.conv1 must be 256"):
        import_weights(tmp_path / "x.pkl", tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


@pytest.mark.parametrize("factor", [0, -1])
def test_a_filter_without_taps_is_named(factor):
    g = read_description(Generator(**G_BASE))
    filters = {n: t * factor for n, t in g.weights.items() if n.endswith("resample_filter")}
    with pytest.raises(ValueError, match=r"resample_filter must be finite floating-point taps"):
        stylegan2_config(dataclasses.replace(g, weights={**g.weights, **filters}), None)


def test_g_and_its_average_have_the_same_settings(tmp_path):
    other = changed(G_BASE, {"synthesis_kwargs": {"activation": "relu"}})
    g, other = Generator(**G_BASE), Generator(**other)
    write_nvidia(tmp_path / "x.pkl", {"G": other, "G_ema": g})
    with pytest.raises(WeightsError, match="G and G_ema differ in activation; import one of them"):
        import_weights(tmp_path / "x.pkl", tmp_path / "run")


def test_training_goes_on_with_the_settings_of_the_file(tmp_path):
    g, d = (
        Generator(**changed(G_BASE, MIXED[2][0])),
        Discriminator(**changed(D_BASE, MIXED[2][1])),
    )
    write_nvidia(tmp_path / "x.pkl", {"G": g, "D": d, "G_ema": g})
    (note,) = import_weights(tmp_path / "x.pkl", tmp_path / "run").notes
    assert "num_fp16_res: float16 is used on CUDA; a CPU computes in float32" in note
    document = checkpoint_file.read_document(checkpoint.latest(tmp_path / "run"))
    saved = json.loads(json.dumps(dataclasses.asdict(config_of(g, d))))
    assert document["config"]["model"] == saved
