"""Any folder or zip of pictures → one StyleGAN-style zip."""

from collections.abc import Callable
from pathlib import Path

from fastgan.data.decoded_images import Decoded
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
    overwrite: bool = False,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the pictures of `src` (folder, zip or tars) to `dest_zip` as PNG, and return its path.

    resolution    (H, W) or an int: each picture is centre-cropped to that aspect ratio and resized
                  with Lanczos. None: sizes are kept and must agree
    transform     "center-crop": the largest centred square is cut out first. None: no crop but
                  the one that `resolution` needs
    max_images    at most so many, evenly spaced over the sorted names
    labels        None: those of src's dataset.json, where it has some. "folders": one class per
                  first subfolder, in sorted order, named in dataset.json's "label_names"
    overwrite     replace an existing dest_zip; else FileExistsError

    The result is grey if all pictures are, else RGB; transparency is composited on white. The file
    appears whole or not at all (`StyleGANZipWriter`). Raises FileNotFoundError, FileExistsError, or
    ValueError naming the picture that is bad or has another size.
    """
    dest_zip = Path(dest_zip)
    if dest_zip.suffix.lower() != ".zip":
        raise ValueError(f"convert: dest_zip must end in .zip, got {dest_zip}")
    decoded = Decoded(
        src,
        "convert",
        resolution=resolution,
        transform=transform,
        max_images=max_images,
        labels=labels,
    )
    more = {} if decoded.label_names is None else {"label_names": decoded.label_names}
    with write_stylegan_zip(dest_zip, overwrite=overwrite) as writer:
        for png in decoded.pixels(workers, encode_png, progress):
            writer.add(png)
        writer.finish(decoded.labels, **more)
    return dest_zip
