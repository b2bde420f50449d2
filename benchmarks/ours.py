"""What the chapters need of nbautoml's runs: a warm runner, a run waited for, its processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

__all__ = ["family", "finished", "warmed"]

WARM_LIMIT_S = 60.0
LOOK_S, LEAST_CPU_S = 0.5, 1.0
QUIET_SHARE = 0.02


def warmed(home: Path) -> None:
    """A warm runner that has loaded what it will need: it and its workers have come to rest."""
    from nbautoml.engine import client
    from nbautoml.store import Home

    client.forget_warm()
    before = set(_children())
    client.preheat(Home(home))
    mine = [child for child in _children() if child not in before]
    deadline = time.monotonic() + WARM_LIMIT_S
    used = cpu_seconds(mine)
    while time.monotonic() < deadline:
        time.sleep(LOOK_S)
        before_s, used = used, cpu_seconds(mine)
        # It has loaded torch, which takes more than that, and has come to rest.
        if used > LEAST_CPU_S and used - before_s < QUIET_SHARE * LOOK_S:
            return
    raise RuntimeError(f"the warm runner was still busy after {WARM_LIMIT_S:g} s")


def finished(run: Any) -> Any:
    """Wait for a run; it must have finished."""
    # Its own pace of looking at the record: to look more often would take from the run.
    run.wait()
    if run.state != "finished":
        raise RuntimeError(f"the run is {run.state}: {run.message}")
    return run


def family(processes: list[Any]) -> list[Any]:
    """These and all below them that live."""
    import psutil

    found = []
    for process in processes:
        try:
            found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def cpu_seconds(processes: list[Any]) -> float:
    """What they and all below them have used."""
    import psutil

    total = 0.0
    for process in family(processes):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _children() -> list[Any]:
    import psutil

    return list(psutil.Process().children())
