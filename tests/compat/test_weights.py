# SPDX-License-Identifier: Apache-2.0
"""`fastgan import` and `export`: files in the others' forms, what they give, what is refused."""

import dataclasses
import io
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from foreign_files import moved, write_nvidia

from fastgan.compat.weights import (
    WeightsError,
    allow_list,
    child,
    export_weights,
    import_weights,
    read_weights,
    records,
)
from fastgan.models import r3gan, stylegan2
from fastgan.training import load_generator
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file

SIZE = {"img_height": 16, "img_width": 16}
NETWORKS = {
    "stylegan2": (stylegan2, stylegan2.Config(
        z_dim=8, w_dim=6, channel_base=128, channel_max=16, mapping_layers=3, conv_clamp=256.0,
        **SIZE)),
    "stylegan2 with labels": (stylegan2, stylegan2.Config(
        z_dim=8, w_dim=6, c_dim=3, channel_base=128, channel_max=16, d_mapping_layers=2,
        g_architecture="orig", d_architecture="skip", mbstd_group=2, **SIZE)),
    "r3gan": (r3gan, r3gan.Config(
        z_dim=6, c_dim=2, widths=(8, 8, 4), blocks=(1, 2, 1), groups=(4, 2, 2), **SIZE)),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """name → (file, G_ema, G, D)."""
    found, folder = {}, tmp_path_factory.mktemp("foreign")
    for name, (module, config) in NETWORKS.items():
        average, raw = (moved(module.Generator(config), seed) for seed in (1, 2))
        D = moved(module.Discriminator(config), 3)
        path = write_nvidia(
            folder / f"{name}.pkl",
            {"G": raw, "D": D, "G_ema": average},
            by_name=name == "r3gan",
            protocol=3 if name == "stylegan2" else 4,  # Python 3.7's and today's
        )
        found[name] = path, average, raw, D
    return found


def labels(config, n):
    return torch.eye(max(config.c_dim, n))[:n, : config.c_dim] if config.c_dim else None


@pytest.mark.usefixtures("reader_here")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_pickle_of_nvidias_form(name, files, tmp_path):
    path, average, raw, D = files[name]
    done = import_weights(path, tmp_path / "run")
    assert done.architecture == name.split()[0]
    assert done.networks == ("G_ema", "G", "D")
    config = average.config
    z = torch.randn(2, config.z_dim)
    for is_average, theirs in ((True, average), (False, raw)):
        G, _ = load_generator(tmp_path / "run", ema=is_average)
        assert set(G.state_dict()) == set(theirs.state_dict())
        with torch.no_grad():
            images = [net(z, labels(config, 2), noise_mode="const") for net in (G, theirs)]
        assert torch.equal(*images)
    assert set(D.state_dict()) == set(read_weights(path).networks["D"].weights)
    assert "non-commercial" in done.terms or name == "r3gan"


@pytest.mark.usefixtures("reader_here")
def test_the_networks_come_back_to_the_bit(files, tmp_path):
    path, average, raw, D = files["stylegan2 with labels"]
    import_weights(path, tmp_path / "run")
    export_weights(tmp_path / "run", tmp_path / "out.safetensors", "nvidia")
    from safetensors.torch import load_file

    back = load_file(tmp_path / "out.safetensors")
    for prefix, network in (("G_ema", average), ("G", raw), ("D", D)):
        for name, t in network.state_dict().items():
            assert torch.equal(back.pop(f"{prefix}.{name}"), t), name
    assert not back


@pytest.mark.usefixtures("reader_here")
@pytest.mark.parametrize("group", [None, 2, 4])
def test_the_group_of_a_discriminators_statistic(group, tmp_path):
    """None is the whole batch, here 6 samples."""
    name = "stylegan2"
    module, config = NETWORKS[name]
    config = dataclasses.replace(config, mbstd_group=group)
    G, D = moved(module.Generator(config), 1), moved(module.Discriminator(config), 3)
    path = tmp_path / "x.pkl"
    write_nvidia(path, {"G_ema": G, "D": D})
    import_weights(path, tmp_path / "run")
    document = checkpoint_file.read_document(checkpoint.latest(tmp_path / "run"))
    assert document["config"]["model"]["mbstd_group"] == group
    x = torch.randn(6, 3, 16, 16)
    imported = module.Discriminator(module.Config(**document["config"]["model"]))
    saved = checkpoint_file.read_tensors(checkpoint.latest(tmp_path / "run"), document)
    imported.load_state_dict(
        {k.removeprefix("D."): t for k, t in saved.items() if k.startswith("D.")}
    )
    with torch.no_grad():
        want = D(x)
        assert torch.equal(imported.eval()(x), want)
        assert group is not None or not torch.allclose(D(x[:3]), want[:3])
    export_weights(tmp_path / "run", tmp_path / "out.safetensors", "nvidia")
    if name == "stylegan2" and group != 4:
        with pytest.raises(WeightsError, match=f"mbstd_group is {group}, expected 4"):
            export_weights(tmp_path / "run", tmp_path / "x.pt", "rosinality")


def test_an_imported_run_draws_and_goes_on(files, tmp_path, cli):
    result = cli("import", files["stylegan2"][0], "--out", "run")
    assert "architecture  stylegan2" in result.output
    assert "SHA-256" in result.output
    assert "NVIDIA Source Code License" in result.output
    cli("generate", "--network", "run", "--seeds", "0-1", "--trunc", "0.7", "--device", "cpu")
    assert len(list((tmp_path / "out").glob("seed*.png"))) == 2
    assert "exists" in cli("import", files["stylegan2"][0], "--out", "run", code=1).output


@pytest.mark.usefixtures("reader_here")
@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_strict(change, tmp_path):
    c = NETWORKS["r3gan"][1]
    G, D = r3gan.Generator(c), r3gan.Discriminator(c)
    block = G.Model.MainLayers[0].Layers[1]
    if change == "missing":
        del block.NonLinearity1.Bias
    elif change == "unknown":
        block.LinearLayer3.register_parameter("Extra", torch.nn.Parameter(torch.zeros(1)))
    else:
        block.NonLinearity1.Bias = torch.nn.Parameter(torch.zeros(3))
    path = write_nvidia(tmp_path / "x.pkl", {"G_ema": G, "D": D}, by_name=True)
    name = "Model.MainLayers.0.Layers.1"
    words = {
        "missing": f"missing {name}.NonLinearity1.Bias; unknown none",
        "unknown": f"missing none; unknown {name}.LinearLayer3.Extra",
        "shape": rf"{name}.NonLinearity1.Bias \(3,\), expected \(16,\)",
    }[change]
    with pytest.raises(WeightsError, match=words):
        import_weights(path, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]  # nothing half-made


# Files that mean harm. Each would leave a file `ran` where it is read, if it could.


class Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Built(Call):
    """A call, and then a state for what it gives."""

    def __init__(self, function, args, state):
        self.call = function, args, state


FIELDS = 3, "|", None, ("a",), {"a": (np.dtype("u1"), 0)}, 8, 1, 63


def _storage():
    untyped = torch.zeros(4).untyped_storage()
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=torch.float32, _internal=True)


