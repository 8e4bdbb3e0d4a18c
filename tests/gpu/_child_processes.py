# SPDX-License-Identifier: Apache-2.0
"""Work through a list of items in child processes, so that one item that crashes costs only itself.

The child (`serve`) writes a line when it begins an item and a line with the result when it ends it.
Where it dies, the parent (`drive`) knows which item it was, and starts another child for the rest.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.gpu._steps import last_line, run_logged

Record = dict[str, Any]


def drive(
    module: str, items: Sequence[str], options: Sequence[str], limit_s: float
) -> list[Record]:
    """One record per item, in order: {"item", "failure": None or words, **what `serve` was given}.

    `module` is run as `python -m module --items FILE --records FILE *options`.
    """
    deadline = time.monotonic() + limit_s
    records: dict[str, Record] = {}
    with tempfile.TemporaryDirectory(prefix="fastgan-gpu-") as folder:
        while pending := [item for item in items if item not in records]:
            todo, done = Path(folder) / "items.json", Path(folder) / "records.jsonl"
            log = Path(folder) / "log"
            todo.write_text(json.dumps(pending))
            done.write_text("")
            command = [sys.executable, "-m", module, "--items", str(todo), "--records", str(done)]
            with log.open("w") as stream:
                code = run_logged([*command, *options], stream, deadline - time.monotonic())
            sys.stdout.write(log.read_text(errors="replace"))
            begun, ended = _read(done)
            records |= ended
            lost = begun if begun is not None and begun not in ended else None
            if code is None:
                words = f"not reached: all items together ran past {limit_s:.0f} s"
                records |= {i: _failed(i, words) for i in pending if i not in records}
                if lost is not None:
                    records[lost] = _failed(lost, f"cut off: ran past {limit_s:.0f} s in all")
            elif lost is not None:
                words = f"its process ended with exit code {code}: {last_line(log)}"
                records[lost] = _failed(lost, words)
            elif not ended:
                words = f"{module} ended with exit code {code} before its first item: "
                records |= {i: _failed(i, words + last_line(log)) for i in pending}
    return [records[item] for item in items]


def serve(
    work: Callable[[str, argparse.Namespace], Record], parser: argparse.ArgumentParser
) -> int:
    """The child's main: `work(item, options)` for every item of --items, one record each."""
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    for item in json.loads(options.items.read_text()):
        print(item, flush=True)
        with options.records.open("a") as stream:
            stream.write(json.dumps({"begin": item}) + "\n")
        record = {"item": item, "failure": None} | work(item, options)
        with options.records.open("a") as stream:
            stream.write(json.dumps({"end": record}) + "\n")
    return 0


def _read(path: Path) -> tuple[str | None, dict[str, Record]]:
    """The item begun last, and the records of those that ended."""
    begun, ended = None, {}
    for text in path.read_text().splitlines():
        if not text.endswith("}"):
            break  # killed while writing
        line = json.loads(text)
        if "begin" in line:
            begun = line["begin"]
        else:
            ended[line["end"]["item"]] = line["end"]
    return begun, ended


def _failed(item: str, words: str) -> Record:
    return {"item": item, "failure": words}
