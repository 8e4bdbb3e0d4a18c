# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's generator: the layers, blocks and network of its synthesis half, and the whole."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from fastgan import sample_rng
from fastgan.models._checks import check_ws
from fastgan.models._network import StyleGenerator
from fastgan.models._pyramid import size_name
from fastgan.models.stylegan2.config import (
    HALF_POWER,
    UNUSED_FILTER,
    Config,
    default_gain,
    dtype_of_maps,
)
from fastgan.nn import EqualConv2d, ModulatedConv2d
from fastgan.nn.noise import check_noise_mode, make_noise
from fastgan.nn.resample import upsample_to
from fastgan.ops import setup_filter


class SynthesisLayer(ModulatedConv2d):
    """Modulated convolution, noise, bias, activation; x [N, I, ...] -> [N, O, *size].

    Args:
        config: the Config of the whole model.
        i: channels I of x.
        o: channels O of the output.
        size: (height, width) of the output.
        up: factor of up-sampling.
        scale: of the output, on top of the activation's gain.
    """

    def __init__(
        self,
        config: Config,
        i: int,
        o: int,
        size: tuple[int, int],
        up: int = 1,
        scale: float = 1.0,
    ) -> None:
        super().__init__(
            i,
            o,
            config.kernel_size,
            config.w_dim,
            up=up,
            activation=config.activation,
            resample_filter=config.resample_filter if up > 1 else UNUSED_FILTER,
            gain=default_gain(config.activation) * scale,
            clamp=None if config.conv_clamp is None else config.conv_clamp * scale,
            fused=config.fused_modconv,
        )
        self.size = size
        self.use_noise = config.use_noise
        if self.use_noise:
            self.noise_strength = nn.Parameter(torch.zeros([]))
            self.register_buffer("noise_const", torch.randn(*size))

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise_mode: str) -> torch.Tensor:
        y, scale = self.convolve(x, w, self.size if self.up > 1 else None)
        if not self.use_noise:
            return self.activate(y, scale)
        noise = make_noise(y, noise_mode, self.noise_const)
        return self.activate(y, scale, noise, None if noise is None else self.noise_strength)


