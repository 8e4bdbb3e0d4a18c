# SPDX-License-Identifier: Apache-2.0
"""Python's own modules."""

import collections.abc
import sys
from types import ModuleType
from typing import Any

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes


@changes("collections")
def _abstract_collections(module: ModuleType, done: Changes) -> None:
    """`collections.Mapping`, `Sequence`, `Iterable`, ...: `collections.abc`'s since 3.10."""
    for name in collections.abc.__all__:
        if name not in ("Buffer", "ByteString"):  # newer than the change; deprecated itself
            done.set_missing(module, name, getattr(collections.abc, name))


@changes("inspect")
def _getargspec(inspect: ModuleType, done: Changes) -> None:
    """`inspect.getargspec`, which Python 3.11 removed."""
    spec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")
    done.set_missing(inspect, "getargspec", lambda func: spec(*inspect.getfullargspec(func)[:4]))


@changes("argparse")
def _local_rank(argparse: ModuleType, done: Changes) -> None:
    """`--local_rank`: `torch.distributed.launch` passes `--local-rank` since torch 2.0."""
    original = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self: Any, args: Any = None, namespace: Any = None) -> Any:
        known = self._option_string_actions
        if "--local_rank" in known and "--local-rank" not in known:
            words = sys.argv[1:] if args is None else args
            args = [
                "--local_rank" + word[12:] if word.split("=")[0] == "--local-rank" else word
                for word in words
            ]
        return original(self, args, namespace)

    done.set(argparse.ArgumentParser, "parse_known_args", parse_known_args)
