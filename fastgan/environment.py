# SPDX-License-Identifier: Apache-2.0
"""Every `FASTGAN_*` environment variable, read here and nowhere else.

The table for users is in docs/environment.md, and a test compares it with this file.
They are read when used, not when imported, so that a test or a notebook can set them late.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


class SettingError(ValueError):
    """An environment variable has a value that it can't have; the message names it."""


_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
WINOGRAD = ("auto", "0", "1")
SMALL_CALLS = ("auto", "0")


def _flag(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise SettingError(
        f"{name}: expected 1 or 0, got {os.environ[name]!r}; unset it for the default"
    )


def _choice(name: str, choices: tuple[str, ...], default: str) -> str:
    value = os.environ.get(name, "").strip().lower() or default
    if value not in choices:
        raise SettingError(
            f"{name}: expected one of {', '.join(choices)}, got {os.environ[name]!r}; "
            f"unset it for the default ({default})"
        )
    return value


def require_native() -> bool:
    """`FASTGAN_REQUIRE_NATIVE=1`: an op that has no native kernel for its input raises an error."""
    return _flag("FASTGAN_REQUIRE_NATIVE")


@contextlib.contextmanager
def native_required() -> Iterator[None]:
    """Set `FASTGAN_REQUIRE_NATIVE=1` within the block: an op without its kernel raises an error."""
    before = os.environ.get("FASTGAN_REQUIRE_NATIVE")
    os.environ["FASTGAN_REQUIRE_NATIVE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["FASTGAN_REQUIRE_NATIVE"]
        else:
            os.environ["FASTGAN_REQUIRE_NATIVE"] = before


def backend() -> str:
    """`FASTGAN_BACKEND`: `auto` (native kernels where built) or `reference` (load no library)."""
    return _choice("FASTGAN_BACKEND", ("auto", "reference"), "auto")


def cuda_build() -> str:
    """`FASTGAN_CUDA`: `auto` (build CUDA where a toolkit and a CUDA torch are), `1` or `0`."""
    return _choice("FASTGAN_CUDA", ("auto", "1", "0"), "auto")


def isa() -> str:
    """`FASTGAN_ISA`: highest CPU instruction set to use; `auto` asks the processor."""
    return _choice("FASTGAN_ISA", ("auto", "baseline", "avx2", "avx512", "amx"), "auto")


def winograd() -> str:
    """`FASTGAN_WINOGRAD`: `auto` (where `conv2d` is faster with it), `0` never, `1` if possible."""
    return _choice("FASTGAN_WINOGRAD", WINOGRAD, "auto")


def small_calls() -> str:
    """`FASTGAN_SMALL_CALLS`: `auto` (ops on few elements on a CPU run as plain torch) or `0`."""
    return _choice("FASTGAN_SMALL_CALLS", SMALL_CALLS, "auto")


def rank_timeout() -> float:
    """`FASTGAN_RANK_TIMEOUT`: seconds that ranks wait for another one in a step; default 600."""
    text = os.environ.get("FASTGAN_RANK_TIMEOUT", "").strip() or "600"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise SettingError(
            f"FASTGAN_RANK_TIMEOUT: expected a positive number of seconds, got {text!r}; unset it "
            "for the default (600)"
        )
    return seconds


def cache_dir() -> Path:
    """`FASTGAN_CACHE_DIR`, else the platform's per-user cache folder. Nothing is created here.

    A user without a home folder, such as an unknown number in a container, has one in the folder
    for temporary files.
    """
    explicit = os.environ.get("FASTGAN_CACHE_DIR")
    try:
        if explicit:
            return Path(explicit).expanduser()
        if sys.platform == "darwin":
            return Path("~/Library/Caches/fastgan").expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser() / "fastgan"
        return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "fastgan"
    except RuntimeError as error:  # no home folder is known
        if explicit:
            raise SettingError(
                f"FASTGAN_CACHE_DIR: {explicit} has no meaning, because no home folder is known; "
                "set it to an absolute path"
            ) from error
        return Path(tempfile.gettempdir()) / f"fastgan-cache-{os.getuid()}"
