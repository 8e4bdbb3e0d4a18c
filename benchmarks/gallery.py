# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.gallery`: each recipe trained for minutes, and one page of all samples.

Trained is every recipe that is sized for a processor: every file of
fastgan/training/config/recipes but those with IS_PUBLISHED. A recipe that cannot run here, for
want of a package, is listed with the message that says so. What is trained already is not trained
again, unless its command has changed. `--folder`/index.html refers to files by relative paths.
"""

import argparse
import concurrent.futures
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path

import torch

import fastgan
from fastgan._version import __version__
from fastgan.atomic import write_atomic
from fastgan.losses.terms import load_term
from fastgan.modalities import load_modality
from fastgan.models import load_architecture
from fastgan.training.config.recipes import is_published, load_recipe, recipe_modality, recipes
from fastgan.training.loop.run_files import read_run
from fastgan.training.report.charts import format_number
from fastgan.training.report.style import CSS

_PACKAGE = Path(fastgan.__file__).parent
_SIDE = 32  # pixels of the images
_RECORD = "row.json"
_TITLE = re.compile(r"<h2>.*?</h2>")
_FILE = re.compile(r'\b(src|href)="')
_CSS = """
.row { display: grid; grid-template-columns: 290px minmax(0, 1fr); gap: 12px 24px;
  margin-top: 24px; padding-top: 20px; border-top: 1px solid var(--line); }
.row h2 { margin: 0 0 4px; } .row p { margin-bottom: 8px; }
.row code span { white-space: nowrap; } .row th { white-space: normal; }
.row td { text-align: right; white-space: nowrap; }
.row .pair { grid-template-columns: repeat(auto-fit, minmax(min(360px, 100%), 1fr)); }
.row .card img, .row .card video { max-height: 420px; object-fit: contain; }
.row .card audio { height: 32px; }
@media (max-width: 800px) { .row { grid-template-columns: minmax(0, 1fr); } }
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe of the gallery, as its folder's row.json keeps it.

    Args:
        name: of the recipe.
        command: words after `fastgan`, without --outdir.
        run: name of the run folder in the row's folder; "" before there is one.
        seconds: CPU-seconds of the command.
        error: why there is no run; "": there is one.
        note: why there are no metrics; "": there are some.
        images: number of samples of the metrics.
    """

    name: str
    command: tuple[str, ...]
    run: str = ""
    seconds: float = 0.0
    error: str = ""
    note: str = ""
    images: int = 0


def rows(minutes: float, only: Sequence[str] = ()) -> list[Row]:
    """What is to be trained: each recipe that is sized for a processor, of images first.

    Args:
        minutes: of each training.
        only: names of recipes; default: all.

    Raises:
        ValueError: for a name that is not one of them.
    """
    names = [name for name in recipes() if not is_published(name)]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise ValueError(f"--only: expected some of {', '.join(names)}, got {', '.join(unknown)}")
    names.sort(key=lambda name: (recipe_modality(name) != "images", name))
    return [
        Row(name=name, command=_command(name, minutes)) for name in names if name in (only or names)
    ]


def _command(name: str, minutes: float) -> tuple[str, ...]:
    size = ("--resolution", str(_SIDE)) if recipe_modality(name) == "images" else ()
    return ("train", "--cfg", name, *size, "--minutes", f"{minutes:g}", "--metrics", "none")


def train(row: Row, folder: Path, images: int) -> Row:
    """Trains a row and computes its metrics, unless its folder holds what the same command made.

    Args:
        row: to train.
        folder: of the gallery.
        images: number of samples of the metrics.

    Returns:
        The row with what came out, as it is kept in its folder.
    """
    place = folder / row.name
    earlier = read(row.name, folder)
    if earlier is not None and earlier.command == row.command and not earlier.error:
        return earlier
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    seconds, error = _fastgan(*row.command, "--outdir", place)
    runs = sorted(path.parent.name for path in place.glob("*/training_options.json"))
    if error or not runs:
        done = replace(row, error=error or "the command made no run folder")
    else:
        _, note = _fastgan("evaluate", "--network", place / runs[-1], "--num", images)
        done = replace(row, run=runs[-1], seconds=seconds, note=note, images=images)
        shutil.rmtree(place / done.run / "checkpoints", ignore_errors=True)
    write_atomic(place / _RECORD, json.dumps(asdict(done), indent=2))
    return done


def _fastgan(*words: object) -> tuple[float, str]:
    """(CPU-seconds of `fastgan WORDS` with one thread, its error message; "" for none)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fastgan", *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    message = ""
    if process.returncode:
        lines = printed.strip().splitlines() or [f"exit status {process.returncode}"]
        message = (
            printed.rpartition("\nError: ")[2].strip() if "\nError: " in printed else lines[-1]
        )
    return usage.ru_utime + usage.ru_stime, message


def read(name: str, folder: Path) -> Row | None:
    """The row of a recipe as its folder keeps it; None where it was not tried yet."""
    path = folder / name / _RECORD
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Row(**kept | {"command": tuple(kept["command"])})


