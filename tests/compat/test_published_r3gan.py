# SPDX-License-Identifier: Apache-2.0
"""Published R3GAN files: what their networks answer, and every argument of their constructors."""

import dataclasses
from pathlib import Path

import pytest
import torch
from _published_r3gan import generate, judge, random_weights
from safetensors.torch import load_file

from fastgan.compat.weights import export_weights, import_weights, read_weights
from fastgan.compat.weights.configs.r3gan import published_classes, r3gan_config
from fastgan.compat.weights.reading import PickledModule, PickledNetwork
from fastgan.models import r3gan
from fastgan.training import DataConfig, TrainConfig, build_state
from fastgan.training.checkpoint.checkpoint import latest, load, load_generator, read_config, save

pytestmark = pytest.mark.usefixtures("reader_here")  # tests/cli/test_transfer.py has the process

FILES = Path(__file__).parent / "published"
BASE = r3gan.Config(
    z_dim=6, widths=(8, 8, 6), blocks=(1, 2, 1), groups=(4, 2, 3), c_dim=3, embed_dim=5,
    d_embed_dim=8, img_height=16, img_width=16,
)  # fmt: skip


def network(c, *, is_d, attributes=None):
    """A network as it is read from a file, with the arguments of c; attributes: of more modules."""
    c = c.discriminator if is_d else c
    made = (r3gan.Discriminator if is_d else r3gan.Generator)(c)
    classes, modules = published_classes(made), {}
    for i in range(len(c.widths)):
        stage = len(c.widths) - 1 - i if is_d else i
        dtype = "bfloat16" if stage in c.bf16_stages else "float32"
        modules[f"Model.MainLayers.{i}"] = {"DataType": dtype}
    modules[""] = {} if is_d else {"z_dim": c.z_dim, "c_dim": c.c_dim, "img_resolution": 16}
    modules = {name: PickledModule(of, modules.get(name, {})) for name, of in classes.items()}
    return PickledNetwork(
        random_weights(c, is_d=is_d, seed=is_d), modules=modules | (attributes or {})
    )


def imported(path, folder):
    """(G, D) of the run into which the file is imported."""
    import_weights(path, folder)
    G, _ = load_generator(folder)
    state = build_state(read_config(latest(folder)))
    load(state, latest(folder))
    return G, state.D


def largest(found, wanted):
    return ((found - wanted).abs().max() / (wanted.max() - wanted.min())).item()


@pytest.mark.parametrize("name", ["r3_plain", "r3_cond"])
def test_a_published_file_answers_as_its_own_networks(name, tmp_path):
    path, want = FILES / f"{name}.pkl", load_file(FILES / f"{name}.expected.safetensors")
    G, D = imported(path, tmp_path / "run")
    c = want["c"] if want["c"].shape[1] else None
    with torch.no_grad():
        assert largest(G(want["z"], c), want["G_ema(z, c) psi=1.0"]) < 1e-5
        assert largest(D(want["x"], c), want["D(x, c)"]) < 1e-5


@pytest.mark.parametrize("name", ["r3_plain", "r3_cond"])
def test_a_published_file_is_exported_bit_for_bit(name, tmp_path):
    import_weights(FILES / f"{name}.pkl", tmp_path / "run")
    export_weights(tmp_path / "run", tmp_path / "out.safetensors", "nvidia")
    back = load_file(tmp_path / "out.safetensors")
    for prefix, network in read_weights(FILES / f"{name}.pkl").networks.items():
        for key, t in network.weights.items():
            assert torch.equal(back.pop(f"{prefix}.{key}"), t), key
    assert not back


def test_an_import_says_that_optimisers_are_left_out(tmp_path):
    (note,) = import_weights(FILES / "r3_plain.pkl", tmp_path / "run").notes
    assert note.startswith("the optimisers of the file (G_opt_state, D_opt_state, after 1000 imag")


def test_what_was_exported_is_imported_again_with_all_settings(tmp_path):
    c = dataclasses.replace(BASE, bf16_stages=(1,), d_bf16_stages=(), d_kernel_size=5)
    state = build_state(
        TrainConfig(name="x", architecture="r3gan", model=c, data=DataConfig(use_labels=True))
    )
    save(state, tmp_path / "run")
    export_weights(tmp_path / "run", tmp_path / "out.safetensors", "nvidia")
    G, D = imported(tmp_path / "out.safetensors", tmp_path / "again")
    assert G.config == c
    for network, again in ((state.G_ema, G), (state.D, D)):
        for name, t in again.state_dict().items():
            assert torch.equal(t, network.state_dict()[name]), name


