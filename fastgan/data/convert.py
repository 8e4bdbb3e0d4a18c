"""Any folder or zip of pictures → one StyleGAN-style zip."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from fastgan.data.dataset import parse_resolution, spread
from fastgan.data.decode import channels_of, convert_command, decode, encode_png
from fastgan.data.labels import folder_labels, parse_labels
from fastgan.data.source import FolderSource, ZipSource, open_source, read_json
from fastgan.data.stylegan_zip import StyleGANZipWriter

_CHUNK = 256  # pictures held in memory at once


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
    """Write the pictures of `src` (folder or zip) to `dest_zip` as PNG, and return its path.

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
    if transform not in (None, "center-crop"):
        raise ValueError(f'convert: transform must be None or "center-crop", got {transform!r}')
    if labels not in (None, "folders"):
        raise ValueError(f'convert: labels must be None or "folders", got {labels!r}')
    size = parse_resolution(resolution, "convert")
    source = open_source(src)
    names = spread(source.names, max_images, "convert")
    values, more = _labels(source, names, labels)

    with StyleGANZipWriter(dest_zip, overwrite=overwrite) as writer:
        channels = max(channels_of(source.read(name), f"{name} in {src}") for name in names)

        def load(name: str) -> tuple[bytes, tuple[int, ...]]:
            x = decode(
                source.read(name),
                f"{name} in {src}",
                channels=channels,
                resolution=size,
                is_square_crop=transform == "center-crop",
            )
            return encode_png(x), x.shape

        first = None
        with ThreadPoolExecutor(workers, thread_name_prefix="fastgan-convert") as pool:
            for name, (png, shape) in zip(names, _in_chunks(pool, load, names), strict=True):
                first = first or shape
                if shape != first:
                    raise ValueError(
                        f"convert: {name} in {src} is {shape[2]}x{shape[1]} pixels, but {names[0]} "
                        f"is {first[2]}x{first[1]} (width x height); give them one size with "
                        f"{convert_command(src)}"
                    )
                writer.add(png)
                if progress is not None:
                    progress(len(writer.names), len(names))
        writer.finish(values, **more)
    return dest_zip


def _labels(
    source: FolderSource | ZipSource, names: list[str], labels: str | None
) -> tuple[list | None, dict]:
    if labels == "folders":
        values, classes = folder_labels(names, source.path)
        return values, {"label_names": classes}
    document = read_json(source, "dataset.json")
    if not isinstance(document, dict) or document.get("labels") is None:
        return None, {}
    kept = {"label_names": document["label_names"]} if "label_names" in document else {}
    return parse_labels(document, names, source.path), kept


def _in_chunks(pool: ThreadPoolExecutor, load: Callable, names: list[str]) -> Iterator:
    # Executor.map alone would read everything ahead of the writer.
    remaining = iter(names)
    while chunk := list(islice(remaining, _CHUNK)):
        yield from pool.map(load, chunk)
