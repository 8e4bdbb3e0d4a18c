# SPDX-License-Identifier: Apache-2.0
"""Modules in the place of tensorboard and wandb: they write down what they are asked to log."""

import sys
from types import ModuleType

import pytest


class _Message:
    """A protocol buffer: its fields by name."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class _Summary(_Message):
    Value, Image, Audio = (type(name, (_Message,), {}) for name in ("Value", "Image", "Audio"))


class WandbError(Exception):
    pass


class _Media:
    def __init__(self, data, **options):
        self.data, self.options = data, options


def _install(monkeypatch, name, **contents):
    module = ModuleType(name)
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def writers(monkeypatch):
    """The writers that were made; `log` of each has (tag, content, step), and what else it did."""
    writers = []

    class SummaryWriter:
        def __init__(self, log_dir, purge_step):
            self.log_dir, self.purge_step, self.log = log_dir, purge_step, []
            self.file_writer = self
            writers.append(self)

        def add_scalar(self, tag, value, global_step):
            self.log.append((tag, value, global_step))

        def add_text(self, tag, text, global_step):
            self.log.append((tag, text, global_step))

        def add_summary(self, summary, step):
            (value,) = summary.value
            content = value.image if hasattr(value, "image") else value.audio
            self.log.append((value.tag, content, step))

        def flush(self):
            self.log.append("flush")

        def close(self):
            self.log.append("close")

    _install(monkeypatch, "tensorboard")
    _install(monkeypatch, "torch.utils.tensorboard", SummaryWriter=SummaryWriter)
    _install(monkeypatch, "tensorboard.compat.proto.summary_pb2", Summary=_Summary)
    return writers


@pytest.fixture
def wandb_runs(monkeypatch):
    """The runs that were made; `log_calls` of each as `log` above."""
    runs = []

    class Run:
        def __init__(self, arguments):
            self.arguments, self.log_calls, self.alerts, self.exit_code = arguments, [], [], None

        def log(self, values, step):
            self.log_calls += [(tag, value, step) for tag, value in values.items()]

        def alert(self, title, text):
            self.alerts.append((title, text))

        def finish(self, exit_code):
            self.exit_code = exit_code

    def init(**arguments):
        if arguments["mode"] == "online" and arguments["project"] == "without a key":
            raise WandbError("no API key")
        runs.append(Run(arguments))
        return runs[-1]

    kinds = {name: type(name, (_Media,), {}) for name in ("Image", "Audio", "Video", "Html")}
    _install(monkeypatch, "wandb", init=init, Error=WandbError, Settings=dict, **kinds)
    # so that what the logger sets is undone
    for name in ("WANDB_ERROR_REPORTING", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return runs
