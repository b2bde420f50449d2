"""Runs in a home of the test's own; nothing of them may be left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_runs import Runs, watched


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Fails when a process of the test's runs is left behind."""
    with watched(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs that tests of a file only read: a cold start costs seconds of processor time."""
    with watched(tmp_path_factory.mktemp("shared")) as made:
        yield made
