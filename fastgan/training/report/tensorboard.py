# SPDX-License-Identifier: Apache-2.0
"""`TensorBoard`: a run's numbers, texts and samples as TensorBoard's event files."""

import wave
from pathlib import Path

from fastgan._extras import Extra, check_installed, require
from fastgan.training.loop.observer import RunInfo
from fastgan.training.report.logger import Logger

__all__ = ["TensorBoard"]

Image = Extra("PIL.Image", "train")


class TensorBoard(Logger):
    """Writes event files into the run folder; `tensorboard --logdir runs` shows all runs.

    It needs the package tensorboard: `pip install 'fastgan[tensorboard]'`. The step is the number
    of real images shown. A resumed run goes on in its folder; what the earlier process wrote after
    the checkpoint is taken out by TensorBoard, so that no step is there twice. Clips are shown as
    moving pictures; drawings (.svg) are not shown. `Logger` has the tags and what an error does.

    Place it after `Samples`, whose files it takes; without that it generates the samples itself.

    Raises:
        MissingPackageError: when the package is not installed.

    Example:
        train(config, Path("runs/first"), observers=[RunLog(), TensorBoard()])
    """

    def __init__(self) -> None:
        check_installed("tensorboard", "tensorboard")

    def open(self, info: RunInfo, step: int) -> bool:
        # torch's writer, imported at its first use: it needs the package
        writer = require("torch.utils.tensorboard", "tensorboard")
        self._proto = require("tensorboard.compat.proto.summary_pb2", "tensorboard")
        is_resumed = info.resumed_from is not None
        is_continued = is_resumed and any(info.run_dir.glob("events.out.tfevents.*"))
        # TensorBoard removes what has this step or a later one
        self._writer = writer.SummaryWriter(
            log_dir=str(info.run_dir), purge_step=step + 1 if is_resumed else 0
        )
        return is_continued

    def numbers(self, values: dict[str, float], step: int) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, global_step=step)

    def text(self, tag: str, text: str, step: int) -> None:
        is_sentence = "\n" not in text
        lines = [text] if is_sentence else [f"    {line}" for line in text.splitlines()]
        self._writer.add_text(tag, "\n".join(lines), global_step=step)  # Markdown: kept as it is

    def file(self, tag: str, path: Path, step: int) -> None:
        if path.suffix in (".txt", ".smi"):
            self.text(tag, path.read_text(encoding="utf-8"), step)
        elif path.suffix in (".png", ".gif"):
            self._add(image=self._picture(path), tag=tag, step=step)
        elif path.suffix == ".wav":
            self._add(audio=self._sound(path), tag=tag, step=step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, reason: str) -> None:
        self._writer.close()

    def _add(self, *, tag: str, step: int, **content: object) -> None:
        """Adds a file's bytes as they are; the writer's own methods would encode pixels anew."""
        value = self._proto.Summary.Value(tag=tag, **content)
        self._writer.file_writer.add_summary(self._proto.Summary(value=[value]), step)

    def _picture(self, path: Path) -> object:
        with Image.open(path) as picture:
            width, height = picture.size
        return self._proto.Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
        )

    def _sound(self, path: Path) -> object:
        with wave.open(str(path), "rb") as sound:
            rate, channels, frames = (
                sound.getframerate(), sound.getnchannels(), sound.getnframes(),
            )  # fmt: skip
        return self._proto.Summary.Audio(
            sample_rate=rate,
            num_channels=channels,
            length_frames=frames,
            encoded_audio_string=path.read_bytes(),
            content_type="audio/wav",
        )
