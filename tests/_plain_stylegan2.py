# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's published networks, written again in plain float64 from their papers.

`Generator(**arguments)` and `Discriminator(**arguments)` take the arguments of the published
constructors. Each has `modules`, the attributes that its pickled modules have, `weights`, random
ones under the names of its state_dict, and computes when it is called. `code_base` is "ada"
(stylegan2-ada-pytorch) or "stylegan3", whose classes have other defaults and more attributes.
Nothing of the package is used.
Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"; Karras et al.
2020, "Training Generative Adversarial Networks with Limited Data", appendix D.
"""

import math

import _plain_definitions as plain
import numpy as np
import torch

MAPPING_DEFAULTS = {
    "num_layers": 8, "embed_features": None, "layer_features": None, "activation": "lrelu",
    "lr_multiplier": 0.01,
}  # fmt: skip
SYNTHESIS_DEFAULTS = {
    "channel_base": 32768, "channel_max": 512, "num_fp16_res": 0, "architecture": "skip",
    "resample_filter": [1, 3, 3, 1], "conv_clamp": None, "fp16_channels_last": False,
    "kernel_size": 3, "use_noise": True, "activation": "lrelu",
}  # fmt: skip
DISCRIMINATOR_DEFAULTS = {
    "architecture": "resnet", "channel_base": 32768, "channel_max": 512, "num_fp16_res": 0,
    "conv_clamp": None, "cmap_dim": None, "block_kwargs": {}, "mapping_kwargs": {},
    "epilogue_kwargs": {},
}  # fmt: skip
BLOCK_DEFAULTS = {
    "activation": "lrelu", "resample_filter": [1, 3, 3, 1], "fp16_channels_last": False,
    "freeze_layers": 0,
}  # fmt: skip
EPILOGUE_DEFAULTS = {"mbstd_group_size": 4, "mbstd_num_channels": 1, "activation": "lrelu"}
W_AVG_BETA = {"ada": 0.995, "stylegan3": 0.998}
OF_STYLEGAN3 = {"conv_clamp": 256, "num_fp16_res": 4}  # defaults of that code base's classes


def normalised(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def pads(taps, up=1, down=1):
    """Around the up-sampled image, before and after."""
    if up > 1:
        return ((taps + up - 1) // 2, (taps - up) // 2) * 2
    return ((taps - down + 1) // 2, (taps - down) // 2) * 2


class Network:
    def __init__(self, code_base, seed, arguments):
        torch.manual_seed(seed)
        self.code_base, self.arguments = code_base, arguments
        self.modules, self.weights = {}, {}

    def settings(self, defaults, given):
        of_class = OF_STYLEGAN3 if self.code_base == "stylegan3" else {}
        return {**defaults, **{k: v for k, v in of_class.items() if k in defaults}, **given}

    def add(self, name, class_name, later=None, **attributes):
        """later: attributes that only the stylegan3 code base has."""
        more = later if self.code_base == "stylegan3" and later else {}
        self.modules[name] = (class_name, {"training": False, **attributes, **more})

    def add_linear(self, name, i, o, multiplier=1, bias=0.0, activation="linear"):
        self.add(
            name, "FullyConnectedLayer", {"in_features": i, "out_features": o},
            activation=activation, weight_gain=multiplier / np.sqrt(i), bias_gain=multiplier,
        )  # fmt: skip
        self.weights[f"{name}.weight"] = torch.randn(o, i) / multiplier
        self.weights[f"{name}.bias"] = (bias + torch.randn(o) * 0.1) / multiplier

    def add_filter(self, name, taps):
        f = torch.as_tensor(taps, dtype=torch.float32)
        f = f.outer(f) if f.numel() < 8 else f
        self.weights[f"{name}.resample_filter"] = f / f.sum()

    def add_convolution(
        self, name, i, o, k, activation, clamp, up=1, down=1, f=(1, 3, 3, 1), bias=True
    ):
        self.add(
            name, "Conv2dLayer", {"in_channels": i, "out_channels": o}, activation=activation,
            up=up, down=down, conv_clamp=clamp, padding=k // 2,
            weight_gain=1 / np.sqrt(i * k**2), act_gain=plain.ACTIVATIONS[activation][1],
            **({} if bias else {"bias": None}),
        )  # fmt: skip
        self.add_filter(name, f)
        self.weights[f"{name}.weight"] = torch.randn(o, i, k, k)
        if bias:
            self.weights[f"{name}.bias"] = 0.1 * torch.randn(o)

    def add_mapping(self, z_dim, c_dim, w_dim, num_ws, given, beta):
        m = self.mapping = self.settings(MAPPING_DEFAULTS, given)
        self.add(
            "mapping", "MappingNetwork", z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_ws=num_ws,
            num_layers=m["num_layers"], w_avg_beta=beta,
        )  # fmt: skip
        embed = (w_dim if m["embed_features"] is None else m["embed_features"]) if c_dim else 0
        inner = w_dim if m["layer_features"] is None else m["layer_features"]
        if c_dim:
            self.add_linear("mapping.embed", c_dim, embed)
        widths = [z_dim + embed, *[inner] * (m["num_layers"] - 1), w_dim]
        for n in range(m["num_layers"]):
            self.add_linear(
                f"mapping.fc{n}", *widths[n : n + 2], m["lr_multiplier"], 0.0, m["activation"]
            )
        if num_ws is not None and beta is not None:
            self.weights["mapping.w_avg"] = torch.randn(w_dim)

    def held(self, name):
        return self.weights[name].double()

    def linear(self, name, x):
        about = self.modules[name][1]
        w, b = self.held(f"{name}.weight"), self.held(f"{name}.bias")
        y = x @ (w * about["weight_gain"]).t() + b * about["bias_gain"]
        return plain.bias_act(y, act=about["activation"])

    def mapped(self, z, c):
        parts = [] if z is None else [normalised(z)]
        parts += [] if c is None else [normalised(self.linear("mapping.embed", c))]
        w = torch.cat(parts, 1)
        for n in range(self.mapping["num_layers"]):
            w = self.linear(f"mapping.fc{n}", w)
        return w

    def convolution(self, name, x, gain=1.0):
        about = self.modules[name][1]
        w = self.held(f"{name}.weight") * about["weight_gain"]
        b = self.held(f"{name}.bias") if f"{name}.bias" in self.weights else None
        y = plain.conv2d_resample(
            x, w, self.held(f"{name}.resample_filter"), about["up"], about["down"],
            about["padding"], flip_weight=about["up"] == 1,
        )  # fmt: skip
        clamp = about["conv_clamp"]
        return plain.bias_act(
            y, b, act=about["activation"], gain=about["act_gain"] * gain,
            clamp=None if clamp is None else clamp * gain,
        )  # fmt: skip

    def resampled(self, name, x, up=1, down=1):
        f = self.held(f"{name}.resample_filter")
        return plain.upfirdn2d(x, f, (up, up), (down, down), pads(f.shape[0], up, down), gain=up**2)


def sizes_of(resolution):
    return [2**n for n in range(2, resolution.bit_length())]


def channels_of(s, sizes):
    return {size: min(s["channel_base"] // size, s["channel_max"]) for size in sizes}


def first_half(s, resolution):
    """The smallest size in float16, where there is one."""
    return max(2 ** (resolution.bit_length() - s["num_fp16_res"]), 8)


class Generator(Network):
    def __init__(self, code_base="ada", seed=0, **arguments):
        super().__init__(code_base, seed, arguments)
        a = arguments
        given = a.get("synthesis_kwargs", {}) if code_base == "ada" else a
        given = {k: v for k, v in given.items() if k in SYNTHESIS_DEFAULTS}
        s = self.s = self.settings(SYNTHESIS_DEFAULTS, given)
        self.sizes = sizes_of(a["img_resolution"])
        self.num_ws, self.w_dim, self.c_dim = 2 * len(self.sizes), a["w_dim"], a["c_dim"]
        image = {name: a[name] for name in ("img_resolution", "img_channels")}
        latents = {name: a[name] for name in ("z_dim", "c_dim", "w_dim")}
        self.add("", "Generator", **latents, **image, num_ws=self.num_ws)
        self.add(
            "synthesis", "SynthesisNetwork", {"num_fp16_res": s["num_fp16_res"]}, **image,
            w_dim=self.w_dim, img_resolution_log2=len(self.sizes) + 1,
            block_resolutions=self.sizes, num_ws=self.num_ws,
        )  # fmt: skip
        widths, i = channels_of(s, self.sizes), 0
        for size in self.sizes:
            self._add_block(size, i, widths[size])
            i = widths[size]
        given = dict(a.get("mapping_kwargs", {}))
        beta = given.pop("w_avg_beta", W_AVG_BETA[code_base])
        self.add_mapping(a["z_dim"], self.c_dim, self.w_dim, self.num_ws, given, beta)

    def _add_block(self, size, i, o):
        s, name, resolution = self.s, f"synthesis.b{size}", self.sizes[-1]
        is_half = size >= first_half(s, resolution) and size > 4
        has_rgb = size == resolution or s["architecture"] == "skip"
        images = self.arguments["img_channels"]
        self.add(
            name, "SynthesisBlock", {"fused_modconv_default": True}, in_channels=i,
            w_dim=self.w_dim, resolution=size, img_channels=images,
            is_last=size == resolution, architecture=s["architecture"], use_fp16=is_half,
            channels_last=is_half and s["fp16_channels_last"], num_conv=1 + (i > 0),
            num_torgb=int(has_rgb),
        )  # fmt: skip
        self.add_filter(name, s["resample_filter"])
        if i == 0:
            self.weights[f"{name}.const"] = torch.randn(o, 4, 4)
        else:
            self._add_layer(f"{name}.conv0", i, o, size, 2)
        self._add_layer(f"{name}.conv1", o, o, size, 1)
        if has_rgb:
            self.add(
                f"{name}.torgb", "ToRGBLayer",
                {"in_channels": o, "out_channels": images, "w_dim": self.w_dim},
                conv_clamp=s["conv_clamp"], weight_gain=1 / np.sqrt(o),
            )  # fmt: skip
            self._add_modulated(f"{name}.torgb", o, images, 1)
        if i > 0 and s["architecture"] == "resnet":
            f = s["resample_filter"]
            self.add_convolution(f"{name}.skip", i, o, 1, "linear", None, up=2, f=f, bias=False)

    def _add_layer(self, name, i, o, size, up):
        s = self.s
        self.add(
            name, "SynthesisLayer", {"in_channels": i, "out_channels": o, "w_dim": self.w_dim},
            resolution=size, up=up, use_noise=s["use_noise"], activation=s["activation"],
            conv_clamp=s["conv_clamp"], padding=s["kernel_size"] // 2,
            act_gain=plain.ACTIVATIONS[s["activation"]][1],
        )  # fmt: skip
        self.add_filter(name, s["resample_filter"] if up > 1 else [1, 3, 3, 1])
        self._add_modulated(name, i, o, s["kernel_size"])
        if s["use_noise"]:
            self.weights[f"{name}.noise_const"] = torch.randn(size, size)
            self.weights[f"{name}.noise_strength"] = torch.randn([])

    def _add_modulated(self, name, i, o, k):
        self.add_linear(f"{name}.affine", self.w_dim, i, bias=1.0)
        self.weights[f"{name}.weight"] = torch.randn(o, i, k, k)
        self.weights[f"{name}.bias"] = 0.1 * torch.randn(o)

    def __call__(self, z, c=None, psi=1.0):
        """z [N, z_dim] and c [N, c_dim] of float64 -> images, with the noise of the buffers."""
        w = self.mapped(z, c)
        if psi != 1:
            mean = self.held("mapping.w_avg")
            w = mean + psi * (w - mean)
        x = self.held("synthesis.b4.const").repeat(len(w), 1, 1, 1)
        image = None
        for size in self.sizes:
            name = f"synthesis.b{size}"
            if size == 4:
                x = self._layer(f"{name}.conv1", x, w)
            elif self.s["architecture"] == "resnet":
                y = self.convolution(f"{name}.skip", x, 0.5**0.5)
                x = self._layer(f"{name}.conv0", x, w)
                x = self._layer(f"{name}.conv1", x, w, 0.5**0.5) + y
            else:
                x = self._layer(f"{name}.conv1", self._layer(f"{name}.conv0", x, w), w)
            if image is not None:
                image = self.resampled(name, image, up=2)
            if f"{name}.torgb" in self.modules:
                rgb = self._rgb(f"{name}.torgb", x, w)
                image = rgb if image is None else image + rgb
        return image

    def _layer(self, name, x, w, gain=1.0):
        s, up = self.s, 2 if name.endswith("conv0") else 1
        noise = None
        if s["use_noise"]:
            noise = self.held(f"{name}.noise_const") * self.held(f"{name}.noise_strength")
        y = plain.stylegan2_modulated_conv2d(
            x, self.held(f"{name}.weight"), self.linear(f"{name}.affine", w), noise, up, 1,
            s["kernel_size"] // 2, self.held(f"{name}.resample_filter") if up > 1 else None,
            flip_weight=up == 1,
        )  # fmt: skip
        usual = plain.ACTIVATIONS[s["activation"]][1]
        clamp = None if s["conv_clamp"] is None else s["conv_clamp"] * gain
        b = self.held(f"{name}.bias")
        return plain.bias_act(y, b, act=s["activation"], gain=usual * gain, clamp=clamp)

    def _rgb(self, name, x, w):
        style = self.linear(f"{name}.affine", w) / math.sqrt(x.shape[1])
        weight = self.held(f"{name}.weight")
        y = plain.stylegan2_modulated_conv2d(x, weight, style, demodulate=False)
        return plain.bias_act(y, self.held(f"{name}.bias"), clamp=self.s["conv_clamp"])


class Discriminator(Network):
    def __init__(self, code_base="ada", seed=1, **arguments):
        super().__init__(code_base, seed, arguments)
        s = self.s = self.settings(DISCRIMINATOR_DEFAULTS, arguments)
        self.block = self.settings(BLOCK_DEFAULTS, s["block_kwargs"])
        self.epilogue = self.settings(EPILOGUE_DEFAULTS, s["epilogue_kwargs"])
        self.sizes, self.c_dim = sizes_of(s["img_resolution"])[:0:-1], s["c_dim"]
        widths = channels_of(s, [*self.sizes, 4])
        cmap_dim = widths[4] if s["cmap_dim"] is None else s["cmap_dim"]
        self.cmap_dim = cmap_dim if self.c_dim else 0
        self.add(
            "", "Discriminator", c_dim=self.c_dim, img_resolution=s["img_resolution"],
            img_resolution_log2=len(self.sizes) + 2, img_channels=s["img_channels"],
            block_resolutions=self.sizes,
        )  # fmt: skip
        first, i = 0, 0
        for size in self.sizes:
            first += self._add_block(size, first, i, widths[size], widths[size // 2])
            i = widths[size // 2]
        if self.c_dim:
            self.add_mapping(0, self.c_dim, self.cmap_dim, None, s["mapping_kwargs"], None)
        self._add_epilogue(widths[4])

    def _add_block(self, size, first, i, tmp, o):
        s, b, name = self.s, self.block, f"b{size}"
        is_half = size >= first_half(s, s["img_resolution"])
        act, clamp, f = b["activation"], s["conv_clamp"], b["resample_filter"]
        layers = ["fromrgb"] if i == 0 or s["architecture"] == "skip" else []
        layers += ["conv0", "conv1", *(["skip"] if s["architecture"] == "resnet" else [])]
        self.add(
            name, "DiscriminatorBlock", in_channels=i, resolution=size,
            img_channels=s["img_channels"], first_layer_idx=first, architecture=s["architecture"],
            use_fp16=is_half, channels_last=is_half and b["fp16_channels_last"],
            num_layers=len(layers),
        )  # fmt: skip
        self.add_filter(name, f)
        if "fromrgb" in layers:
            self.add_convolution(f"{name}.fromrgb", s["img_channels"], tmp, 1, act, clamp)
        self.add_convolution(f"{name}.conv0", tmp, tmp, 3, act, clamp)
        self.add_convolution(f"{name}.conv1", tmp, o, 3, act, clamp, down=2, f=f)
        if "skip" in layers:
            self.add_convolution(f"{name}.skip", tmp, o, 1, "linear", None, down=2, f=f, bias=False)
        return len(layers)

    def _add_epilogue(self, i):
        s, e = self.s, self.epilogue
        act, clamp, channels = e["activation"], s["conv_clamp"], e["mbstd_num_channels"]
        self.add(
            "b4", "DiscriminatorEpilogue", in_channels=i, cmap_dim=self.cmap_dim, resolution=4,
            img_channels=s["img_channels"], architecture=s["architecture"],
            **({} if channels else {"mbstd": None}),
        )  # fmt: skip
        if s["architecture"] == "skip":
            self.add_convolution("b4.fromrgb", s["img_channels"], i, 1, act, None)
        if channels:
            self.add(
                "b4.mbstd", "MinibatchStdLayer", group_size=e["mbstd_group_size"],
                num_channels=channels,
            )  # fmt: skip
        self.add_convolution("b4.conv", i + channels, i, 3, act, clamp)
        self.add_linear("b4.fc", i * 16, i, activation=act)
        self.add_linear("b4.out", i, self.cmap_dim or 1)

    def __call__(self, x, c=None):
        """x [N, C, H, W] and c [N, c_dim] of float64 -> logits [N, 1]."""
        image, x = x, None
        kind = self.s["architecture"]
        for size in self.sizes:
            name = f"b{size}"
            if f"{name}.fromrgb" in self.modules:
                y = self.convolution(f"{name}.fromrgb", image)
                x = y if x is None else x + y
                image = self.resampled(name, image, down=2) if kind == "skip" else None
            if kind == "resnet":
                y = self.convolution(f"{name}.skip", x, 0.5**0.5)
                x = self.convolution(f"{name}.conv0", x)
                x = self.convolution(f"{name}.conv1", x, 0.5**0.5) + y
            else:
                x = self.convolution(f"{name}.conv1", self.convolution(f"{name}.conv0", x))
        if kind == "skip":
            x = x + self.convolution("b4.fromrgb", image)
        if self.epilogue["mbstd_num_channels"]:
            x = torch.cat([x, self._deviation(x)], 1)
        y = self.linear("b4.out", self.linear("b4.fc", self.convolution("b4.conv", x).flatten(1)))
        if not self.c_dim:
            return y
        return (y * self.mapped(None, c)).sum(1, keepdim=True) / math.sqrt(self.cmap_dim)

    def _deviation(self, x):
        n, channels, h, w = x.shape
        group, runs = self.epilogue["mbstd_group_size"], self.epilogue["mbstd_num_channels"]
        group = n if group is None else min(group, n)
        y = x.reshape(group, -1, runs, channels // runs, h, w)
        y = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((2, 3, 4))
        return y.repeat(group, 1)[:, :, None, None].expand(-1, -1, h, w)