class SynthesisBlock(nn.Module):
    """One size of G: (up-convolution or constant), convolution, and image output.

    ``forward`` takes x [N, i, ...], the maps of the size below, img [N, img_channels, ...], the sum
    of images so far, or None for either, ws [N, …, w_dim] for its layers, and noise_mode. It gives
    the maps and the sum at this size.

    Args:
        config: the Config of the whole model.
        i: channels of x; 0 for the base, which starts from a constant.
        size: (height, width) of the block.
        is_last: whether this is the image's size.
    """

    def __init__(self, config: Config, i: int, size: tuple[int, int], is_last: bool) -> None:
        super().__init__()
        o = config.channels(size)
        self.architecture = config.g_architecture
        self.size = size
        self.dtype, self.half_on_cpu = config.map_dtype(size), config.half_on_cpu
        f = config.resample_filter if config.skip_filter is None else config.skip_filter
        self.register_buffer("resample_filter", setup_filter(f))
        self.num_convs = 1 if i == 0 else 2
        is_residual = self.architecture == "resnet" and i > 0
        if i == 0:
            self.const = nn.Parameter(torch.randn(o, *size))
        else:
            self.conv0 = SynthesisLayer(config, i, o, size, up=2)
        self.conv1 = SynthesisLayer(config, o, o, size, scale=HALF_POWER if is_residual else 1.0)
        self.has_rgb = is_last or self.architecture == "skip"
        if self.has_rgb:
            self.torgb = ModulatedConv2d(
                o,
                config.img_channels,
                1,
                config.w_dim,
                demodulate=False,
                resample_filter=None,
                clamp=config.conv_clamp,
                fused=config.fused_modconv,
            )
        if is_residual:
            self.skip = EqualConv2d(
                i,
                o,
                1,
                up=2,
                bias=False,
                resample_filter=config.resample_filter,
                gain=HALF_POWER,
            )

    def forward(
        self,
        x: torch.Tensor | None,
        img: torch.Tensor | None,
        ws: torch.Tensor,
        noise_mode: str,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        w = iter(ws.unbind(1))
        if x is None:
            x = self.const.to(ws.dtype).expand(ws.shape[0], -1, -1, -1)
            x = x.contiguous(memory_format=torch.channels_last)
            x = self.conv1(x, next(w), noise_mode)
        else:
            x = x.to(dtype_of_maps(self.dtype, self.half_on_cpu, ws))
            shortcut = self.skip(x, self.size) if hasattr(self, "skip") else None
            x = self.conv0(x, next(w), noise_mode)
            x = self.conv1(x, next(w), noise_mode)
            if shortcut is not None:
                x = x + shortcut
        if img is not None:
            img = upsample_to(img, self.resample_filter, 2, self.size)
        if self.has_rgb:
            rgb = self.torgb(x, next(w))
            # The image is a sum over sizes: low-precision layers must not round each partial sum.
            rgb = rgb.to(torch.promote_types(ws.dtype, torch.float32))
            img = rgb if img is None else img + rgb
        return x, img


class SynthesisNetwork(nn.Module):
    """ws [N, num_ws, w_dim] -> images [N, img_channels, img_height, img_width], float32 at least.

    Each convolution reads its own w; each image output reads the w of the next block's first
    convolution (the last reads its own). noise_mode: "random", "const" (the buffers) or "none".
    ``forward`` raises ValueError for ws of another shape, or a noise_mode that does not exist.

    Args:
        config: the Config of the whole model.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.w_dim = config.w_dim
        self.names = [size_name(size) for size in config.sizes]
        channels = 0
        self.num_ws = 1  # the last image output's
        for name, size in zip(self.names, config.sizes, strict=True):
            block = SynthesisBlock(config, channels, size, is_last=size == config.sizes[-1])
            self.add_module(name, block)
            self.num_ws += block.num_convs
            channels = config.channels(size)

    def forward(self, ws: torch.Tensor, noise_mode: str = "random") -> torch.Tensor:
        check_ws("SynthesisNetwork", ws, self.num_ws, self.w_dim)
        check_noise_mode("SynthesisNetwork", noise_mode)
        with self._noise_ahead(ws, noise_mode):
            _, img = self.run_blocks(ws, None, None, noise_mode, 0, len(self.names))
        return img.contiguous()

    def run_blocks(
        self,
        ws: torch.Tensor,
        x: torch.Tensor | None,
        img: torch.Tensor | None,
        noise_mode: str,
        start: int,
        stop: int,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The blocks of some sizes, one after the other; nothing is checked.

        Args:
            ws: [N, num_ws, w_dim], of all blocks.
            x: [N, C, H, W], the maps that the block before ``start`` gave; None where start is 0.
            img: [N, img_channels, H, W], likewise; None where there is none.
            noise_mode: as of ``forward``.
            start: the first block, counted from the base.
            stop: the one after the last block.

        Returns:
            (maps, sum of images or None) of the last block.
        """
        blocks = [self.get_submodule(name) for name in self.names]
        first = sum(block.num_convs for block in blocks[:start])
        for block in blocks[start:stop]:
            used = ws[:, first : first + block.num_convs + block.has_rgb]
            x, img = block(x, img, used, noise_mode)
            first += block.num_convs
        return x, img

    def _noise_ahead(self, ws: torch.Tensor, noise_mode: str) -> AbstractContextManager[None]:
        """Draws the noise of all layers at once; a compiled network's layers draw their own."""
        is_float64 = ws.dtype == torch.float64
        if noise_mode != "random" or is_float64 or torch.compiler.is_compiling():
            return nullcontext()
        layers = (m for m in self.modules() if isinstance(m, SynthesisLayer) and m.use_noise)
        shapes = [(ws.shape[0], 1, *layer.size) for layer in layers]
        return sample_rng.normals_ahead(shapes, ws.device)


class Generator(StyleGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    Images have the dtype of z, float32 at least. ``noise_mode`` is that of every layer.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.synthesis = SynthesisNetwork(config)
        self._add_mapping(
            self.synthesis.num_ws,
            config.w_avg_beta,
            embed_features=config.embed_features,
            layer_features=config.layer_features,
            activation=config.mapping_activation,
        )
