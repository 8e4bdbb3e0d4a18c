# SPDX-License-Identifier: Apache-2.0
"""A table of files of the original projects: what an import of each gives.

    python tests/compat/published_table.py --folder tests/compat/published

A row: file | imported | largest difference from the original's output, over the range of that
output, of G and of D | whether an export has the file's weights bit for bit; or the refusal.
Beside FILE.pkl (or .pt, .pt.xz, .g) lies FILE.expected.safetensors: inputs z, c, x or mel, and the
original networks' outputs under names as "G_ema(z, c) psi=0.6", "D(x, c)" and "G(mel)".
"""

import argparse
import lzma
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fastgan.compat.weights import WeightsError, export_weights, import_weights, read_weights
from fastgan.models import load_architecture
from fastgan.models.vocoders import load_vocoder
from fastgan.training import load_generator
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file

ENDINGS = (".pkl", ".pt", ".pt.xz", ".g")


@dataclass
class Row:
    """What the import of one file gave.

    Args:
        name: of the file.
        refusal: why it was not imported; "" if it was.
        differences: {name of an output: largest difference over the range of the original's}.
        is_exported: whether an export has the file's weights bit for bit; None: not imported.
    """

    name: str
    refusal: str = ""
    differences: dict[str, float] = field(default_factory=dict)
    is_exported: bool | None = None

    def of(self, network: str) -> float | None:
        """The largest difference of a network: "G" or "D"."""
        found = [d for name, d in self.differences.items() if name.startswith(network)]
        return max(found, default=None)


def published_files(folder: Path) -> list[Path]:
    """The files in a folder beside which there are expected outputs."""
    return sorted(p for p in folder.iterdir() if p.name.endswith(ENDINGS) and _stem(p) is not None)


def _stem(path: Path) -> Path | None:
    stem = path.name
    for ending in sorted(ENDINGS, key=len, reverse=True):
        stem = stem.removesuffix(ending)
    expected = path.parent / f"{stem}.expected.safetensors"
    return path.parent / stem if expected.exists() else None


def import_published(path: Path) -> Row:
    """Import a file, compare the outputs of its networks, and export it."""
    stem, row = _stem(path), Row(path.name)
    expected = load_file(f"{stem}.expected.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        if path.suffix == ".xz":
            path = Path(folder) / path.name.removesuffix(".xz")
            path.write_bytes(lzma.decompress(Path(f"{stem}.pt.xz").read_bytes()))
        config = Path(f"{stem}.config.json")
        try:
            done = import_weights(path, run, config=config if config.exists() else None)
        except WeightsError as error:
            row.refusal = str(error)
            return row
        if config.exists():
            G, D = load_vocoder(done.architecture).Generator.from_pretrained(run), None
        else:
            G, D = load_generator(run)[0], load_discriminator(run)
        has_noise = not any("noise" in note for note in done.notes)
        for name, want in expected.items():
            if "(" in name and (has_noise or name.startswith("D")):  # new noise: other images
                got = _output(name, G, D, expected)
                span = (want.max() - want.min()).item()
                row.differences[name] = (got - want).abs().max().item() / span
        row.is_exported = _is_exported(path, run, done.architecture)
    return row


def load_discriminator(run: Path) -> nn.Module:
    """D of a run's newest checkpoint, in eval mode."""
    newest = checkpoint.latest(run)
    document = checkpoint_file.read_document(newest)
    module = load_architecture(document["config"]["architecture"])
    D = module.Discriminator(module.Config(**document["config"]["model"]))
    saved = checkpoint_file.read_tensors(newest, document)
    D.load_state_dict({k.removeprefix("D."): t for k, t in saved.items() if k.startswith("D.")})
    return D.eval()


def _output(name: str, G: nn.Module, D: nn.Module | None, inputs: dict[str, Tensor]) -> Tensor:
    network, names, psi = re.fullmatch(r"(\w+)\((.*)\)(?: psi=(.*))?", name).groups()
    given = [inputs[n].float() for n in names.split(", ")]
    given = [None if t.shape[-1] == 0 else t for t in given]
    with torch.no_grad():
        if network == "D":
            return D(*given)
        if psi is None:
            return G(*given)
        options = {} if float(psi) == 1 else {"truncation_psi": float(psi)}
        return G(*given, noise_mode="const", **options)


def _is_exported(path: Path, run: Path, architecture: str) -> bool:
    """Whether every tensor of the file is in the export, with the same values, and no other."""
    if path.suffix in (".pt", ".g"):
        export_weights(run, run / "out", "rosinality" if path.suffix == ".pt" else architecture)
        theirs, ours = read_weights(path).networks, read_weights(run / "out").networks
        want = {f"{n}.{k}": t for n in ours.keys() & theirs for k, t in theirs[n].weights.items()}
        got = {f"{n}.{k}": t for n in ours.keys() & theirs for k, t in ours[n].weights.items()}
    else:
        export_weights(run, run / "out.safetensors", "nvidia")
        theirs, got = read_weights(path).networks, load_file(run / "out.safetensors")
        want = {f"{n}.{k}": t for n in theirs for k, t in theirs[n].weights.items()}
        want = {k: t for k, t in want.items() if k.partition(".")[0] in ("G", "D", "G_ema")}
    return want.keys() == got.keys() and all(torch.equal(want[k].float(), got[k]) for k in want)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="with the files")
    torch.set_num_threads(1)
    print("| file | imported | G, difference over range | D | exported bit for bit |")
    print("|---|---|---|---|---|")
    for path in published_files(parser.parse_args().folder):
        row = import_published(path)
        if row.refusal:
            print(f"| {row.name} | refused: {row.refusal} | | | |")
            continue
        figures = ["–" if row.of(n) is None else f"{row.of(n):.1e}" for n in ("G", "D")]
        exported = {None: "–", True: "yes", False: "no"}[row.is_exported]
        print(f"| {row.name} | yes | {figures[0]} | {figures[1]} | {exported} |")


if __name__ == "__main__":
    main()
