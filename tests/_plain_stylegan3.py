# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3's published generator, written again in plain float64 from its paper.

`Generator(**arguments)` takes the arguments of the published constructor. It has `modules`, the
attributes that its pickled modules have, `weights`, random ones under the names of its state_dict,
and gives images when it is called. Nothing of the package is used.
Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 3 and appendix C.
"""

import math

import _plain_definitions as plain
import numpy as np
import torch
from _plain_stylegan2 import Network

DEFAULTS = {
    "c_dim": 0, "mapping_kwargs": {}, "channel_base": 32768, "channel_max": 512, "num_layers": 14,
    "num_critical": 2, "first_cutoff": 2, "first_stopband": 2**2.1, "last_stopband_rel": 2**0.3,
    "margin_size": 10, "output_scale": 0.25, "num_fp16_res": 4, "conv_kernel": 3, "filter_size": 6,
    "lrelu_upsampling": 2, "use_radial_filters": False, "conv_clamp": 256,
    "magnitude_ema_beta": 0.999,
}  # fmt: skip
MAPPING_DEFAULTS = {"num_layers": 2, "lr_multiplier": 0.01, "w_avg_beta": 0.998}


def bessel_j1(x):
    """By its integral."""
    tau = (np.arange(4096) + 0.5) / 4096 * np.pi
    return np.cos(tau - x[..., None] * np.sin(tau)).mean(-1)


def kaiser(taps, width, fs):
    a = 2.285 * (taps - 1) * np.pi * width / (fs / 2) + 7.95
    beta = 0.1102 * (a - 8.7) if a > 50 else 0.5842 * max(a - 21, 0) ** 0.4 + 0.07886 * (a - 21)
    return np.kaiser(taps, beta if a > 21 else 0.0)


def design(taps, cutoff, width, fs, is_radial=False):
    """The low-pass filter, float64 [taps] or [taps, taps]."""
    t = (np.arange(taps) - (taps - 1) / 2) / fs
    w = kaiser(taps, width, fs)
    if not is_radial:
        f = 2 * cutoff * np.sinc(2 * cutoff * t) * w
    else:
        r = np.hypot(t, t[:, None])
        f = cutoff * bessel_j1(2 * np.pi * cutoff * r) / np.maximum(r, 1e-30) * np.outer(w, w)
    return torch.from_numpy(f / f.sum())


class Generator(Network):
    def __init__(self, seed=0, **arguments):
        super().__init__("stylegan3", seed, arguments)
        self.s = s = {**DEFAULTS, **arguments}
        latents, image = (
            {name: s[name] for name in names}
            for names in (("z_dim", "c_dim", "w_dim"), ("img_resolution", "img_channels"))
        )
        self.w_dim, self.c_dim, self.num_ws = s["w_dim"], s["c_dim"], s["num_layers"] + 2
        self.add("", "Generator", **latents, **image, num_ws=self.num_ws)
        given = {**MAPPING_DEFAULTS, **s["mapping_kwargs"]}
        beta = given.pop("w_avg_beta")
        self.add_mapping(*latents.values(), self.num_ws, given, beta)
        if not self.c_dim:
            self.modules["mapping"][1]["embed"] = None
        self.weights["mapping.w_avg"] = torch.randn(self.w_dim)
        self._add_synthesis(image)

    def _add_synthesis(self, shared):
        s = self.s
        n, size = s["num_layers"], s["img_resolution"]
        e = np.minimum(np.arange(n + 1) / (n - s["num_critical"]), 1)
        first, last = s["first_cutoff"], size / 2
        self.cutoffs = first * (last / first) ** e
        first_stop = s["first_stopband"]
        stops = first_stop * (last * s["last_stopband_rel"] / first_stop) ** e
        self.rates = np.exp2(np.ceil(np.log2(np.minimum(stops * 2, size))))
        self.halves = np.maximum(stops, self.rates / 2) - self.cutoffs
        self.sizes = self.rates + 2 * s["margin_size"]
        self.sizes[-2:] = size
        widths = np.rint(np.minimum(s["channel_base"] / 2 / self.cutoffs, s["channel_max"]))
        widths[-1] = s["img_channels"]
        self.widths = [int(width) for width in widths]
        self.layers = [f"L{i}_{int(self.sizes[i])}_{self.widths[i]}" for i in range(n + 1)]
        names = ("num_layers", "num_critical", "margin_size", "output_scale", "num_fp16_res")
        self.add(
            "synthesis", "SynthesisNetwork", w_dim=self.w_dim, num_ws=self.num_ws, **shared,
            **{name: s[name] for name in names}, layer_names=self.layers,
        )  # fmt: skip
        self._add_input()
        for i in range(n + 1):
            self._add_layer(i)

    def _add_input(self):
        channels, size = self.widths[0], int(self.sizes[0])
        self.add(
            "synthesis.input", "SynthesisInput", w_dim=self.w_dim, channels=channels,
            size=[size, size], sampling_rate=float(self.rates[0]),
            bandwidth=float(self.cutoffs[0]),
        )  # fmt: skip
        radius = torch.rand(channels, 1) * self.cutoffs[0]
        angle = torch.rand(channels) * 2 * math.pi
        self.add_linear("synthesis.input.affine", self.w_dim, 4)
        self.weights |= {
            "synthesis.input.weight": torch.randn(channels, channels),
            "synthesis.input.freqs": (radius * torch.stack([angle.cos(), angle.sin()], 1)).float(),
            "synthesis.input.phases": torch.rand(channels) - 0.5,
            "synthesis.input.transform": torch.eye(3) + 0.05 * torch.randn(3, 3),
        }
        self.weights["synthesis.input.affine.bias"] += torch.tensor([1.0, 0, 0, 0])

    def _add_layer(self, i):
        s, n = self.s, self.s["num_layers"]
        before = max(i - 1, 0)
        is_rgb, is_critical = i == n, i >= n - s["num_critical"]
        rates, cutoffs, halves = (
            [float(of[k]) for k in (before, i)] for of in (self.rates, self.cutoffs, self.halves)
        )
        sizes = [int(self.sizes[k]) for k in (before, i)]
        wide = max(rates) * (1 if is_rgb else s["lrelu_upsampling"])
        up, down = (round(wide / rate) for rate in rates)
        taps = [s["filter_size"] * f if f > 1 and not is_rgb else 1 for f in (up, down)]
        is_radial = s["use_radial_filters"] and not is_critical
        k = 1 if is_rgb else s["conv_kernel"]
        total = (sizes[1] - 1) * down + 1 - (sizes[0] + k - 1) * up + sum(taps) - 2
        low = (total + up) // 2
        name = f"synthesis.{self.layers[i]}"
        self.add(
            name, "SynthesisLayer", w_dim=self.w_dim, is_torgb=is_rgb,
            is_critically_sampled=is_critical,
            use_fp16=rates[1] * 2 ** s["num_fp16_res"] > s["img_resolution"],
            in_channels=self.widths[before], out_channels=self.widths[i],
            in_size=[sizes[0]] * 2, out_size=[sizes[1]] * 2, in_sampling_rate=int(rates[0]),
            out_sampling_rate=int(rates[1]), tmp_sampling_rate=int(wide), in_cutoff=cutoffs[0],
            out_cutoff=cutoffs[1], in_half_width=halves[0], out_half_width=halves[1],
            conv_kernel=k, conv_clamp=s["conv_clamp"],
            magnitude_ema_beta=s["magnitude_ema_beta"], up_factor=up, up_taps=taps[0],
            down_factor=down, down_taps=taps[1], down_radial=is_radial,
            padding=[low, total - low] * 2,
        )  # fmt: skip
        self.add_linear(f"{name}.affine", self.w_dim, self.widths[before], bias=1.0)
        self.weights |= {
            f"{name}.weight": torch.randn(self.widths[i], self.widths[before], k, k),
            f"{name}.bias": 0.1 * torch.randn(self.widths[i]),
            f"{name}.magnitude_ema": 1 + torch.rand([]),
        }
        if taps[0] > 1:
            f = design(taps[0], cutoffs[0], 2 * halves[0], wide)
            self.weights[f"{name}.up_filter"] = f.float()
        if taps[1] > 1:
            f = design(taps[1], cutoffs[1], 2 * halves[1], wide, is_radial)
            self.weights[f"{name}.down_filter"] = f.float()

    def __call__(self, z, c=None, psi=1.0, cutoff=None):
        """z [N, z_dim] and c [N, c_dim] of float64 -> images [N, C, H, W]."""
        ws = self.mapped(z, c)[:, None].repeat(1, self.num_ws, 1)
        mean = self.held("mapping.w_avg")
        ws[:, :cutoff] = mean + psi * (ws[:, :cutoff] - mean)
        x = self._input(ws[:, 0])
        for i in range(len(self.layers)):
            x = self._layer(i, x, ws[:, i + 1])
        return x * self.s["output_scale"]

    def _input(self, w):
        held = {
            name: self.held(f"synthesis.input.{name}")
            for name in ("weight", "freqs", "phases", "transform")
        }
        rate, size = self.rates[0], int(self.sizes[0])
        t = self.linear("synthesis.input.affine", w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        xs = []
        for co, si, dx, dy in t.tolist():  # sample by sample
            r = torch.tensor([[co, -si, 0], [si, co, 0], [0, 0, 1]], dtype=w.dtype)
            m = torch.tensor([[1, 0, -dx], [0, 1, -dy], [0, 0, 1]], dtype=w.dtype)
            m = r @ m @ held["transform"]
            phases = held["phases"] + held["freqs"] @ m[:2, 2]
            freqs = held["freqs"] @ m[:2, :2]
            fade = 1 - (freqs.norm(dim=1) - self.cutoffs[0]) / (rate / 2 - self.cutoffs[0])
            places = (torch.arange(size, dtype=w.dtype) + 0.5 - size / 2) / rate
            u = places[None, :, None] * freqs[:, 0] + places[:, None, None] * freqs[:, 1]
            x = (2 * np.pi * (u + phases)).sin() * fade.clamp(0, 1)
            xs.append((x @ (held["weight"] / len(phases) ** 0.5).t()).permute(2, 0, 1))
        return torch.stack(xs)

    def _layer(self, i, x, w):
        name = f"synthesis.{self.layers[i]}"
        about = self.modules[name][1]
        held = {
            kind: None if (t := self.weights.get(f"{name}.{kind}")) is None else t.double()
            for kind in ("weight", "bias", "magnitude_ema", "up_filter", "down_filter")
        }
        is_rgb, k = about["is_torgb"], about["conv_kernel"]
        style = self.linear(f"{name}.affine", w)
        if is_rgb:
            style = style / (x.shape[1] * k * k) ** 0.5
        gain = 1 / held["magnitude_ema"].sqrt()
        x = plain.stylegan3_modulated_conv2d(x, held["weight"], style, not is_rgb, k - 1, gain)
        act = (1.0, 1.0) if is_rgb else (2**0.5, 0.2)
        return plain.filtered_lrelu(
            x, held["up_filter"], held["down_filter"], held["bias"], about["up_factor"],
            about["down_factor"], about["padding"], *act, about["conv_clamp"],
        )  # fmt: skip
