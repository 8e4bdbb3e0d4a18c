# SPDX-License-Identifier: Apache-2.0
"""Forms in which files come: wrapped names, one network of several, a generator alone, dill, what
`export` writes, other pickle protocols; and what is said of a file that is something else."""

import argparse
import dataclasses
import gzip
import json
import lzma
import math
import os
import pickle
import types
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from foreign_files import (
    EfficientNet,
    Made,
    ProjectedDiscriminator,
    _create_function,
    _create_type,
    _load_type,
    as_described,
    moved,
    their_modules,
    write_nvidia,
)
from safetensors.torch import load_file, save_file

from fastgan.compat.weights import WeightsError, export_weights, import_weights, read_weights
from fastgan.models import rosinality
from fastgan.training import load_generator
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file

PUBLISHED = Path(__file__).parent / "published"
R3GAN = PUBLISHED / "r3_cond.pkl"
SIZE = {"img_height": 8, "img_width": 8, "z_dim": 6, "n_mlp": 2, "channel_max": 8}


@pytest.fixture(scope="module")
def published():
    """{"G", "D" or "G_ema": a description that `write_nvidia` takes} of R3GAN's file."""
    return {
        name: dataclasses.replace(
            network,
            modules={n: (of.class_name, of.attributes) for n, of in network.modules.items()},
        )
        for name, network in read_weights(R3GAN).networks.items()
    }


@pytest.fixture(scope="module")
def generator():
    return moved(rosinality.Generator(rosinality.Config(**SIZE)), 1).state_dict()


def average(run):
    return load_generator(run)[0].state_dict()


def tensors_of(run):
    path = checkpoint.latest(run)
    return checkpoint_file.read_tensors(path, checkpoint_file.read_document(path))


def assert_equal(found, wanted):
    assert set(found) == set(wanted)
    for name, t in wanted.items():
        assert torch.equal(found[name], t), name


@pytest.mark.parametrize(
    "wrapped",
    [
        "module.{}",
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "module.module.{}",
    ],
)
@pytest.mark.usefixtures("reader_here")
def test_names_of_wrappers_are_taken_off(wrapped, generator, tmp_path):
    torch.save({"g_ema": generator}, tmp_path / "plain.pt")
    import_weights(tmp_path / "plain.pt", tmp_path / "plain")
    torch.save({"g_ema": {wrapped.format(n): t for n, t in generator.items()}}, tmp_path / "x.pt")
    import_weights(tmp_path / "x.pt", tmp_path / "x")
    assert_equal(average(tmp_path / "x"), average(tmp_path / "plain"))


@pytest.mark.usefixtures("reader_here")
def test_a_wrapper_within_the_network(generator, tmp_path):
    """torch.compile of one layer; and two names that a wrapper alone tells apart."""
    inner = {n.replace("convs.0.", "convs.0._orig_mod."): t for n, t in generator.items()}
    torch.save({"g_ema": inner}, tmp_path / "x.pt")
    import_weights(tmp_path / "x.pt", tmp_path / "x")
    torch.save({"g_ema": generator | inner}, tmp_path / "y.pt")
    with pytest.raises(WeightsError, match="names differ by module and _orig_mod alone"):
        import_weights(tmp_path / "y.pt", tmp_path / "y")


@pytest.mark.parametrize("kind", ["NaN", "int64", "bool", "complex64"])
@pytest.mark.parametrize("role", ["G_ema", "D"])
@pytest.mark.usefixtures("reader_here")
def test_weights_that_are_not_finite_floating_point_numbers_are_refused(
    kind, role, published, tmp_path
):
    name = "Model.MainLayers.0.Layers.1.NonLinearity1.Bias"
    t = published[role].weights[name]
    bad = t * math.nan if kind == "NaN" else t.to(getattr(torch, kind))
    of = dataclasses.replace(published[role], weights={**published[role].weights, name: bad})
    write_nvidia(tmp_path / "x.pkl", {**published, role: of})
    came = f"{t.numel()} of {t.numel()} numbers that are NaN or infinite" if kind == "NaN" else kind
    more = "" if role == "G_ema" else ".*G_ema fits: --only G_ema"
    words = f"{name} of {role} in .* must be finite floating-point numbers, got {came}; the file is"
    with pytest.raises(WeightsError, match=words + more):
        import_weights(tmp_path / "x.pkl", tmp_path / "no")