def test_parameters_are_in_the_order_of_a_published_file():
    """The optimisers in such a file count parameters by it."""
    for cls, is_d in ((r3gan.Generator, False), (r3gan.Discriminator, True)):
        ours = list(cls(BASE).state_dict())
        weights = random_weights(BASE, is_d=is_d, seed=0)
        assert ours == list(weights)


CHANGES = {
    "none": {},
    "NoiseDimension": {"z_dim": 7},
    "WidthPerStage": {"widths": (8, 6, 6)},
    "CardinalityPerStage": {"groups": (2, 4, 1)},
    "BlocksPerStage": {"blocks": (2, 0, 1), "groups": (4, 1, 3)},
    "ExpansionFactor": {"expansion": 3},
    "KernelSize": {"kernel_size": 5},
    "ResamplingFilter": {"resample_filter": (1.0, 5.0, 2.0)},
    "ResamplingFilter of 5": {"resample_filter": (1.0, 4.0, 6.0, 4.0, 1.0)},
    "c_dim": {"c_dim": 0, "embed_dim": None, "d_embed_dim": None},
    "ConditionEmbeddingDimension of G": {"embed_dim": 4},
    "ConditionEmbeddingDimension of D": {"d_embed_dim": 7},
    "FP16Stages": {"bf16_stages": (1, 2)},
    "WidthPerStage of D": {"d_widths": (6, 8, 9), "d_groups": (4, 2, 9)},
    "CardinalityPerStage of D": {"d_groups": (2, 4, 1)},
    "BlocksPerStage of D": {"d_blocks": (2, 1, 1)},
    "ExpansionFactor of D": {"d_expansion": 3},
    "KernelSize of D": {"d_kernel_size": 5},
    "ResamplingFilter of D": {"d_resample_filter": (1.0, 5.0, 2.0)},
    "FP16Stages of D": {"d_bf16_stages": (1,)},
}


@pytest.mark.parametrize("argument", CHANGES)
def test_each_argument_of_the_constructors_is_taken_over(argument):
    """The result is that of the published description, in float64, with the changed argument."""
    c = dataclasses.replace(BASE, **CHANGES[argument])
    files = network(c, is_d=False), network(c, is_d=True)
    assert r3gan_config(*files) == c
    G, D = r3gan.Generator(c), r3gan.Discriminator(c)
    G.load_state_dict(files[0].weights)
    D.load_state_dict(files[1].weights)
    z, x = torch.randn(3, c.z_dim), torch.randn(3, 3, 16, 16)
    label = torch.eye(3) if c.c_dim else None
    wanted = []
    for run, value, file in zip((generate, judge), (z, x), files, strict=True):
        weights = {k: t.double() for k, t in file.weights.items()}
        wanted.append(
            run(
                c if run is generate else c.discriminator,
                weights,
                value.double(),
                None if label is None else label.double(),
            )
        )
    with torch.no_grad():
        found = G(z, label), D(x, label)
    stages = c.bf16_stages, c.discriminator.bf16_stages
    for mine, theirs, halves in zip(found, wanted, stages, strict=True):
        if halves:  # rounded to 8 bits at every layer of a stage
            assert 1e-4 < largest(mine, theirs) < 0.1
        else:
            assert largest(mine, theirs) < 1e-5


@pytest.mark.parametrize("fields", [{"c_dim": 2}, {"img_channels": 1}])
def test_a_discriminator_of_other_samples_than_its_generators_is_refused(fields):
    ((name, value),) = fields.items()
    d = network(dataclasses.replace(BASE, **fields), is_d=True)
    with pytest.raises(ValueError, match=f"{name} of D is {value}; expected G's, 3"):
        r3gan_config(network(BASE, is_d=False), d)


BLOCK = "Model.MainLayers.1.Layers.1"


