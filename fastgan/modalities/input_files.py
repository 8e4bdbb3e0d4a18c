# SPDX-License-Identifier: Apache-2.0
"""Files that a person gives to a generator that takes a picture or a sound."""

from collections.abc import Collection
from pathlib import Path

__all__ = ["input_files"]


def input_files(path: Path, suffixes: Collection[str]) -> list[tuple[str, Path]]:
    """A file, or those of a folder at any depth, with names for what is made of them.

    Args:
        path: a file, whatever its suffix is, or a folder.
        suffixes: of the files that count in a folder, in lower case, with the dot; hidden files do
            not count.

    Returns:
        (name, path of the file) of each, sorted by path. The name has no suffix; "-" stands for the
        "/" of a file in a folder of the folder.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the folder has no such file, or two of one name.
    """
    wanted = ", ".join(sorted(suffixes))
    if path.is_file():
        return [(path.stem, path)]
    if not path.is_dir():
        raise FileNotFoundError(
            f"--input: there is no {path}; name a file ({wanted}) or a folder of them"
        )
    found: dict[str, Path] = {}
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).with_suffix("").parts
        is_hidden = any(part.startswith(".") for part in parts)
        if file.suffix.lower() not in suffixes or is_hidden or not file.is_file():
            continue
        name = "-".join(parts)
        if name in found:
            raise ValueError(
                f"--input: {found[name]} and {file} would both be written as {name}; rename one"
            )
        found[name] = file
    if not found:
        raise ValueError(f"--input: {path} has no file that is {wanted}; convert other formats")
    return list(found.items())
