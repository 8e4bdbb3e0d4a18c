"""Names and shapes of StyleGAN2's weights: ours, which are NVIDIA's, and rosinality's.

ours                              rosinality                    change
mapping.fc{i}                     style.{i + 1}
mapping.w_avg                     latent_avg of the file
synthesis.b4.const                input.input                   [1, ...]
synthesis.b4.conv1                conv1                         weight [1, ...], noise [1]
synthesis.b{r}.conv0, .conv1      convs.{2j}, convs.{2j + 1}    likewise; conv0's filter × 4
synthesis.b{r}.torgb              to_rgb1, to_rgbs.{j}          bias [1, 3, 1, 1]; filter × 4
noise_const                       noises.noise_{k}              [1, 1, ...]
b{R}.fromrgb, b{r}.conv0 / conv1 / skip      convs.0, convs.{j}.conv1 / conv2 / skip
b4.conv, b4.fc, b4.out            final_conv, final_linear.0, final_linear.1

Each line is reversible to the bit (× 4 and ÷ 4 are exact).
"""

from collections.abc import Callable, Iterator

from torch import Tensor

Change = Callable[[Tensor], Tensor]
Line = tuple[str, str, Change, Change]  # our name, theirs, our value to theirs, theirs to ours


def _same(name: str, other: str) -> Line:
    return name, other, lambda t: t, lambda t: t


def _leading(name: str, other: str, dims: int = 1) -> Line:
    """Theirs has `dims` leading dimensions of size 1."""
    return (name, other, lambda t: t.reshape(*(1,) * dims, *t.shape),
            lambda t: t.reshape(t.shape[dims:]))  # fmt: skip


def _filter(name: str, other: str, factor: float) -> Line:
    return name, other, lambda t: t * factor, lambda t: t / factor


def _layer(ours: str, theirs: str, noise: str | None) -> Iterator[Line]:
    yield _leading(f"{ours}.weight", f"{theirs}.conv.weight")
    yield _same(f"{ours}.affine.weight", f"{theirs}.conv.modulation.weight")
    yield _same(f"{ours}.affine.bias", f"{theirs}.conv.modulation.bias")
    if noise is None:  # to RGB
        yield (f"{ours}.bias", f"{theirs}.bias", lambda t: t.reshape(1, -1, 1, 1),
               lambda t: t.reshape(-1))  # fmt: skip
        return
    yield _same(f"{ours}.bias", f"{theirs}.activate.bias")
    yield (f"{ours}.noise_strength", f"{theirs}.noise.weight", lambda t: t.reshape(1),
           lambda t: t.reshape(()))  # fmt: skip
    yield _leading(f"{ours}.noise_const", noise, 2)


def generator_lines(resolution: int, mapping_layers: int) -> Iterator[Line]:
    """The lines of G with image skips from 4 × 4 to `resolution`."""
    for i in range(mapping_layers):
        for kind in ("weight", "bias"):
            yield _same(f"mapping.fc{i}.{kind}", f"style.{i + 1}.{kind}")
    yield _leading("synthesis.b4.const", "input.input")
    yield from _layer("synthesis.b4.conv1", "conv1", "noises.noise_0")
    yield from _layer("synthesis.b4.torgb", "to_rgb1", None)
    size, j = 8, 0
    while size <= resolution:
        block = f"synthesis.b{size}"
        yield from _layer(f"{block}.conv0", f"convs.{2 * j}", f"noises.noise_{2 * j + 1}")
        yield _filter(f"{block}.conv0.resample_filter", f"convs.{2 * j}.conv.blur.kernel", 4)
        yield from _layer(f"{block}.conv1", f"convs.{2 * j + 1}", f"noises.noise_{2 * j + 2}")
        yield from _layer(f"{block}.torgb", f"to_rgbs.{j}", None)
        yield _filter(f"{block}.resample_filter", f"to_rgbs.{j}.upsample.kernel", 4)
        size, j = 2 * size, j + 1


def discriminator_lines(resolution: int) -> Iterator[Line]:
    """The lines of the residual, unconditional D."""
    yield _same(f"b{resolution}.fromrgb.weight", "convs.0.0.weight")
    yield _same(f"b{resolution}.fromrgb.bias", "convs.0.1.bias")
    size, j = resolution, 1
    while size > 4:
        block, other = f"b{size}", f"convs.{j}"
        yield _same(f"{block}.conv0.weight", f"{other}.conv1.0.weight")
        yield _same(f"{block}.conv0.bias", f"{other}.conv1.1.bias")
        yield _same(f"{block}.conv1.resample_filter", f"{other}.conv2.0.kernel")
        yield _same(f"{block}.conv1.weight", f"{other}.conv2.1.weight")
        yield _same(f"{block}.conv1.bias", f"{other}.conv2.2.bias")
        yield _same(f"{block}.skip.resample_filter", f"{other}.skip.0.kernel")
        yield _same(f"{block}.skip.weight", f"{other}.skip.1.weight")
        size, j = size // 2, j + 1
    for ours, theirs in (
        ("conv.weight", "final_conv.0.weight"),
        ("conv.bias", "final_conv.1.bias"),
        ("fc.weight", "final_linear.0.weight"),
        ("fc.bias", "final_linear.0.bias"),
        ("out.weight", "final_linear.1.weight"),
        ("out.bias", "final_linear.1.bias"),
    ):
        yield _same(f"b4.{ours}", theirs)
