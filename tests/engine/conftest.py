"""Runs in a home of the test's own; nothing of them may be left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from engine_runs import Runs

from nbautoml.engine import client


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Fails when a process of the test's runs is left behind."""
    made = Runs(tmp_path)
    yield made
    client.forget_warm()
    ours = [p for p in psutil.Process().children(recursive=True) if "nbautoml" in _line(p)]
    _, alive = psutil.wait_procs(ours, timeout=15)
    for process in alive:
        process.kill()
    client.forget_warm()
    assert not alive, f"left behind: {[_line(p) for p in alive]}"


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
