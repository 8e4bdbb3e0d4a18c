# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints of a run are kept: the newest, the best, one of every tenth of the run."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from fastgan.atomic import write_atomic
from fastgan.json_forms import FormError, boolean, fields, maybe, number, parse, rows, table, text
from fastgan.training.checkpoint import file
from fastgan.training.checkpoint.file import CheckpointError

__all__ = ["Score", "age", "best", "free_name", "note_score", "prune", "scores", "set_aside_newer"]

_SCORES = "scores.json"
_SCORES_FORM = fields(
    {"metric": maybe(text()), "scores": table(number())},
    {
        "lower_is_better": boolean,
        "kimg": table(number(0)),
        "intervals": table(maybe(rows(number(), length=2))),
    },
)
_LOWER_IS_BETTER = ("kid", "fd")  # in a file that does not say so


class Score(NamedTuple):
    """The metric of one checkpoint.

    Args:
        kimg: thousands of real samples that it was trained with.
        value: of the metric.
        interval: (low, high) of its confidence interval; None: there is none.
    """

    kimg: float
    value: float
    interval: tuple[float, float] | None


def free_name(folder: Path, nimg: int) -> Path:
    """A path that no checkpoint has: none is ever overwritten, so none can be lost on the way."""
    path = folder / f"ckpt-{nimg // 1000:06d}.json"
    if not path.exists():
        return path
    path = path.with_stem(f"{path.stem}-{nimg:09d}")
    again, number = path, 2
    while again.exists():
        again, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return again


def age(path: Path, nimg: int) -> tuple[int, int, Path]:
    """A key that sorts checkpoints from old to new, also where one moment was saved twice."""
    return nimg, path.stat().st_mtime_ns, path


def prune(folder: Path, *, written: Path, keep_last: int, keep_every_nimg: float | None) -> None:
    """Deletes all but the newest `keep_last`, `written`, the best (`note_score`) and, of every
    `keep_every_nimg` images after the first so many, the oldest.

    Unreadable ones are kept, because a newer fastgan may read them. Files that killed
    processes left are deleted.
    """
    found = {path: _nimg_of(path) for path in folder.glob("ckpt-*.json")}
    readable = sorted(age(path, nimg) for path, nimg in found.items() if nimg is not None)
    kept = {path for _, _, path in readable[-keep_last:]} | {written, best(folder)}
    if keep_every_nimg is not None:
        firsts: dict[int, Path] = {}
        for nimg, _, path in readable:
            firsts.setdefault(int(nimg // keep_every_nimg), path)
        kept |= {path for number, path in firsts.items() if number > 0}
    for _, _, path in readable:
        if path not in kept:
            file.remove(path)
    file.remove_leftovers(folder)


def note_score(
    folder: Path, written: Path, metric: str, score: Score, *, lower_is_better: bool
) -> None:
    """Writes the metric of a checkpoint to scores.json, and drops those of deleted checkpoints."""
    if not math.isfinite(score.value):
        return
    known = _scores(folder)
    document: dict[str, Any] = {"metric": metric, "lower_is_better": lower_is_better}
    for key, value in (
        ("scores", score.value),
        ("kimg", score.kimg),
        ("intervals", score.interval and list(score.interval)),
    ):
        of_others = known[key] if known["metric"] == metric else {}
        kept = {n: v for n, v in of_others.items() if (folder / f"{n}.json").exists()}
        document[key] = kept | {written.stem: value}
    write_atomic(folder / _SCORES, json.dumps(document, indent=1) + "\n", is_durable=True)


def best(folder: Path) -> Path | None:
    """The .json of the checkpoint with the best score among those that are there."""
    known = _scores(folder)
    sign = 1 if known["lower_is_better"] else -1
    ranked = sorted((sign * score, name) for name, score in known["scores"].items())
    paths = [folder / f"{name}.json" for _, name in ranked]
    return next((path for path in paths if path.exists()), None)


def scores(folder: Path, written: Path | None = None) -> tuple[str | None, list[Score], bool]:
    """(the metric, scores of the checkpoints that are there, old to new, whether lower is better).

    `written`, a checkpoint that may still be being written, counts as there.
    """
    known = _scores(folder)
    found = []
    for name, kimg in known["kimg"].items():
        if name not in known["scores"]:
            continue
        if (folder / f"{name}.json").exists() or (written is not None and name == written.stem):
            interval = known["intervals"].get(name)
            found.append(Score(kimg, known["scores"][name], interval and tuple(interval)))
    return known["metric"], sorted(found, key=lambda score: score.kimg), known["lower_is_better"]


def set_aside_newer(run_dir: Path, nimg: int) -> list[Path]:
    """Moves the checkpoints beyond `nimg` into checkpoints/abandoned; returns their new paths.

    Needed by a run that continues from an older checkpoint: later ones belong to another history.
    They would count as the newest, and new ones would be deleted in their place.
    """
    folder = Path(run_dir) / "checkpoints"
    moved = []
    for path in sorted(folder.glob("ckpt-*.json")):
        if (_nimg_of(path) or 0) > nimg:
            target = folder / "abandoned"
            target.mkdir(exist_ok=True)
            for half in (path, path.with_suffix(".safetensors")):
                half.replace(target / half.name)
            moved.append(target / path.name)
    return moved


def _nimg_of(path: Path) -> int | None:
    """Images shown when a checkpoint was written; None where it can't be read."""
    try:
        return file.read_document(path)["counters"]["nimg"]
    except CheckpointError:
        return None


def _scores(folder: Path) -> dict:
    path = folder / _SCORES
    try:
        known = parse(path.read_bytes(), _SCORES_FORM)
        is_lower = str(known["metric"]).startswith(_LOWER_IS_BETTER)
        return {
            "metric": known["metric"],
            "scores": dict(known["scores"]),
            "lower_is_better": known.get("lower_is_better", is_lower),
            "kimg": dict(known.get("kimg", {})),
            "intervals": dict(known.get("intervals", {})),
        }
    except FileNotFoundError:
        return {"metric": None, "scores": {}, "lower_is_better": False, "kimg": {}, "intervals": {}}
    except (OSError, FormError) as error:
        raise CheckpointError(
            f"checkpoint: {path} is not a file that this fastgan writes ({error}); delete it; the "
            "best checkpoint so far is then no longer protected"
        ) from error
