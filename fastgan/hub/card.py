# SPDX-License-Identifier: Apache-2.0
"""The card of a repository, README.md: what the generator is, and how it was trained and scored."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastgan._version import __version__
from fastgan.hub.settings import only_name
from fastgan.metrics.result import is_of_usual_samples
from fastgan.modalities import load_modality
from fastgan.training.config.run import TrainConfig

__all__ = ["Facts", "merged_card", "read_scores", "write_card"]

BEGIN = "<!-- fastgan push writes what is between these two marks anew; what is outside stays -->"
END = "<!-- end of what fastgan push writes -->"
_PICTURES = (".png", ".gif", ".svg")
_NO_LICENSE = (
    "## License\n\nNone is stated. Whoever publishes the weights chooses it: `license:` in the "
    "head of this file. The terms of the training data may limit the choice."
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the card says.

    Args:
        repository: "user/name".
        license: the Hub's identifier; None: none is stated.
        config: of the run.
        kimg: thousands of real samples shown in training.
        environment: of the checkpoint: torch, device, threads, ranks.
        parameters: number of the generator's.
        c_dim: number of classes, or 0.
        data: name and size of the data set.
        scores: rows of metric-*.jsonl.
        samples: (file name, number) of samples of the seeds 0 and on; None: there are none.
        has_checkpoint: whether the checkpoint is in the repository.
        is_imported: whether the weights came from another project.
    """

    repository: str
    license: str | None
    config: TrainConfig
    kimg: float
    environment: dict[str, Any]
    parameters: int
    c_dim: int
    data: str
    scores: list[dict[str, Any]]
    samples: tuple[str, int] | None
    has_checkpoint: bool
    is_imported: bool


def read_scores(run_dir: Path, checkpoint: str) -> list[dict[str, Any]]:
    """Of each metric the last row of a checkpoint, or, where it has none, the last row of the run.

    Args:
        run_dir: the folder with metric-*.jsonl.
        checkpoint: name of the file.

    Returns:
        The rows (`fastgan.metrics.MetricResult.record`), sorted by metric; lines that are damaged,
        or of truncated samples or of one label, are left out.
    """
    found = []
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        rows = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                if is_of_usual_samples(row):
                    rows.append(row | {"value": float(row["results"][row["metric"]])})
            except (ValueError, KeyError, TypeError):
                continue
        own = [row for row in rows if row.get("checkpoint") == checkpoint]
        found += (own or rows)[-1:]
    return found


def write_card(facts: Facts) -> str:
    """The text of README.md.

    Args:
        facts: what it says.

    Returns:
        Markdown with the head that the Hub reads, YAML.
    """
    name = facts.repository.partition("/")[2]
    parts = [
        _what_it_is(facts),
        _samples(facts),
        _use(facts),
        _scores(facts),
        _training(facts),
        _contents(facts),
        "" if facts.license is not None else _NO_LICENSE,
    ]
    body = "\n\n".join(part for part in parts if part)
    return f"{_head(facts)}\n# {name}\n\n{BEGIN}\n\n{body}\n\n{END}\n"


def merged_card(old: str, new: str, license: str | None) -> str | None:
    """A card that a person has edited, with the part of it that fastgan writes renewed.

    Args:
        old: the repository's README.md.
        new: of `write_card`.
        license: of the new card; None leaves the field of the old head as it is.

    Returns:
        The old text, in which the part between the two marks is the new one's; None where the
        marks are missing.
    """
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    found = pattern.search(new)
    if found is None or not pattern.search(old):
        return None
    head = re.match(r"---\n(.*?)\n---\n", old, re.DOTALL)
    lines = head[1].splitlines() if head is not None else []
    others = [line for line in lines if not line.startswith("license:")]
    part = found[0]
    if license is None and others != lines:
        part = part.replace(f"{_NO_LICENSE}\n\n", "")
    merged = pattern.sub(lambda _: part, old, count=1)
    if license is None or head is None:
        return merged
    return "\n".join(["---", *others, f"license: {license}", "---", ""]) + merged[head.end() :]


def _head(facts: Facts) -> str:
    lines = ["---", "library_name: fastgan", "tags:", "- gan", f"- {facts.config.architecture}"]
    if facts.config.is_image_model and facts.config.latents != "none" and not facts.c_dim:
        lines.append("pipeline_tag: unconditional-image-generation")
    if facts.license is not None:
        lines.append(f"license: {facts.license}")
    return "\n".join([*lines, "---", ""])


def _noun(facts: Facts) -> str:
    return load_modality(facts.config.data.modality).samples.NOUN