def huge_tensor(stride):
    return Call(torch._utils._rebuild_tensor_v2, _storage(), 0, (10**7,), (stride,), False, {})


def mean_files(folder):
    """kind → bytes."""
    import os

    touch = f"touch {folder}/ran"
    code = f"open({str(folder / 'ran')!r}, 'w')"
    inner = pickle.dumps(Call(os.system, touch), protocol=2)
    yield "os.system", pickle.dumps({"G": Call(os.system, touch)})
    yield "subprocess", pickle.dumps({"G": Call(subprocess.check_output, ["touch", "ran"])})
    yield "eval", pickle.dumps({"G": Call(eval, code)})
    yield "exec", pickle.dumps({"G": Call(exec, code)})
    yield "getattr", pickle.dumps({"G": Call(getattr, "x", "upper")})
    yield "pickle in a storage", pickle.dumps({"G": Call(torch.storage._load_from_bytes, inner)})
    yield "torch.load", pickle.dumps({"G": Call(torch.load, "x.pt")})
    yield (
        "dotted name",
        b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93\x8c" + _short(touch) + b"\x85R.",
    )
    yield "INST", f"(S'{touch}'\nios\nsystem\n.".encode()
    yield "OBJ", f"(cos\nsystem\nS'{touch}'\no.".encode()
    yield "extension code", b"\x80\x02\x82\x01."
    yield "persistent id", b"\x80\x02}X\x01\x00\x00\x00GPwhere\ns."
    yield "a tensor beyond its storage", pickle.dumps({"G": huge_tensor(1)})
    yield "numpy objects", pickle.dumps({"G": np.array([{}, Call(eval, code)])})
    # numpy's own ndarray and dtype would make objects of addresses in the file, and old memory
    yield "objects at addresses", pickle.dumps({"G": Call(np.ndarray, (1,), "O", b"\0" * 8)})
    yield "memory as it was", pickle.dumps({"G": Call(np.ndarray, (64,), "u1")})
    yield "a dtype's state", pickle.dumps({"G": Built(np.dtype, ("f8",), FIELDS)})
    rebuilt = torch._utils._rebuild_tensor_v2
    yield "a tensor repeated", pickle.dumps({"G": huge_tensor(0)})
    grown = Built(rebuilt, (_storage(), 0, (4,), (1,), False, {}), (_storage(), 0, (99,), (1,)))
    yield "a tensor moved in its storage", pickle.dumps({"G": grown})
    yield (
        "a function's attributes",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x01\0\0\0aK\x01s\x86b.",
    )
    yield "a size that is claimed", b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x."
    yield "marks alone", b"\x80\x04" + b"(" * 200000 + b"."
    yield "no pickle", b"not at all"