def foreign_discriminator():
    """What a D of projected-gan pickles: modules of timm by name, and objects that dill makes."""
    layer = EfficientNet(
        {"_parameters": {"weight": torch.nn.Parameter(torch.zeros(2))}, "_modules": {}}
    )
    made = Made(_create_type, type, "Head", (), {"forward": Made(_create_function, "code")})
    state = {"feature_network": layer, "head": Made(_load_type, "CodeType"), "made": made}
    return ProjectedDiscriminator({"_parameters": {}, "_modules": state})


@pytest.mark.parametrize("kind", ["names", "shapes", "projected-gan", "not a tensor"])
@pytest.mark.usefixtures("reader_here")
def test_a_discriminator_that_is_not_ours_does_not_block_g(kind, published, tmp_path, cli):
    networks = dict(published)
    d = published["D"]
    if kind == "names":
        more = {**d.weights, "Model.Extra": torch.zeros(1)}
        networks["D"] = dataclasses.replace(d, weights=more)
    elif kind == "shapes":
        more = {n: t[:1] if n.endswith("Bias") else t for n, t in d.weights.items()}
        networks["D"] = dataclasses.replace(d, weights=more)
    else:
        networks["D"] = foreign_discriminator()
        if kind == "not a tensor":
            networks["D"].__dict__["_parameters"] = {"weight": "a string"}
    write_nvidia(tmp_path / "x.pkl", networks)
    with pytest.raises(WeightsError, match=r"--only G_ema \(only=\['G_ema'\]\)"):
        import_weights(tmp_path / "x.pkl", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    said = cli("import", tmp_path / "x.pkl", "--out", "run", "--only", "G_ema").output
    assert "networks      G_ema\n" in said
    assert "D of the file is left out" in said
    assert_equal(average(tmp_path / "run"), dict(published["G_ema"].weights))
    cli("import", tmp_path / "x.pkl", "--out", "two", "--only", "G_ema,G")
    saved = tensors_of(tmp_path / "two")
    assert all(torch.equal(saved[f"G.{n}"], t) for n, t in published["G"].weights.items())


@pytest.mark.usefixtures("reader_here")
def test_which_networks_are_asked_for(generator, tmp_path, cli):
    torch.save({"g_ema": generator, "g": generator}, tmp_path / "x.pt")
    assert import_weights(tmp_path / "x.pt", tmp_path / "a", only=["G"]).networks == ("G_ema",)
    for only, words in (
        (["D"], "only must hold G_ema, G or both"),
        (["G_ema", "E"], "only must hold G_ema, G or both"),
        (["G_ema", "D"], r"has no D; it has G_ema, G, so leave D out of only \(--only\)"),
    ):
        with pytest.raises(WeightsError, match=words):
            import_weights(tmp_path / "x.pt", tmp_path / "b", only=only)
    said = cli("import", tmp_path / "x.pt", "--out", "c", "--only", "G_ema", "--only", "G").output
    assert "networks      G_ema, G\n" in said


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.usefixtures("reader_here")
def test_a_generator_alone_in_every_protocol(protocol, published, tmp_path):
    """A bare network in a pickle is its moving average."""
    with their_modules(), (tmp_path / "x.pkl").open("wb") as file:
        pickle.dump(as_described(published["G_ema"]), file, protocol=protocol)
    done = import_weights(tmp_path / "x.pkl", tmp_path / "run")
    assert done.networks == ("G_ema",)
    assert_equal(average(tmp_path / "run"), dict(published["G_ema"].weights))


@pytest.mark.parametrize("form", ["NVIDIA's", "R3GAN's", "rosinality's", "a pickle"])
@pytest.mark.usefixtures("reader_here")
def test_a_discriminator_alone_is_named_as_such(form, published, tmp_path):
    path = tmp_path / "d.pkl"
    if form == "a pickle":
        with their_modules(), path.open("wb") as file:
            pickle.dump(as_described(published["D"]), file)
    elif form == "rosinality's":
        D = rosinality.Discriminator(rosinality.Config(**SIZE))
        torch.save(D.state_dict(), path)
    else:
        name = "r3_cond.pkl" if form == "R3GAN's" else "s3_r.pkl"
        torch.save(dict(read_weights(PUBLISHED / name).networks["D"].weights), path)
    with pytest.raises(WeightsError, match=r"holds a discriminator .* and no generator"):
        import_weights(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", ["r3_cond.pkl", "s3_r.pkl"])
@pytest.mark.usefixtures("reader_here")
def test_an_export_with_nvidias_names_is_imported_again(file, tmp_path):
    """With every setting and to the bit, whatever the file is called."""
    import_weights(PUBLISHED / file, tmp_path / "a")
    assert export_weights(tmp_path / "a", tmp_path / "x.safetensors", "nvidia") == ()
    with pytest.raises(WeightsError, match=r"must not end in \.pkl: NVIDIA's \.pkl files hold the"):
        export_weights(tmp_path / "a", tmp_path / "x.pkl", "nvidia")
    done = import_weights(tmp_path / "x.safetensors", tmp_path / "b")
    assert done.networks == ("G_ema", "G", "D")
    assert done.notes == ()
    models = [
        checkpoint_file.read_document(checkpoint.latest(tmp_path / run))["config"]["model"]
        for run in "ab"
    ]
    assert models[0] == models[1]
    networks = [
        {n: t for n, t in tensors_of(tmp_path / run).items() if n.startswith(("G", "D."))}
        for run in "ab"
    ]
    assert_equal(*networks)
    export_weights(tmp_path / "b", tmp_path / "y.pt", "nvidia")
    assert_equal(load_file(tmp_path / "y.pt"), load_file(tmp_path / "x.safetensors"))
    theirs = read_weights(PUBLISHED / file).networks
    again = load_file(tmp_path / "y.pt")
    for name, network in theirs.items():
        for key, t in network.weights.items():
            assert again[f"{name}.{key}"].dtype == t.dtype
            assert torch.equal(again[f"{name}.{key}"], t), key
    assert import_weights(tmp_path / "y.pt", tmp_path / "c", only=["G_ema"]).networks == ("G_ema",)


@pytest.mark.usefixtures("reader_here")
def test_metadata_that_means_harm(tmp_path):
    import_weights(R3GAN, tmp_path / "a", only=["G_ema"])
    export_weights(tmp_path / "a", tmp_path / "x.safetensors", "nvidia")
    weights = load_file(tmp_path / "x.safetensors")
    model = checkpoint_file.read_document(checkpoint.latest(tmp_path / "a"))["config"]["model"]

    def refused(about, words):
        save_file(weights, tmp_path / "y.safetensors", {"fastgan": about})
        with pytest.raises(WeightsError, match=words):
            import_weights(tmp_path / "y.safetensors", tmp_path / "no")
        assert not (tmp_path / "no").exists()

    def about(**fields):
        return json.dumps({"architecture": "r3gan", "model": model | fields})

    refused("{", "metadata that is no JSON")
    refused('{"architecture": "os", "model": {}}', "metadata names 'os'")
    refused('{"architecture": "r3gan", "model": []}', "metadata has no model")
    refused('{"architecture": "r3gan", "model": {}}', r"configuration in .*missing ")
    refused(about(z_dim=10**9), "z_dim is 1000000000, which no network of these weights has")
    refused(about(blocks=[10**9]), "blocks is")
    refused(about(harm=1), "unknown harm")
    (tmp_path / "y.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}" + b" " * 99)
    with pytest.raises(WeightsError, match="no valid safetensors"):
        import_weights(tmp_path / "y.safetensors", tmp_path / "no")


@pytest.mark.usefixtures("reader_here")
def test_what_a_file_is_that_is_no_weights(generator, tmp_path):
    torch.save({"g_ema": generator}, tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    for data, words in (
        (lzma.compress(content), "data compressed by xz; unpack it first"),
        (gzip.compress(content), "data compressed by gzip; unpack it first"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of git-lfs"),
        (b"<!DOCTYPE html><html>", "a web page instead of weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"", "no valid pickle"),
        (content[: len(content) // 2], "the beginning of a file of torch.save"),
    ):
        (tmp_path / "y.pkl").write_bytes(data)
        with pytest.raises(WeightsError, match=words):
            read_weights(tmp_path / "y.pkl")
    (tmp_path / "x.pkl").write_bytes(content)  # torch's file under the name of a pickle
    assert set(read_weights(tmp_path / "x.pkl").networks) == {"g_ema"}


def test_a_network_of_tensorflow_is_named_as_one(tmp_path):
    """The first StyleGANs': three networks in a tuple."""
    one = b"cdnnlib.tflib.network\nNetwork\n)\x81}b"
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02" + one * 3 + b"\x87.")
    with pytest.raises(
        WeightsError, match=r"a network of TensorFlow .*legacy\.py of stylegan2-ada"
    ):
        read_weights(tmp_path / "x.pkl")


@pytest.mark.usefixtures("reader_here")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mapping.embed_proj.weight", "is StyleGAN-XL's class-conditional one"),
        ("synthesis.init.init.1.weight_orig", "is projected-gan's lightweight one"),
    ],
)
def test_generators_that_fastgan_has_not_are_named(name, words, tmp_path):
    torch.save({"G_ema": {name: torch.zeros(2)}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=words):
        import_weights(tmp_path / "x.pt", tmp_path / "run")


class Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "form", ["in D", "in dill's arguments", "a bare network", "bytes for dill"]
)
def test_harm_in_each_form_is_refused_and_runs_nothing(form, published, tmp_path):
    """Names that stay inert take arguments, and those are objects of the file, too."""
    harm = Call(os.system, f"touch {tmp_path}/ran")
    path = tmp_path / "x.pkl"
    if form == "a bare network":
        network = as_described(published["G_ema"])
        network.state["harm"] = harm
        with their_modules():
            path.write_bytes(pickle.dumps(network))
    else:
        argument = harm if form == "in dill's arguments" else b"cos\nsystem\n."
        D = foreign_discriminator()
        D._modules["made"] = Made(_create_function, argument)
        if form == "in D":
            D._modules["harm"] = harm
        write_nvidia(path, {"G_ema": published["G_ema"], "D": D})
    if form == "bytes for dill":  # a pickle as dill's argument is never loaded
        import_weights(path, tmp_path / "run", only=["G_ema"])
    else:
        with pytest.raises(WeightsError, match=r"the global posix\.system"):
            import_weights(path, tmp_path / "run", only=["G_ema"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("place", "is_zip"), [("beside the weights", True), ("in args", False)])
def test_the_global_that_torch_load_refuses_is_named(place, is_zip, generator, tmp_path):
    """In our words: torch's own recommend to read the file without any check."""
    harm = Call(os.system, f"touch {tmp_path}/ran")
    args = argparse.Namespace(size=8, x=harm) if place == "in args" else harm
    path = tmp_path / "x.pt"
    content = {"g_ema": generator, "args": args}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    words = (
        r"it contains the global posix\.system, which weights do not need; nothing of it was run"
    )
    with pytest.raises(WeightsError, match=words) as caught:
        read_weights(path)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("reader_here")
def test_what_else_torch_load_refuses_is_one_plain_sentence(generator, tmp_path):
    path = tmp_path / "x.pt"
    harms = (Call(slice, 1), Call(PurePosixPath.joinpath, "x"), Call(np.dtype("f4").type, 1))
    contents = []
    for harm in harms:
        torch.save({"g_ema": generator, "x": harm}, path)
        contents.append(path.read_bytes())
    torch.save({"g_ema": generator}, path, _use_new_zipfile_serialization=False)
    contents += [path.read_bytes()[:400], path.read_bytes()[:20]]
    contents.append(path.read_bytes().replace(b"OrderedDict", b"Ordered\x1b[1m"))  # a global's name
    torch.save({"g_ema": generator}, path)
    contents.append(path.read_bytes().replace(b"data.pkl", b"data.pki"))
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"it contains (the global|no valid file)") as caught:
            read_weights(path)
        said = str(caught.value)
        assert said.isprintable()
        assert "weights_only" not in said
        assert "Weights only" not in said


@pytest.mark.usefixtures("reader_here")
def test_the_values_that_args_may_hold(generator, tmp_path):
    """Those that `patch` reads, too. NumPy's numbers are settings; a path becomes None."""
    args = argparse.Namespace(
        size=8, lr=np.float64(0.5), lr_mlp=np.float32(0.25), path=PurePosixPath("a"),
        augment=types.SimpleNamespace(p=np.int64(3)),
    )  # fmt: skip
    content = {"g_ema": generator, "args": args, "best": np.float32(7)}
    torch.save(content | {"more": types.SimpleNamespace(a=1)}, tmp_path / "x.pt")
    before = set(torch.serialization.get_safe_globals())
    found = read_weights(tmp_path / "x.pt").values
    assert found["args"] == {
        "size": 8, "lr": 0.5, "lr_mlp": 0.25, "path": None, "augment": {"p": 3},
    }  # fmt: skip
    assert (found["best"], found["more"]) == (7, {"a": 1})
    assert set(torch.serialization.get_safe_globals()) == before


def test_dills_own_functions_are_never_called(published, tmp_path):
    """They raise in foreign_files, and plain pickle calls them."""
    write_nvidia(tmp_path / "x.pkl", {"D": foreign_discriminator()})
    with their_modules(), pytest.raises(RuntimeError, match="dill"):
        pickle.loads((tmp_path / "x.pkl").read_bytes())
    with pytest.raises(WeightsError, match="has no generator; its networks are D"):
        import_weights(tmp_path / "x.pkl", tmp_path / "run")