def _what_it_is(facts: Facts) -> str:
    config, model = facts.config, facts.config.model
    noun = _noun(facts)
    if config.is_image_model and hasattr(model, "img_height"):
        colour = {1: "grey ", 3: "RGB "}.get(getattr(model, "img_channels", 0), "")
        noun = f"{colour}images of {model.img_width} × {model.img_height} pixels"
    classes = f" of {facts.c_dim} classes" if facts.c_dim else ""
    origin = "imported into" if facts.is_imported else "trained with"
    data = "" if facts.is_imported else f" on the data set {facts.data}"
    return (
        f"A generator of {noun}{classes}: architecture `{config.architecture}`, "
        f"{facts.parameters:,} parameters, {origin} fastgan{data}."
    )


def _samples(facts: Facts) -> str:
    if facts.samples is None:
        return (
            "The generator makes its samples of data that a person gives it (see below), so none "
            "are shown here."
        )
    file, number = facts.samples
    noun = _noun(facts)
    embedded = f"![{number} generated {noun}]({file})"
    shown = embedded if file.endswith(_PICTURES) else f"[{file}]({file})"
    which = "class (seed modulo number of classes) and " if facts.c_dim else ""
    return (
        f"{shown}\n\n{number} generated {noun}, not selected: {which}latents of the seeds 0 to "
        f"{number - 1}, without truncation."
    )


def _use(facts: Facts) -> str:
    where = f"hf://{facts.repository}"
    given = f" --seeds 0-{facts.samples[1] - 1} --grid" if facts.samples else " --data DATA"
    architecture = facts.config.architecture
    package, _, name = architecture.rpartition(".")
    module = f"fastgan.models.{package}" if package else "fastgan.models"
    return "\n".join(
        [
            "## Generate",
            "",
            "With fastgan and its extras `train` and `hub`:",
            "",
            "```sh",
            f"fastgan generate --network {where}{given}",
            "```",
            "",
            "```python",
            f"from {module} import {name}",
            "",
            f'G = {name}.Generator.from_pretrained("{facts.repository}")',
            "```",
        ]
    )


def _scores(facts: Facts) -> str:
    if not facts.scores:
        return "## Scores\n\nNo metric was computed."
    lines = [
        "## Scores",
        "",
        "| metric | value | interval (95 %) | generated | real | features | resizing | kimg |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in facts.scores:
        interval = row.get("interval")
        is_pair = isinstance(interval, list) and len(interval) == 2
        reach = "to".join(f" {float(x):.4g} " for x in interval).strip() if is_pair else "none"
        cells = [
            f"`{row['metric']}`",
            f"{row['value']:.4g}",
            reach,
            *(_cell(row.get(key)) for key in ("num_fake", "num_real", "extractor", "resize")),
            f"{row['kimg']:.1f}" if isinstance(row.get("kimg"), int | float) else "not known",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"The generator here is that of {facts.kimg:.1f} kimg. Two scores can be compared only if "
        "features, resizing and numbers of samples are the same. `kid_lite0` and other names with "
        "`lite0` are of EfficientNet-Lite0's features and not those of papers.",
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "not known"
    text = f"{value:,}" if isinstance(value, int) else only_name(str(value))
    return text.replace("|", "/").replace("\n", " ")


def _training(facts: Facts) -> str:
    if facts.is_imported:
        return (
            "## Training\n\nThe weights were trained by another project and imported; they are "
            "their owners'."
        )
    config, ran = facts.config, facts.environment
    aug = config.augment
    augmented = "none" if aug.mode == "noaug" else f"{aug.mode}, {aug.groups}"
    penalty = f"R1 γ {config.r1_gamma:g}, R2 γ {config.r2_gamma:g}, WGAN-GP {config.gp_weight:g}"
    rows = {
        "data set": facts.data + (", mirrored too" if config.data.mirror else ""),
        "recipe": f"`fastgan train --cfg {config.name}`",
        "real samples shown": f"{facts.kimg:,.1f} thousand",
        "batch": str(config.batch),
        "loss": f"`{config.objective}`",
        "penalties": penalty,
        "optimiser": f"{config.g_optimizer.name}, learning rates {config.g_optimizer.lr:g} (G) and "
        f"{config.d_optimizer.lr:g} (D)",
        "moving average of G": f"half-life {config.ema.half_life_kimg:g} kimg",
        "augmentation": augmented,
        "precision": config.precision,
        "seed": str(config.seed),
        "device": f"{ran.get('device')}, processes: {ran.get('ranks')}",
        "versions": f"torch {ran.get('torch')}; fastgan {__version__} wrote this page",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"## Training\n\n| | |\n| --- | --- |\n{table}\n\nAll settings: training_options.json."


def _contents(facts: Facts) -> str:
    checkpoint = (
        "`checkpoints/` has the generator as trained, the discriminator, the optimisers and all "
        "else that a run needs to go on; `fastgan.load` reads it."
        if facts.has_checkpoint
        else "The discriminator and the optimisers are not here."
    )
    return (
        "## Files\n\n`model.safetensors` and `config.json` are the moving average of the "
        f"generator's weights. {checkpoint} No file can run code."
    )
