# SPDX-License-Identifier: Apache-2.0
"""Keep freed CPU memory in the process, instead of returning it and page-faulting it in again.

glibc returns every freed block above its mmap threshold (32 MiB at most) to the kernel at once. A
training step allocates and frees the same large tensors again and again, and each time the kernel
provides a zeroed page at the first access to each 4 KiB: often this takes longer than the
arithmetic. `keep_freed_memory()` makes glibc serve such blocks from its heap and keep the heap:

    M_MMAP_THRESHOLD  2³¹ - 1 bytes (mallopt takes an int); M_MMAP_MAX 0 where glibc < 2.35, which
                      refuses a threshold above 32 MiB
    M_TRIM_THRESHOLD  -1: the top of the heap is never returned

Importing this module changes nothing, because it is a choice for the whole process. Limits:
- resident memory stays at its peak until `restore()`, and above the peak of live tensors: a hole
  in the heap only fits blocks that are no larger, and a small block that outlives its neighbours
  pins one (an mmapped block has no neighbours);
- glibc only, and only where its malloc is used: with musl, macOS, Windows or a preloaded allocator
  (jemalloc, tcmalloc, mimalloc) nothing is changed, and `why` gives the reason;
- a forked child inherits the setting, a program that is started (exec) does not;
- glibc's own adjustment of the threshold is switched off for good. `restore()` sets the values
  where that adjustment ends (32 and 64 MiB), and overrides MALLOC_* and GLIBC_TUNABLES of the same
  settings, which cannot be read back.

Source: mallopt(3), malloc_trim(3), and glibc's malloc/malloc.c for what they leave out.
"""

import ctypes
import platform
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

__all__ = ["Change", "Policy", "keep_freed_memory", "policy", "restore"]

_PARAMETERS = {"M_TRIM_THRESHOLD": -1, "M_MMAP_THRESHOLD": -3, "M_MMAP_MAX": -4}
_LARGEST = 2**31 - 1
_SETTLED = {  # where glibc's dynamic adjustment ends: DEFAULT_MMAP_THRESHOLD_MAX, and twice that
    "M_MMAP_MAX": 65536,
    "M_MMAP_THRESHOLD": 32 * 2**20,
    "M_TRIM_THRESHOLD": 64 * 2**20,
}
_NOTHING: Mapping[str, int] = MappingProxyType({})

_lock = threading.Lock()
_kept: Mapping[str, int] = _NOTHING  # the settings in force


@dataclass(frozen=True)
class Policy:
    """The policy in force.

    Args:
        name: "default" or "keep".
        allocator: the library whose malloc is used.
        settings: {mallopt parameter: value} that this module has set.
        why: why "keep" is not possible here; None if it is.
    """

    name: str
    allocator: str
    settings: Mapping[str, int]
    why: str | None

    def __str__(self) -> str:
        if self.name == "keep":
            words = ", ".join(f"{name} {value}" for name, value in self.settings.items())
            return f"keep: freed memory stays in the process ({self.allocator}; {words})"
        return f"default ({self.allocator})" + (f"; {self.why}" if self.why else "")


@dataclass(frozen=True)
class Change:
    """What a call has changed; as a context manager, it undoes that at the end of the block.

    Args:
        settings: {mallopt parameter: new value}; empty if nothing was changed.
        why: why nothing was changed, else None.
    """

    settings: Mapping[str, int] = field(default_factory=dict)
    why: str | None = None

    def __bool__(self) -> bool:
        return bool(self.settings)

    def __enter__(self) -> "Change":
        return self

    def __exit__(self, *_: object) -> None:
        if self.settings:
            restore()


def policy() -> Policy:
    """The policy in force now, as far as this module has set it.

    Returns:
        The policy.
    """
    allocator, why = _allocator()
    return Policy("keep" if _kept else "default", allocator, _kept, why)


