"""What this process may use of the machine: cores, threads and memory.

In a container the machine has more than the process may take: a hub that gives everyone two of its
64 cores tells the 64 to whoever asks the system for its processors. The limits are those of the
control groups that the process is in, of the old form (v1) or the new one (v2), and of all groups
above.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_memory", "most_threads", "n_cores"]

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def n_cores(groups: Path = GROUPS, own: Path = OWN) -> int:
    """Cores that this process may keep busy, at least 1; of a quota of 1.5 it is 2.

    Args:
        groups: where the control groups are mounted.
        own: which of them the process is in.
    """
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    for folder in _folders("cpu", groups, own):
        told = _words(folder / "cpu.max")
        if len(told) < 2:
            told = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        quota, period = (*map(_number, told), None, None)[:2]
        if quota is not None and quota > 0 and period:
            found = min(found, math.ceil(quota / period))
    return max(1, found)


def most_threads() -> int | None:
    """Threads of a worker at most, where ``OMP_NUM_THREADS`` says so.

    >>> before = os.environ.get("OMP_NUM_THREADS")
    >>> os.environ["OMP_NUM_THREADS"] = "4,2"
    >>> most_threads()
    4
    >>> if before is None: del os.environ["OMP_NUM_THREADS"]
    ... else: os.environ["OMP_NUM_THREADS"] = before
    """
    told = _number(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0])
    return told if told is not None and told > 0 else None


def free_memory(groups: Path = GROUPS, own: Path = OWN) -> int:
    """Bytes that can still be taken before something is swapped or killed.

    What a group holds of files that were read and can be dropped counts as free.
    """
    import psutil

    found = int(psutil.virtual_memory().available)
    for folder in _folders("memory", groups, own):
        limit = _first(folder, "memory.max", "memory.limit_in_bytes")
        used = _first(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None and used is not None:
            found = min(found, limit - used + _droppable(folder / "memory.stat"))
    return max(0, found)


def _folders(kind: str, groups: Path, own: Path) -> Iterator[Path]:
    """Of the groups of this kind that the process is in, the innermost first.

    Inside a container the path that the system tells may be the host's, which is not there; the
    container's own group is then the mounted root.
    """
    for line in _lines(own):
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kind in kinds.split(","):
            root = groups / kind
        elif number == "0" and not kinds:
            root = groups
        else:
            continue
        place = root / path.strip("/")
        yield from (one for one in (place, *place.parents) if one.is_relative_to(root))


def _droppable(stat: Path) -> int:
    told = dict(line.split()[:2] for line in _lines(stat) if len(line.split()) == 2)
    return _number(told.get("total_inactive_file", told.get("inactive_file", ""))) or 0


def _first(folder: Path, *names: str) -> int | None:
    """The number in the first of these files that has one."""
    found = (_number(word) for name in names for word in _words(folder / name)[:1])
    return next((number for number in found if number is not None), None)


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # there is no such group, or it is not ours to read
        return []


def _number(word: str) -> int | None:
    """None for "max" and whatever else is no number."""
    try:
        return int(word)
    except ValueError:
        return None
