"""A large file that appears whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


class WholeFile:
    """Context manager: `file` (binary, w+) grows under a unique temporary name beside `path`.

    `publish()` forces it to the disk (fsync) and renames it to `path` in one step; leaving the
    block without it removes it. So `path` never names a half-written file, and processes that write
    the same `path` at once don't disturb each other.
    Raises FileExistsError, at entry and at `publish`, when `path` exists and `overwrite` is False.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        self.file: BinaryIO

    def __enter__(self) -> Self:
        self._refuse_existing()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.stem}-{secrets.token_hex(8)}.tmp")
        self.file = self._temporary.open("x+b")
        return self

    def publish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self._refuse_existing()
        self._temporary.replace(self.path)
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk refuses the last buffer again
            self.file.close()
        self._temporary.unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        if self.path.exists() and not self.overwrite:
            raise FileExistsError(
                f"{self.path} exists already; pass overwrite=True to replace it, or choose "
                f"another name"
            )