def keep_freed_memory() -> Change:
    """Keep freed memory from now on, in the whole process; the costs are at the top of this module.

        memory.keep_freed_memory()                # until restore()
        with memory.keep_freed_memory(): ...      # for the block

    Returns:
        What was changed. Nothing is changed, and `why` gives the reason, if glibc's malloc is not
        used or refuses, or if the policy is in force already.
    """
    global _kept
    with _lock:
        if _kept:
            return Change(why="freed memory is kept already")
        _, why = _allocator()
        if why is not None:
            return Change(why=why)
        settings = {"M_MMAP_THRESHOLD": _LARGEST}
        if not _mallopt(settings):
            settings = {"M_MMAP_MAX": 0}
            if not _mallopt(settings):
                return Change(why="glibc's mallopt refused; freed memory is returned as before")
        if not _mallopt(trim := {"M_TRIM_THRESHOLD": -1}):
            _mallopt(_SETTLED)
            return Change(why="glibc's mallopt refused; freed memory is returned as before")
        _fill_small_caches()
        _kept = MappingProxyType(settings | trim)
        return Change(_kept)


def restore() -> Change:
    """Undo `keep_freed_memory`, and return all free memory to the kernel (malloc_trim).

    Returns:
        What was changed: nothing if the policy is not in force.
    """
    global _kept
    with _lock:
        if not _kept:
            return Change(why="freed memory is not kept; there is nothing to restore")
        settings = {name: _SETTLED[name] for name in _SETTLED if name in _kept}
        _mallopt(settings)
        _libc().malloc_trim(0)
        _kept = _NOTHING
        return Change(settings)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _mallopt(settings: Mapping[str, int]) -> bool:
    """Whether glibc accepted all of them."""
    call = _libc().mallopt
    return all(call(_PARAMETERS[name], value) == 1 for name, value in settings.items())


def _fill_small_caches() -> None:
    """Fills the calling thread's cache of small blocks (tcache: 7 of each size).

    torch aligns its blocks to 64 bytes: glibc takes more and gives the ends back, into that cache
    while there is space. There they count as in use: the hole of a freed tensor stays a few bytes
    too small for the next of its size, and the heap grows by one more (seen: 5 times 134 MB).
    """
    libc = _libc()
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.restype, libc.free.argtypes = None, (ctypes.c_void_p,)
    blocks = [libc.malloc(size) for size in range(24, 24 + 16 * 9, 16) for _ in range(7)]
    for block in blocks:
        libc.free(block)


def _allocator() -> tuple[str, str | None]:
    """The library whose malloc this process uses, and why it can't keep freed memory, or None."""
    if not sys.platform.startswith("linux"):
        name = f"{platform.system()} malloc"
        return name, f"freed memory can be kept with glibc's malloc only, and this is {name}"
    libc = _libc()
    owner = _owner_of_malloc(libc)
    if not hasattr(libc, "gnu_get_libc_version"):
        name = f"malloc of {owner or 'an unknown C library'}"
        return name, f"freed memory can be kept with glibc's malloc only, and this is the {name}"
    libc.gnu_get_libc_version.restype = ctypes.c_char_p
    glibc = f"glibc {libc.gnu_get_libc_version().decode()} malloc"
    if owner is not None and not owner.startswith(("libc.so", "libc-")):
        return owner, (
            f"malloc of {owner} is used instead of {glibc}; set its own options, or remove it from "
            "LD_PRELOAD"
        )
    return glibc, None


class _DlInfo(ctypes.Structure):
    _fields_ = (
        ("dli_fname", ctypes.c_char_p),
        ("dli_fbase", ctypes.c_void_p),
        ("dli_sname", ctypes.c_char_p),
        ("dli_saddr", ctypes.c_void_p),
    )


def _owner_of_malloc(libc: ctypes.CDLL) -> str | None:
    """File name of the library whose `malloc` this process calls; None if dladdr knows none."""
    info = _DlInfo()
    address = ctypes.cast(libc.malloc, ctypes.c_void_p)
    if not hasattr(libc, "dladdr") or not libc.dladdr(address, ctypes.byref(info)):
        return None
    return Path(info.dli_fname.decode(errors="replace")).name
