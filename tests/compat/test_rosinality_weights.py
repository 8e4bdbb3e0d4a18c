# SPDX-License-Identifier: Apache-2.0
"""`fastgan import` and `export` of rosinality's files and of those that hold its generator."""

import argparse
import math

import pytest
import torch
import torch.nn.functional as F
from foreign_files import moved

from fastgan.compat.weights import WeightsError, export_weights, import_weights
from fastgan.models import rosinality, stylegan2
from fastgan.training import load_generator
from fastgan.training.checkpoint import checkpoint, contents
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.config.run import DataConfig, OptimizerConfig, TrainConfig
from fastgan.training.step.state import build_state

pytestmark = pytest.mark.usefixtures("reader_here")

SIZE = {"img_height": 16, "img_width": 16}
ROS = stylegan2.Config(z_dim=6, w_dim=6, channel_base=256, channel_max=16, mapping_layers=3, **SIZE)
THEIRS = {"z_dim": 6, "n_mlp": 3, "channel_max": 16, **SIZE}
OPTIMISERS_LEFT_OUT = (
    "the optimisers of the file (g_optim, d_optim) are left out; training from it begins with new "
    "ones, at 0 images",
)


# rosinality's model, from its description, in plain float64.


def fir(x, kernel, up=1, pad=(0, 0)):
    n, c, h, w = x.shape
    y = x.new_zeros(n, c, h * up, w * up)
    y[:, :, ::up, ::up] = x
    y = F.pad(y, [pad[0], pad[1], pad[0], pad[1]])
    return F.conv2d(y.flatten(0, 1)[:, None], kernel.flip(0, 1)[None, None]).unflatten(0, (n, c))[
        :, :, 0
    ]


def padding(kernel, removed, before=0, after=0):
    """What makes up for the taps of a filter, beside `removed` of them."""
    p = len(kernel) - removed
    return (p + 1) // 2 + before, p // 2 + after