def page(done: Sequence[Row], folder: Path) -> str:
    """The page as text; files are named relative to `folder`, and all other text is escaped."""
    trained = [row for row in done if not row.error]
    missing = [row for row in done if row.error]
    kinds: dict[str, list[str]] = {}
    shown = []
    for row in trained:
        noun, text = _section(row, folder)
        name = escape(row.name)
        kinds.setdefault(noun, []).append(f'<a href="#{name}">{name}</a>')
        shown.append(text)
    links = " · ".join(f"{escape(noun)}: {' '.join(names)}" for noun, names in kinds.items())
    listed = "".join(
        f"<tr><th>{escape(row.name)}</th><td>{escape(row.error)}</td></tr>" for row in missing
    )
    rest = f'<h2>Not trained</h2><div class="card"><table>{listed}</table></div>' if missing else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Gallery - fastgan</title><style>{CSS}{_CSS}</style></head><body><main>"
        f'<h1>Gallery</h1><p class="soft">{len(trained)} of {len(done)} recipes, each trained by '
        "the command beside its samples, for a short time and from seed 0, with one thread. The "
        "samples are not selected. Metrics were computed afterwards, by fastgan evaluate.</p>"
        f"<p>{links}</p>{''.join(shown)}{rest}"
        f"<footer>fastgan {__version__}, torch {escape(torch.__version__)}.</footer>"
        "</main></body></html>"
    )


def _section(row: Row, folder: Path) -> tuple[str, str]:
    """What a row's samples are called, and its part of the page."""
    run = read_run(folder / row.name / row.run)
    # the last line of statistics may be older than the samples of a run that was stopped
    kimg = max([row["kimg"] for row in run.stats[-1:]] + [kimg for kimg, _ in run.fakes[-1:]])
    noun = run.modality.samples.NOUN
    about = inspect.getmodule(load_recipe(row.name)).__doc__.partition("\n")[0]
    numbers = [(f"trained on thousand {noun}", kimg), ("CPU-minutes", row.seconds / 60)]
    if run.scores:
        numbers += [("generated for the metrics", row.images)]
        numbers += [(name, rows[-1]["results"][name]) for name, rows in run.scores.items()]
    cells = "".join(
        f"<tr><th>{escape(label)}</th><td>{format_number(value)}</td></tr>"
        for label, value in numbers
    )
    command = " ".join(
        f"<span>{escape(shlex.quote(word))}</span>" for word in ("fastgan", *row.command)
    )
    shown, _ = run.modality.samples.section(run.folder, run.files, run.fakes[-1:])
    place = f"{escape(row.name)}/{escape(row.run)}/"
    shown = _FILE.sub(rf'\1="{place}', _TITLE.sub("", shown))
    note = f'<p class="soft">{escape(row.note)}</p>' if row.note else ""
    return noun, (
        f'<section class="row" id="{escape(row.name)}"><div><h2>{escape(row.name)}</h2>'
        f"<p>{escape(about)}</p>"
        f'<p><code>{command}</code></p><p><a href="{place}report.html">report of the run</a></p>'
        f"{note}<table>{cells}</table></div>"
        f"<div>{shown}</div></section>"
    )


def files_table() -> str:
    """Of what files each row consists, with their lines, as Markdown."""
    head = ("recipe", "lines", "networks", "kind of samples", "losses of its own")
    lines = [_cells(head), _cells("---" for _ in head)]
    for row in rows(1):
        modality = recipe_modality(row.name)
        arguments = {"resolution": (_SIDE, _SIDE)} if modality == "images" else {}
        recipe = load_recipe(row.name)
        config = recipe(**arguments)
        folder = Path(load_modality(modality).data.__file__).with_name("__init__.py")
        terms = [load_term(name, it).__class__ for name, it in config.objective_options.items()]
        cells = [_files(load_architecture(config.architecture).__file__)]
        cells += [_files(folder)]
        cells += [_files(*(inspect.getfile(term) for term in terms))]
        lines.append(_cells((f"`{row.name}`", _count(inspect.getfile(recipe)), *cells)))
    return "\n".join(lines)


def _cells(texts: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, texts))} |"


def _count(path: str) -> int:
    return Path(path).read_text(encoding="utf-8").count("\n")


def _files(*paths: str | Path) -> str:
    """`folder/file` and lines of each; an __init__.py stands for the files of its folder."""
    shown = []
    for path in map(Path, paths):
        is_folder = path.stem == "__init__"
        files = path.parent.glob("*.py") if is_folder else [path]
        name = (path.parent if is_folder else path.with_suffix("")).relative_to(_PACKAGE)
        shown.append(f"{name} {sum(_count(str(file)) for file in files)}")
    return ", ".join(shown)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("gallery"))
    parser.add_argument("--minutes", type=float, default=3.0, help="of each recipe; default 3")
    parser.add_argument("--only", default="", help="names of recipes, separated by commas")
    parser.add_argument("--images", type=int, default=1000, help="samples of the metrics")
    parser.add_argument(
        "--jobs", type=int, default=min(os.cpu_count() or 1, 8),
        help="recipes at once, of one thread each; default: the number of cores, at most 8",
    )  # fmt: skip
    parser.add_argument("--files", action="store_true", help="print the files of each row")
    options = parser.parse_args(arguments)
    if options.files:
        print(files_table())
        return
    chosen = rows(options.minutes, [name for name in options.only.split(",") if name])
    begin = time.monotonic()

    def make(row: Row) -> None:
        done = train(row, options.folder, options.images)
        what = done.error or f"{done.seconds / 60:.1f} CPU-minutes"
        print(f"{(time.monotonic() - begin) / 60:5.1f} min  {row.name:<18} {what}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(make, chosen))
    kept = [read(row.name, options.folder) for row in rows(options.minutes)]
    path = options.folder / "index.html"
    write_atomic(path, page([row for row in kept if row is not None], options.folder))
    print(f"page  {path.resolve().as_uri()}")


if __name__ == "__main__":
    main()
