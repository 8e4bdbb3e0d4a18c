# SPDX-License-Identifier: Apache-2.0
"""`WeightsAndBiases`: a run's numbers, texts and samples as a run of Weights & Biases."""

import os
import secrets
from html import escape
from pathlib import Path
from typing import Any

from fastgan._extras import check_installed, require
from fastgan.atomic import write_atomic
from fastgan.training.loop.observer import Alarm, RunInfo
from fastgan.training.report.logger import Logger

__all__ = ["WeightsAndBiases"]

_ID_FILE = "wandb-run-id.txt"
_LOCAL = ("offline", "dryrun", "disabled")  # values of WANDB_MODE with which nothing is sent


class WeightsAndBiases(Logger):
    """Writes a run of Weights & Biases into the folder wandb/ of the run folder.

    It needs the package wandb: `pip install 'fastgan[wandb]'`. By default it is offline: no account
    or API key is needed, no connection leaves the machine, and `wandb sync RUN/wandb/offline-run-*`
    uploads the run later. With the environment variable WANDB_MODE=online, and after `wandb login`,
    everything is sent while the run goes on: the configuration, numbers, samples, alarms (as W&B's
    alerts), and what wandb itself collects, such as the host's name, the command and the installed
    packages. WANDB_MODE=disabled logs nothing.

    Offline, wandb's reports about itself to its makers are switched off, too, by
    WANDB_ERROR_REPORTING=false in the process, where that variable is not set: wandb sends them
    over the network in spite of the mode. Its client and its background process talk through a
    socket file of the machine.

    The step is the number of real images shown. A resumed run has the same run id, which stands in
    wandb-run-id.txt of the run folder; offline it writes one more folder. Online W&B is asked to go
    on with the run of that id, and takes no step below its last one; that has not been tried.
    `Logger` has the tags and what an error does. Place it after `Samples`, whose files it takes;
    without that it generates the samples itself.

    Args:
        project: of the run; default: WANDB_PROJECT, or else "fastgan".
        mode: "offline", "online" or "disabled"; default: WANDB_MODE, or else "offline".
        options: other arguments of `wandb.init`, such as entity, tags or group.

    Raises:
        MissingPackageError: when the package is not installed.

    Example:
        train(config, Path("runs/first"), observers=[RunLog(), WeightsAndBiases(project="faces")])
    """

    def __init__(
        self, project: str | None = None, *, mode: str | None = None, **options: Any
    ) -> None:
        check_installed("wandb", "wandb")
        self._project = project or os.environ.get("WANDB_PROJECT") or "fastgan"
        self._mode = mode or os.environ.get("WANDB_MODE") or "offline"
        self._options = options

    def open(self, info: RunInfo, step: int) -> bool:
        is_local = self._mode in _LOCAL
        if is_local:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before the import reads it
        self._wandb = wandb = require("wandb", "wandb")
        path = info.run_dir / _ID_FILE
        is_continued = info.resumed_from is not None and path.exists()
        if not is_continued:
            write_atomic(path, secrets.token_hex(4) + "\n")
        arguments = {
            "project": self._project,
            "mode": self._mode,
            "id": path.read_text(encoding="utf-8").strip(),
            "resume": None if is_local else "allow",  # offline there is nothing to ask
            "name": info.run_dir.name,
            "dir": str(info.run_dir),
            "config": info.config.to_dict(),
            "settings": wandb.Settings(console="off", quiet=True),
        }
        try:
            self._run = wandb.init(**arguments | self._options)
        except wandb.Error as error:
            raise ConnectionError(
                f"WeightsAndBiases: wandb.init failed with mode {self._mode!r}: {error}; for mode "
                "online run `wandb login` first, or leave WANDB_MODE out to log into the run "
                "folder alone"
            ) from error
        return is_continued

    def on_alarm(self, alarm: Alarm) -> None:
        """Logs an alarm as a text and as W&B's alert, of which W&B may send a message.

        Args:
            alarm: what is wrong, or what was done about it.
        """
        super().on_alarm(alarm)
        if not alarm.is_over:
            self._run.alert(title=alarm.kind, text=alarm.message)

    def numbers(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def text(self, tag: str, text: str, step: int) -> None:
        if tag != "Configuration":  # W&B has it as the run's config
            self._run.log({tag: text}, step=step)

    def file(self, tag: str, path: Path, step: int) -> None:
        wandb = self._wandb
        if path.suffix == ".gif" and path.with_suffix(".mp4").exists():
            return  # the same clips
        if path.suffix in (".txt", ".smi"):
            content = self._html(f"<pre>{escape(path.read_text(encoding='utf-8'))}</pre>")
        elif path.suffix == ".svg":
            content = self._html(path.read_text(encoding="utf-8"))
        elif path.suffix == ".wav":
            content = wandb.Audio(str(path))
        elif path.suffix in (".gif", ".mp4"):
            content = wandb.Video(str(path))
        else:
            content = wandb.Image(str(path))
        self._run.log({tag: content}, step=step)

    def close(self, reason: str) -> None:
        self._run.finish(exit_code=0 if reason in ("finished", "interrupted") else 1)

    def _html(self, text: str) -> Any:
        """The text as a page without the style sheet that wandb would load from its server."""
        return self._wandb.Html(text, inject=False, data_is_not_path=True)
