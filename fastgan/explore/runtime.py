# SPDX-License-Identifier: Apache-2.0
"""onnxruntime-web, which runs ONNX files in a browser: where it is kept, and how it gets there.

It is Microsoft's, under the MIT licence. No package for Python carries it, so one version of npm's
package is fetched once, when a person asks for it, into the cache folder. The archive and the two
files that are taken from it are known by their hashes: nothing else is ever given to a browser.
"""

import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from fastgan.atomic import make_parents, write_atomic
from fastgan.environment import cache_dir

__all__ = ["RuntimeMissingError", "fetch_runtime", "install_runtime", "runtime_files"]

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SIZE = 33_106_585  # bytes of the archive, of which 14 MB are kept
SHA512 = (  # of the archive, which the registry publishes in base64
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
FILES = {  # name: SHA-256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm":
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}  # fmt: skip
_PART = 2**18  # bytes read at once
_TIMEOUT = 60.0  # seconds without a byte


class RuntimeMissingError(OSError):
    """onnxruntime-web is not in the cache folder, or it can't be fetched; the message says how."""


def runtime_folder() -> Path:
    """Where its files are kept; nothing is created here."""
    return cache_dir() / f"onnxruntime-web-{VERSION}"


def runtime_files() -> dict[str, bytes]:
    """The files of onnxruntime-web that the page needs.

    Returns:
        {name: content}.

    Raises:
        RuntimeMissingError: one is missing, or is not what it was when it was fetched.
    """
    found = {}
    for name, digest in FILES.items():
        path = runtime_folder() / name
        try:
            content = path.read_bytes()
        except OSError:
            raise RuntimeMissingError(
                f"explore: the page needs onnxruntime-web {VERSION} (MIT licence), which no Python "
                "package carries and which has not been fetched yet; add --fetch-runtime once "
                f"({SIZE / 1e6:.0f} MB from registry.npmjs.org). Where there is no network, run "
                f"`npm pack onnxruntime-web@{VERSION}` elsewhere, and add --runtime "
                f"onnxruntime-web-{VERSION}.tgz"
            ) from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise RuntimeMissingError(
                f"explore: {path} is damaged; delete it and add --fetch-runtime"
            )
        found[name] = content
    return found


def fetch_runtime(
    url: str = URL, *, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Download onnxruntime-web, and keep what the page needs of it in the cache folder.

    Args:
        url: of the archive; default: npm's registry.
        progress: called with (bytes so far, all bytes).

    Returns:
        The files.

    Raises:
        RuntimeMissingError: there is no network, or what came is something else.
    """
    content = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            while part := answer.read(_PART):
                content += part
                if len(content) > SIZE:
                    break  # the hash will be another
                if progress is not None:
                    progress(len(content), SIZE)
    except (OSError, ValueError) as error:
        raise RuntimeMissingError(
            f"explore: onnxruntime-web can't be fetched from {url} ({error}); run `npm pack "
            f"onnxruntime-web@{VERSION}` on a machine with a network, and add --runtime "
            f"onnxruntime-web-{VERSION}.tgz"
        ) from error
    return _keep(bytes(content), url)


def install_runtime(archive: Path | str) -> list[Path]:
    """Keep what the page needs of npm's archive of onnxruntime-web in the cache folder.

    Args:
        archive: onnxruntime-web-….tgz of the version that this fastgan knows.

    Returns:
        The files.

    Raises:
        RuntimeMissingError: it can't be read, or is something else.
    """
    try:
        with Path(archive).open("rb") as file:
            content = file.read(SIZE + 1)
    except OSError as error:
        raise RuntimeMissingError(f"explore: {archive} can't be read ({error.strerror})") from error
    return _keep(content, str(archive))


def _keep(content: bytes, source: str) -> list[Path]:
    if hashlib.sha512(content).hexdigest() != SHA512:
        raise RuntimeMissingError(
            f"explore: {source} is not the archive of onnxruntime-web {VERSION} that fastgan knows "
            "(its SHA-512 is another one), and is not used; `npm pack "
            f"onnxruntime-web@{VERSION}` writes it"
        )
    paths = []
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None, name  # the hash vouches for what the archive holds
            path = runtime_folder() / name
            make_parents(path)
            write_atomic(path, member.read())
            paths.append(path)
    return paths