def _short(text):
    return bytes([len(text)]) + text.encode()


NO_CLASS = "'str' object is not callable"
STATE = "a state for a function or a tensor"
KINDS = {  # kind → why it is refused, so that none is for another reason
    "os.system": r"the global posix\.system",
    "subprocess": r"the global subprocess\.check_output",
    "eval": r"the global builtins\.eval",
    "exec": r"the global builtins\.exec",
    "getattr": r"the global builtins\.getattr",
    "pickle in a storage": r"an invalid storage: it contains the global posix\.system",
    "torch.load": r"the global torch\.serialization\.load",
    "dotted name": r"the global torch\.os\.system",
    "INST": r"the global os\.system",
    "OBJ": r"the global os\.system",
    "extension code": "unregistered extension code 1",
    "persistent id": "a reference to something outside the file",
    "a tensor beyond its storage": "reaches beyond its storage",
    "numpy objects": "the numpy dtype 'O8'",
    "objects at addresses": NO_CLASS,
    "memory as it was": NO_CLASS,
    "a dtype's state": "a numpy dtype with fields",
    "a tensor repeated": "reaches beyond its storage",
    "a tensor moved in its storage": STATE,
    "a function's attributes": STATE,
    "a size that is claimed": "more memory than a file of its size should",
    "marks alone": "unexpected MARK found",
    "no pickle": "invalid load key",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # a warning refuses nothing
def test_a_file_that_means_harm_is_refused_and_runs_nothing(kind, tmp_path):
    files = dict(mean_files(tmp_path))
    assert list(files) == list(KINDS)
    with pytest.raises(allow_list.Refused, match=KINDS[kind]):
        allow_list.load(io.BytesIO(files[kind]))
    assert not list(tmp_path.iterdir())


# Tuples in a tuple are hashed by C code that asks for no end of stack: the reader falls, not we.
DEEP = b"\x80\x04})" + b"\x85" * 10**6 + b"Ns."


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("os.system", r"it contains the global posix\.system"),
        ("pickle in a storage", "it contains an invalid storage"),
        ("tuples in tuples", r"its reader ended \(-\d+\)"),
    ],
)
def test_a_refusal_in_the_other_process(kind, words, tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes({**dict(mean_files(tmp_path)), "tuples in tuples": DEEP}[kind])
    with pytest.raises(WeightsError, match=rf"x\.pkl is refused: {words}"):
        import_weights(path, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]


def test_a_file_of_modules_without_end_is_refused():
    network = allow_list.Record()
    vars(network)["_modules"] = {"a": network}
    with pytest.raises(allow_list.Refused, match="without end"):
        list(records.modules(network))
    with pytest.raises(allow_list.Refused, match="modules in modules without end"):
        records.attributes(network)


def shared(n):
    """2^n paths through n objects."""
    module, values = allow_list.Record(), [1]
    for _ in range(n):
        parent = allow_list.Record()
        vars(parent)["_modules"] = {"a": module, "b": module}
        module, values = parent, [values, values]
    return module, values


def test_what_is_shared_does_not_multiply(monkeypatch):
    monkeypatch.setattr(allow_list, "MOST_VALUES", 1000)
    module, values = shared(9)
    with pytest.raises(allow_list.Refused, match="modules in modules without end"):
        list(records.modules(module))
    with pytest.raises(allow_list.Refused, match="lists in lists without end"):
        records.plain(values)
    with pytest.raises(allow_list.Refused, match="modules in modules without end"):
        records.attributes(module)
    vars(module)["_modules"] = {}
    vars(module)["values"] = values
    with pytest.raises(allow_list.Refused, match="attributes in attributes without end"):
        records.attributes(module)
    module, values = shared(3)
    assert list(records.modules(module)) == []
    assert len(records.attributes(module)) == 15
    assert records.plain(values)[0] == [[[1], [1]]] * 2


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numbers_of_numpy_come_as_plain_ones(protocol):
    given = {
        "size": np.arange(6, dtype=np.int64).reshape(2, 3),
        "turned": np.asfortranarray([[1.5, 2.0], [3.0, 4.0]]),
        "swapped": np.array([1, 2], ">i4"),
        "scalar": np.float32(0.25),
    }
    read = records.plain(allow_list.load(io.BytesIO(pickle.dumps(given, protocol=protocol))))
    assert read == {k: v.tolist() for k, v in given.items()}


def test_attributes_of_modules_are_plain_values():
    network, layer = allow_list._record_class("Net")(), allow_list._record_class("Layer")()
    vars(network)["_modules"] = {"fc": layer, "none": None}
    vars(layer).update(
        act="lrelu", gain=0.5, clamp=None, up=[2, 1], dtype=torch.float16, path={"a": (1,)},
        _hidden=1, weight=allow_list.Held(torch.zeros(1)), long=[0] * 999, big=2**99, other=network,
    )  # fmt: skip
    assert records.attributes(network) == {
        "": {"class": "Net", "attributes": {}},
        "fc": {"class": "Layer", "attributes": {
            "act": "lrelu", "gain": 0.5, "clamp": None, "up": [2, 1], "dtype": "float16",
            "path": {"a": [1]}, "weight": "<Held>", "long": "<list>", "big": "<int>",
            "other": "<Net>"}},
    }  # fmt: skip


@pytest.mark.parametrize("key", ["a/b", 3])
def test_a_network_is_named_by_a_word(key):
    with pytest.raises(allow_list.Refused, match=r"the name .*, which is no name of a network"):
        child.sort_out({key: {"a": 1}})


def test_a_reader_that_is_stopped_is_reported(files, monkeypatch):
    """As the kernel stops one at its limit of processor time."""
    stopped = subprocess.CompletedProcess([], -signal.SIGXCPU, "", "a warning")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: stopped)
    with pytest.raises(WeightsError, match=r"ended \(-\d+\) at its limit of time or memory"):
        read_weights(files["r3gan"][0])