def ros_modulated(s, name, x, w, *, demodulate=True, up=False):
    weight = s[f"{name}.weight"][0]
    _, i, k, _ = weight.shape
    style = w @ (s[f"{name}.modulation.weight"] / math.sqrt(w.shape[1])).t()
    style = style + s[f"{name}.modulation.bias"]
    weight = weight / math.sqrt(i * k * k) * style[:, None, :, None, None]
    if demodulate:
        weight = weight / (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    ys = []
    for sample, kernel in zip(x, weight, strict=True):
        if up:
            y = F.conv_transpose2d(sample[None], kernel.transpose(0, 1), stride=2)
            blur = s[f"{name}.blur.kernel"]
            ys.append(fir(y, blur, pad=padding(blur, 4, 1, 1)))
        else:
            ys.append(F.conv2d(sample[None], kernel, padding=k // 2))
    return torch.cat(ys)


def ros_generate(s, z, layers, lr_mlp=0.01):
    w = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(1, layers + 1):
        y = w @ (s[f"style.{i}.weight"] * lr_mlp / math.sqrt(w.shape[1])).t()
        w = F.leaky_relu(y + s[f"style.{i}.bias"] * lr_mlp, 0.2) * 2**0.5

    def styled(name, x, k, up=False):
        y = ros_modulated(s, f"{name}.conv", x, w, up=up)
        y = y + s[f"{name}.noise.weight"] * s[f"noises.noise_{k}"]
        return F.leaky_relu(y + s[f"{name}.activate.bias"][:, None, None], 0.2) * 2**0.5

    x = styled("conv1", s["input.input"].repeat(len(z), 1, 1, 1), 0)
    rgb = ros_modulated(s, "to_rgb1.conv", x, w, demodulate=False) + s["to_rgb1.bias"]
    j = 0
    while f"to_rgbs.{j}.bias" in s:
        x = styled(f"convs.{2 * j}", x, 2 * j + 1, up=True)
        x = styled(f"convs.{2 * j + 1}", x, 2 * j + 2)
        rgb = fir(rgb, s[f"to_rgbs.{j}.upsample.kernel"], 2, (2, 1))
        rgb = rgb + ros_modulated(s, f"to_rgbs.{j}.conv", x, w, demodulate=False)
        rgb = rgb + s[f"to_rgbs.{j}.bias"]
        j += 1
    return rgb


def ros_judge(s, x):
    def conv(name, x, bias=None, padding=0, stride=1):
        weight = s[f"{name}.weight"]
        y = F.conv2d(x, weight / math.sqrt(weight[0].numel()), padding=padding, stride=stride)
        if bias is None:
            return y
        return F.leaky_relu(y + s[f"{bias}.bias"][:, None, None], 0.2) * 2**0.5

    x = conv("convs.0.0", x, "convs.0.1")
    j = 1
    while f"convs.{j}.conv1.0.weight" in s:
        c = f"convs.{j}"
        y = conv(f"{c}.conv1.0", x, f"{c}.conv1.1", padding=1)
        blur = s[f"{c}.conv2.0.kernel"]
        y = conv(f"{c}.conv2.1", fir(y, blur, pad=padding(blur, 0)), f"{c}.conv2.2", stride=2)
        x = fir(x, s[f"{c}.skip.0.kernel"], pad=padding(blur, 2))
        x = (y + conv(f"{c}.skip.1", x, stride=2)) / 2**0.5
        j += 1
    groups = x.reshape(min(len(x), 4), -1, *x.shape[1:])
    std = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    std = std.repeat(len(groups))[:, None, None, None].expand(-1, 1, *x.shape[2:])
    x = conv("final_conv.0", torch.cat([x, std], 1), "final_conv.1", padding=1).flatten(1)
    y = x @ (s["final_linear.0.weight"] / math.sqrt(x.shape[1])).t() + s["final_linear.0.bias"]
    y = F.leaky_relu(y, 0.2) * 2**0.5
    return y @ (s["final_linear.1.weight"] / math.sqrt(y.shape[1])).t() + s["final_linear.1.bias"]


def content_of(*, seed=4, lr_mlp=0.01, blur_kernel=(1, 3, 3, 1), dtype=torch.float32):
    """A file of rosinality's; their D has a kernel of its own."""
    G = rosinality.Generator(rosinality.Config(**THEIRS, lr_mlp=lr_mlp, blur_kernel=blur_kernel))
    D = rosinality.Discriminator(rosinality.Config(**THEIRS))
    return {
        "g_ema": {n: t.to(dtype) for n, t in moved(G, seed).state_dict().items()},
        "d": {n: t.to(dtype) for n, t in moved(D, seed + 1).state_dict().items()},
        "latent_avg": torch.randn(6),
    }


def imported(content, tmp_path, name="x", **options):
    torch.save(content, tmp_path / f"{name}.pt")
    return import_weights(tmp_path / f"{name}.pt", tmp_path / name, **options)


def run_of(folder, config, networks):
    """A run of ours in a folder, at its start."""
    adam = OptimizerConfig(lr=0.002, betas=(0.0, 0.99))
    state = build_state(TrainConfig(
        name="x", architecture="stylegan2", model=config, batch=4, g_optimizer=adam,
        d_optimizer=adam, data=DataConfig(use_labels=config.c_dim > 0),
    ))  # fmt: skip
    for name, network in networks.items():
        getattr(state, name).load_state_dict(network.state_dict())
    staged = contents.stage(state)
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint_file.write(
        folder / "checkpoints" / "ckpt-000000.json", staged.tensors, staged.values
    )
    return folder


def networks_of(run):
    """(G_ema, D) of a run in float64."""
    path = checkpoint.latest(run)
    document = checkpoint_file.read_document(path)
    saved = checkpoint_file.read_tensors(path, document)
    D = stylegan2.Discriminator(stylegan2.Config(**document["config"]["model"])).eval()
    D.load_state_dict({n.removeprefix("D."): t for n, t in saved.items() if n.startswith("D.")})
    return load_generator(run)[0].double(), D.double()


def assert_alike(run, content, lr_mlp=0.01):
    """Pictures and logits of an imported run are those of the description."""
    G, D = networks_of(run)
    z, x = torch.randn(3, 6).double(), torch.randn(4, 3, 16, 16).double()
    s = {n: t.double() for n, t in content["g_ema"].items()}
    with torch.no_grad():
        y, want = G(z, noise_mode="const"), ros_generate(s, z, 3, lr_mlp)
        # Its demodulation adds the same 1e-8 to a sum that is smaller by the number of weights.
        assert (y - want).abs().max() < 1e-7 * (want.max() - want.min())
        want = ros_judge({n: t.double() for n, t in content["d"].items()}, x)
        assert (D(x) - want).abs().max() < 1e-9 * want.abs().max()


def assert_same(again, content):
    """The same names in the same order, dtypes and bits."""
    for name in content.keys() & {"g", "g_ema", "d"}:
        assert list(again[name]) == list(content[name])
        for key, t in content[name].items():
            assert again[name][key].dtype == t.dtype, key
            assert torch.equal(again[name][key], t), key


def test_rosinality_to_and_fro(tmp_path):
    """A run of ours, exported: rosinality's description gives the same pictures and logits; and
    imported again, the same run to the bit."""
    networks = {
        "G": moved(stylegan2.Generator(ROS), 1),
        "D": moved(stylegan2.Discriminator(ROS), 3),
        "G_ema": moved(stylegan2.Generator(ROS), 2),
    }
    run_of(tmp_path / "a", ROS, networks)
    assert export_weights(tmp_path / "a", tmp_path / "a.pt", "rosinality") == ()
    theirs = torch.load(tmp_path / "a.pt", weights_only=True)
    assert set(theirs) == {"g", "g_ema", "d", "g_optim", "d_optim", "latent_avg",
                           "generator_arguments"}  # fmt: skip
    theirs["args"] = argparse.Namespace(size=16, lr=0.002)  # as their training script adds
    done = imported(theirs, tmp_path, "b")
    assert "rosinality" in done.terms
    assert done.notes == OPTIMISERS_LEFT_OUT
    assert_alike(tmp_path / "b", theirs)
    # Their model with their weights, on our ops: the 1e-8 stands where theirs does.
    c = rosinality.Config(**THEIRS)
    R, S = rosinality.Generator(c), rosinality.Discriminator(c)
    R.load_state_dict(theirs["g_ema"], strict=True)
    S.load_state_dict(theirs["d"], strict=True)
    assert list(R.state_dict()) == list(theirs["g_ema"])
    assert list(S.state_dict()) == list(theirs["d"])
    z, x = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 3, 16, 16).double()
    state = {k: t.double() for k, t in theirs["g_ema"].items()}
    with torch.no_grad():
        want, judged = ros_generate(state, z, 3), ros_judge(S.double().state_dict(), x)
        same, latents = R.double()([z], return_latents=True, randomize_noise=False)
        assert (same - want).abs().max() < 1e-9 * (want.max() - want.min())
        again, _ = R([latents], input_is_latent=True, randomize_noise=False)
        assert torch.equal(same, again)
        assert (S(x) - judged).abs().max() < 1e-9 * judged.abs().max()
    export_weights(tmp_path / "b", tmp_path / "c.pt", "rosinality")
    again = torch.load(tmp_path / "c.pt", weights_only=True)
    assert_same(again, theirs)
    assert torch.equal(again["latent_avg"], theirs["latent_avg"])


@pytest.mark.parametrize(
    ("blur_kernel", "lr_mlp"),
    [((1, 3, 3, 1), 0.01), ((1, 2, 1), 0.1), ((1, 4, 6, 4, 1), 0.01), ((1, 1), 0.1)],
)
def test_the_settings_of_a_file_in_half_precision(blur_kernel, lr_mlp, tmp_path):
    """The kernel of G's convolutions is in the file; the image and D have others. lr_mlp is in
    args where their script was changed to have it."""
    content = content_of(blur_kernel=blur_kernel, lr_mlp=lr_mlp, dtype=torch.float16)
    content["args"] = argparse.Namespace(size=16, lr_mlp=lr_mlp)
    done = imported(content, tmp_path)
    assert done.networks == ("G_ema", "D")
    assert done.notes == ()
    assert_alike(tmp_path / "x", content, lr_mlp)
    notes = export_weights(tmp_path / "x", tmp_path / "y.pt", "rosinality")
    assert len(notes) == (lr_mlp != 0.01) + (blur_kernel != (1, 3, 3, 1))
    again = torch.load(tmp_path / "y.pt", weights_only=True)
    assert_same(again, content)
    # the export holds what theirs lacks
    assert imported(again, tmp_path, "z").notes == OPTIMISERS_LEFT_OUT
    assert_alike(tmp_path / "z", content, lr_mlp)


def test_lr_mlp_is_asked_for(tmp_path):
    content = content_of(lr_mlp=0.1)
    (note,) = imported(content, tmp_path, "default").notes
    assert note.startswith("lr_mlp is not in the file and was not given: taken as 0.01")
    assert imported(content, tmp_path, "given", lr_mlp=0.1).notes == ()
    assert_alike(tmp_path / "given", content, 0.1)
    with pytest.raises(AssertionError):
        assert_alike(tmp_path / "default", content, 0.1)
    content["args"] = argparse.Namespace(lr_mlp=0.1)
    with pytest.raises(WeightsError, match=r"lr_mlp is 0\.1 in the file and was given as 0\.2"):
        imported(content, tmp_path, "no", lr_mlp=0.2)


@pytest.mark.parametrize("lacking", ["noises", "kernel"])
def test_a_file_of_old_without_noises_or_kernels(lacking, tmp_path):
    """They are made, that is said, and the export has no more than the file had."""
    full = content_of(blur_kernel=(1, 2, 1))
    content = {
        name: {n: t for n, t in weights.items() if lacking not in n}
        for name, weights in full.items()
        if name != "latent_avg"
    }
    given = {"blur_kernel": (1, 2, 1)} if lacking == "kernel" else {}
    notes = " ".join(imported(content, tmp_path, lr_mlp=0.01, **given).notes)
    assert ("noises: drawn with seed 0" in notes) == (lacking == "noises")
    assert ("D of the file has no blur kernels" in notes) == (lacking == "kernel")
    if lacking == "kernel":
        assert_alike(tmp_path / "x", full)
        assert "blur_kernel is not in the file" in " ".join(
            imported(content, tmp_path, "default").notes
        )
    else:
        G, _ = networks_of(tmp_path / "x")
        assert G.synthesis.b16.conv1.noise_const.std() > 0.5
        with pytest.raises(WeightsError, match=r"blur_kernel .*is none; leave it out"):
            imported(content, tmp_path, "no", blur_kernel=(1, 2, 1))
    export_weights(tmp_path / "x", tmp_path / "y.pt", "rosinality")
    assert_same(torch.load(tmp_path / "y.pt", weights_only=True), content)


def test_a_file_of_a_training(tmp_path):
    """No latent_avg: images are truncated towards the mean w of many latents. No name is lost."""
    theirs = moved(rosinality.Generator(rosinality.Config(**THEIRS)), 4)
    with torch.no_grad():
        for layer in theirs.style[1:]:
            layer.bias.add_(30.0)  # × lr_mlp: a mean that is not about zero
    g = theirs.state_dict()
    notes = imported({"g_ema": g}, tmp_path).notes
    assert "the mean w of 10000 latents" in notes[-1]
    G, _ = load_generator(tmp_path / "x")
    with torch.no_grad():
        w = theirs.style(torch.randn(10_000, 6))
    spread = w.std(0) / 100  # of a mean of 10 000
    assert (w.mean(0).abs() > 20 * spread).any()
    assert ((G.mapping.w_avg - w.mean(0)).abs() < 7 * spread).all()
    lacking = {n: t for n, t in g.items() if n != "to_rgbs.0.conv.modulation.bias"}
    with pytest.raises(WeightsError, match=r"missing to_rgbs\.0\.conv\.modulation\.bias; unknown"):
        imported({"g_ema": lacking}, tmp_path, "no")


def test_the_optimiser_states_are_those_of_their_train_script(tmp_path):
    """Moments that tell which parameter they are of come to that parameter in their order."""
    imported(content_of(), tmp_path, lr_mlp=0.01)
    document = checkpoint_file.read_document(checkpoint.latest(tmp_path / "x"))
    state = build_state(TrainConfig.from_dict(document["config"]))
    with torch.no_grad():
        for adam in (state.g_optimizer, state.d_optimizer):
            for p, values in adam.state.items():
                values["step"].fill_(5)
                values["exp_avg"].copy_(2 * p)
                values["exp_avg_sq"].copy_(p.square())
    staged = contents.stage(state)
    checkpoint_file.write(
        tmp_path / "x" / "checkpoints" / "ckpt-000001.json", staged.tensors, staged.values
    )
    export_weights(tmp_path / "x", tmp_path / "y.pt", "rosinality")
    content, c = torch.load(tmp_path / "y.pt", weights_only=True), rosinality.Config(**THEIRS)
    for kind, name, optim in (("Generator", "g", "g_optim"), ("Discriminator", "d", "d_optim")):
        network = getattr(rosinality, kind)(c)
        network.load_state_dict(content[name], strict=True)
        adam = torch.optim.Adam(network.parameters(), lr=1, betas=(0.5, 0.5))
        adam.load_state_dict(content[optim])
        assert adam.param_groups[0]["lr"] == pytest.approx(0.002)
        assert adam.param_groups[0]["betas"] == (0.0, 0.99)
        assert len(adam.state) == len(list(network.parameters()))
        for p in network.parameters():
            assert adam.state[p]["step"] == 5
            assert torch.equal(adam.state[p]["exp_avg"], 2 * p)
            assert torch.equal(adam.state[p]["exp_avg_sq"], p.square())
            p.grad = torch.zeros_like(p)
        adam.step()
    assert import_weights(tmp_path / "y.pt", tmp_path / "again").notes == OPTIMISERS_LEFT_OUT


def test_what_rosinality_cannot_hold_is_said(tmp_path):
    config = stylegan2.Config(
        z_dim=8, w_dim=6, c_dim=3, channel_base=128, channel_max=16, d_mapping_layers=2,
        g_architecture="orig", d_architecture="skip", mbstd_group=2, **SIZE,
    )  # fmt: skip
    run_of(tmp_path / "run", config, {})
    with pytest.raises(WeightsError, match=r"it is conditional; g_architecture is orig, expected"):
        export_weights(tmp_path / "run", tmp_path / "x.pt", "rosinality")
    assert not (tmp_path / "x.pt").exists()
    with pytest.raises(WeightsError, match="to must be one of rosinality, nvidia, hifigan, big"):
        export_weights(tmp_path / "run", tmp_path / "x.pt", "keras")


def test_other_networks_of_rosinality_are_named(tmp_path):
    g = content_of()["g_ema"] | {"to_rgbs.0.iwt.ll": torch.zeros(2, 2)}
    with pytest.raises(WeightsError, match="is a SWAGAN"):
        imported({"g_ema": g}, tmp_path)
    g = content_of(blur_kernel=(1,) * 8)["g_ema"]
    with pytest.raises(WeightsError, match="blur kernels of 8 taps; 1 to 7 are read"):
        imported({"g_ema": g}, tmp_path)
    g = content_of()["g_ema"]
    g["convs.0.conv.blur.kernel"] = g["convs.0.conv.blur.kernel"] * 2
    with pytest.raises(WeightsError, match="several blur kernels in one network"):
        imported({"g_ema": g}, tmp_path)


@pytest.mark.parametrize("kind", ["zero", "negative", "integers", "NaN"])
def test_a_blur_kernel_without_taps_is_named(kind, tmp_path):
    content = content_of()
    changes = {
        "zero": lambda t: t * 0,
        "negative": lambda t: -t,
        "integers": lambda t: (16 * t).long(),
        "NaN": lambda t: t * math.nan,
    }
    for name, t in content["g_ema"].items():
        if name.endswith(".kernel"):
            content["g_ema"][name] = changes[kind](t)
    words = {
        "zero": r"convs\.0\.conv\.blur\.kernel must be finite floating-point taps",
        "negative": r"kernel must be finite floating-point taps with a positive sum",
        "integers": r"kernel of G_ema in .* must be finite floating-point numbers, got int64",
        "NaN": r"kernel of G_ema in .* got 16 of 16 numbers that are NaN or infinite; the file is",
    }[kind]
    with pytest.raises(WeightsError, match=words):
        imported(content, tmp_path)


def test_another_network_and_args_of_other_sizes_are_noted(tmp_path):
    content = content_of()
    content["g2"] = content["g_ema"]
    content["args"] = {"lr_mlp": 0.01, "n_mlp": 8, "size": 16, "latent": 6}
    assert imported(content, tmp_path).notes == (
        "left out: g2, which the import does not use",
        "n_mlp is 8 in the file's args; its weights, with 3, are used",
    )


def test_a_latent_avg_of_nan_is_refused(tmp_path):
    content = content_of()
    content["latent_avg"][2] = math.nan
    with pytest.raises(WeightsError, match=r"latent_avg in .* got 1 of 6 numbers that are NaN"):
        imported(content, tmp_path)


# Files of others that hold rosinality's generator.

BASICSR = {  # a part of rosinality's name: BasicSR's
    "style.": "style_mlp.",
    "input.input": "constant_input.weight",
    "noise.weight": "weight",
    ".conv.": ".modulated_conv.",
    "noises.noise_": "noises.noise",
}


def as_basicsr(weights):
    """Rosinality's generator under BasicSR's names; the kernels are no part of its files."""
    found = {}
    for name, tensor in weights.items():
        for old, new in BASICSR.items():
            name = name.replace(old, new)
        if name.startswith(("conv1.", "convs.")):
            name = f"style_{name}"
        if "kernel" not in name:
            found[name] = tensor
    return found


def test_basicsrs_generator(tmp_path):
    content = content_of()
    average, other = as_basicsr(content["g_ema"]), as_basicsr(content_of(seed=9)["g_ema"])
    assert "style_convs.1.weight" in average
    assert "style_conv1.modulated_conv.modulation.bias" in average
    file = {"params_ema": average, "params": other}
    done = imported(file, tmp_path)
    assert done.networks == ("G_ema", "G")
    assert "Apache" in done.terms
    notes = " ".join(done.notes)
    assert "lr_mlp is not in the file" in notes
    assert "blur_kernel is not in the file" in notes
    import_weights(tmp_path / "x.pt", tmp_path / "y", kind="basicsr", lr_mlp=0.01)
    z = torch.randn(2, 6).double()
    s = {n: t.double() for n, t in content["g_ema"].items()}
    with torch.no_grad():
        want = ros_generate(s, z, 3)
        y = load_generator(tmp_path / "y")[0].double()(z, noise_mode="const")
    assert (y - want).abs().max() < 1e-7 * (want.max() - want.min())
    # GFPGAN's whole network holds it, too
    whole = {f"stylegan_decoder.{n}": t for n, t in average.items()}
    done = imported({"params_ema": whole | {"conv_body_first.weight": z}}, tmp_path, "g")
    assert "restoration network" in done.notes[0]
    assert "1 tensors whose names do not begin with stylegan_decoder." in done.notes[0]
    clean = {n: t for n, t in average.items() if "activate" not in n}
    with pytest.raises(WeightsError, match="without equalised learning rates"):
        imported({"params_ema": clean}, tmp_path, "no")
    with pytest.raises(WeightsError, match=r"blur_kernel .*leave it out"):
        imported(file, tmp_path, "no", blur_kernel=(1, 2, 1))


@pytest.mark.parametrize("rows", [None, "equal", "different"])
def test_the_decoder_of_an_encoder(rows, tmp_path):
    """pSp's and e4e's files: the decoder is taken; latent_avg is one w, or one for each layer."""
    content = content_of()
    state = {f"decoder.{n}": t for n, t in content["g_ema"].items()}
    state |= {"encoder.input_layer.0.weight": torch.zeros(3), "encoder.body.0.bias": torch.ones(2)}
    average = content["latent_avg"]
    if rows:
        average = average.repeat(6, 1)
        average[0, 0] += rows == "different"
    file = {"state_dict": state, "latent_avg": average, "opts": {"stylegan_size": 16, "lr": 1e-4}}
    done = imported(file, tmp_path, lr_mlp=0.01)
    assert done.networks == ("G_ema",)
    assert "an encoder with it (pSp, e4e): 2 tensors" in done.notes[0]
    assert ("latent_avg is not in the file" in done.notes[-1]) == (rows == "different")
    G, _ = load_generator(tmp_path / "x")
    assert torch.equal(G.mapping.w_avg, content["latent_avg"]) == (rows != "different")
    with torch.no_grad():
        z = torch.randn(2, 6).double()
        want = ros_generate({n: t.double() for n, t in content["g_ema"].items()}, z, 3)
        assert torch.allclose(G.double()(z, noise_mode="const"), want, rtol=1e-6, atol=1e-6)