@pytest.mark.parametrize(
    ("module", "class_name", "attributes", "words"),
    [
        ("Model.MainLayers.1", "GeneratorStage", {"DataType": "float16"},
         r"Model.MainLayers.1.DataType is float16; expected one of float32, bfloat16"),
        (f"{BLOCK}.NonLinearity1", "BiasedActivationCUDA", {"Gain": 1.5},
         "G.Model.*NonLinearity1.Gain is 1.5; expected no such attribute"),
        (f"{BLOCK}.NonLinearity1", "Swish", {}, "is a Swish; expected a class BiasedActivation"),
        ("Model.MainLayers.1.Layers.0.Resampler", "InplaceUpsampler", {},
         "is a InplaceUpsampler; expected a class Interpolative"),
        ("Model.MainLayers.1.Layers.0.Resampler", "InterpolativeUpsampler", {"FilterRadius": 2},
         "Resampler.FilterRadius is 2; expected 1"),
        (f"{BLOCK}.LinearLayer2.Layer", "Conv2d", {"stride": [2, 2], "kernel_size": [3, 3]},
         r"LinearLayer2.Layer.stride is \[2, 2\]; expected \[1, 1\]"),
        (f"{BLOCK}.LinearLayer2.Layer", "Conv2d", {"groups": 4},
         "LinearLayer2.Layer.groups is 4; expected 2"),
        ("Post", "Sigmoid", {}, "G.Post is a Sigmoid; expected no such module"),
        ("Model.Extra", "Linear", {}, "G.Model.Extra is a Linear; expected no such module"),
        ("Model.MainLayers.3", "Tanh", {}, "MainLayers.3 is a Tanh; expected no such module"),
        ("Model.MainLayers.1.Layers.3", "Tanh", {}, "Layers.3 is a Tanh; expected no such module"),
        (BLOCK, "PlainBlock", {}, "is a PlainBlock; expected a class ResidualBlock"),
        ("Model.MainLayers.1.Layers.0", "NearestLayer", {},
         "is a NearestLayer; expected a class UpsampleLayer"),
        ("Model.MainLayers.1", "DiscriminatorStage", {}, "expected a class GeneratorStage"),
        (f"{BLOCK}.LinearLayer2.Layer", "Conv2d",
         {"stride": [1, 1], "kernel_size": [3, 3], "padding": [0, 0]},
         r"LinearLayer2.Layer.padding is \[0, 0\]; expected \[1, 1\]"),
        ("", "Generator", {"img_resolution": 32}, "img_resolution is 32; expected 16"),
        ("", "Generator", {"z_dim": 7}, "z_dim is 7; expected 6"),
    ],
)  # fmt: skip
def test_what_a_module_does_otherwise_is_refused_by_name(module, class_name, attributes, words):
    g = network(BASE, is_d=False, attributes={module: PickledModule(class_name, attributes)})
    with pytest.raises(ValueError, match=words):
        r3gan_config(g, None)


@pytest.mark.parametrize("name", ["r3_plain", "r3_cond"])
def test_the_classes_of_a_published_file_are_all_known(name):
    for role, found in read_weights(FILES / f"{name}.pkl").networks.items():
        c = r3gan_config(*(read_weights(FILES / f"{name}.pkl").networks[n] for n in ("G", "D")))
        ours = (r3gan.Discriminator if role == "D" else r3gan.Generator)(c)
        there = {n: of.class_name.removesuffix("CUDA") for n, of in found.modules.items()}
        assert there == published_classes(ours)


def test_a_module_that_a_discriminator_has_not_is_refused():
    extra = {"Model.Extra": PickledModule("Sigmoid", {})}
    with pytest.raises(ValueError, match=r"D\.Model\.Extra is a Sigmoid; expected no"):
        r3gan_config(network(BASE, is_d=False), network(BASE, is_d=True, attributes=extra))


def test_a_kernel_that_no_filter_gives_is_refused():
    g = network(BASE, is_d=False)
    for factor in (2, 0):
        g.weights["Model.MainLayers.1.Layers.0.Resampler.Kernel"].mul_(factor)
        with pytest.raises(ValueError, match="ResamplingFilter: the first"):
            r3gan_config(g, None)


@pytest.mark.parametrize("name", ["0.Layers.0.Basis", "1.Layers.1.LinearLayer2.Layer.weight"])
def test_an_empty_weight_is_refused(name):
    g = network(BASE, is_d=False)
    g.weights[f"Model.MainLayers.{name}"] = torch.zeros(0, 0, 3, 3)
    with pytest.raises(ValueError, match=f"{name} is empty"):
        r3gan_config(g, None)


def test_attributes_come_out_of_a_file():
    G = read_weights(FILES / "r3_cond.pkl").networks["G"]
    assert G.modules["Model.MainLayers.1"].attributes["DataType"] == "float32"
    convolution = G.modules[f"{BLOCK}.LinearLayer2.Layer"]
    assert (convolution.class_name, convolution.attributes["stride"]) == ("Conv2d", [1, 1])
    assert G.modules[f"{BLOCK}.NonLinearity1"].class_name == "BiasedActivationCUDA"
