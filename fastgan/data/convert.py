# SPDX-License-Identifier: Apache-2.0
"""Convert a folder, zip or tars of images into one zip in the StyleGAN layout."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fastgan.data.decoded_images import DecodedImages
from fastgan.data.image_codec import encode_png
from fastgan.data.stylegan_zip_writer import write_stylegan_zip


def convert(
    src: str | Path,
    dest_zip: str | Path,
    *,
    resolution: tuple[int, int] | int | None = None,
    transform: str | None = None,
    max_images: int | None = None,
    labels: str | None = None,
    skip_broken: bool = False,
    overwrite: bool = False,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    on_skipped: Callable[[list[str]], None] | None = None,
) -> Path:
    """Write the images of `src` to the zip `dest_zip` as PNG.

    The result is grayscale if all images are, else RGB; transparency is composited on white. The
    file appears whole or not at all.

    Args:
        src: a folder, a .zip or .tar file, or a folder of .tar files.
        dest_zip: the file to write; it must end in .zip.
        resolution: (height, width) in pixels, or an int for both: each image is center-cropped to
            that aspect ratio and resized with Lanczos. None keeps the sizes, which must agree.
        transform: "center-crop" cuts the largest centered square out of each image first. None
            crops only what `resolution` needs.
        max_images: maximum number of images, taken evenly over the sorted names; None takes all.
        labels: "folders" makes one class per subfolder, in sorted order, whose names are
            "label_names" in dataset.json; folders around all images are passed over. "renumber"
            takes the class ids of dataset.json in `src` and numbers them 0, 1, …. None takes the
            labels of dataset.json, if any.
        skip_broken: whether images that cannot be read are left out. Each is then decoded twice.
        overwrite: whether an existing file may be replaced.
        workers: number of threads that decode.
        progress: called with (done, total) after every image.
        on_skipped: called once, where `skip_broken`, with what is wrong with each image left out.

    Returns:
        The path of the zip.

    Raises:
        FileNotFoundError: there is no `src`.
        FileExistsError: `dest_zip` exists, and `overwrite` is False.
        ValueError: another suffix or option, or an image that is damaged or has another size.
    """
    dest_zip = Path(dest_zip)
    if dest_zip.suffix.lower() != ".zip":
        raise ValueError(f"convert: dest_zip must end in .zip, got {dest_zip}")
    decoded = DecodedImages(
        src,
        "convert",
        resolution=resolution,
        transform=transform,
        max_images=max_images,
        labels=labels,
        skip_broken=skip_broken,
    )
    if skip_broken and on_skipped is not None:
        on_skipped(decoded.skipped)
    more = {} if decoded.label_names is None else {"label_names": decoded.label_names}
    with (
        write_stylegan_zip(dest_zip, overwrite=overwrite) as writer,
        closing(decoded.pixels(workers, encode_png, progress)) as pngs,
    ):
        for png in pngs:
            writer.add(png)
        writer.finish(decoded.labels, **more)
    return dest_zip
