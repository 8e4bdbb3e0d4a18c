"""Files that are either the old ones or the new ones, never half of one."""

import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, data: bytes | str, *, is_durable: bool = False) -> None:
    """Replace `path` by `data` (text as UTF-8): temporary file beside it, then rename.

    A reader sees the old or the new content at any time, also when this process is killed. The
    content is forced to the disk only with `is_durable`: a power cut may otherwise leave neither.
    """
    payload = data.encode("utf-8") if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