def test_the_harm_is_real(tmp_path):
    """Plain pickle.load, in a process of its own, does leave the file."""
    files = dict(mean_files(tmp_path))
    for kind in ("os.system", "eval", "INST", "OBJ", "pickle in a storage"):
        (tmp_path / "x.pkl").write_bytes(files[kind])
        line = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
        command = [sys.executable, "-c", line, tmp_path / "x.pkl"]
        subprocess.run(command, capture_output=True, timeout=120)
        assert (tmp_path / "ran").exists(), kind
        (tmp_path / "ran").unlink()


def test_a_torch_file_with_code_is_refused(tmp_path):
    import os

    torch.save({"g_ema": Call(os.system, f"touch {tmp_path}/ran")}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="refused: "):
        read_weights(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_the_source_in_a_file_is_not_run(files):
    """foreign_files.SOURCE raises where it is run; it is there, and is dropped."""
    path = files["stylegan2"][0]
    assert b"source code in a file was run" in path.read_bytes()
    read = read_weights(path)
    assert read.values["training_set_kwargs"] == {"path": "faces.zip", "use_labels": False}
    assert read.networks["G_ema"].arguments["synthesis_kwargs"]["conv_clamp"] == 256.0


@pytest.mark.usefixtures("reader_here")
def test_what_the_file_must_hold(files, tmp_path):
    path = files["stylegan2"][0]
    with pytest.raises(WeightsError, match="holds a stylegan2 generator; expected r3gan"):
        import_weights(path, tmp_path / "run", kind="r3gan")
    with pytest.raises(WeightsError, match=r"known from its weights; leave config"):
        import_weights(path, tmp_path / "run", config="config.json")
    with pytest.raises(WeightsError, match=r"kind must be None or one of stylegan2, .*got 'vae'"):
        import_weights(path, tmp_path / "run", kind="vae")
    torch.save({"generator": {"a.weight": torch.zeros(1)}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"G with names like a\.weight; expected stylegan2, "):
        import_weights(tmp_path / "x.pt", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert import_weights(path, tmp_path / "run", kind="stylegan2").architecture == "stylegan2"
