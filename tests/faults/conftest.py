"""Runs to break, each with a notary; and the sheet on which the figures are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_runs import Runs, family, supervisor_pid, watched
from fault_kernel import NOTARISED, Kernel, started_kernel
from fault_runs import Acked, Figures
from lab import Lab, launch
from playwright.sync_api import Browser, sync_playwright

from nbautoml.engine import client
from nbautoml.store import Home

SUPPORT = Path(__file__).parents[1] / "support"
ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here breaks something on purpose."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.fault)


@pytest.fixture(autouse=True)
def settings_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests reaches them, nor a test their files."""
    for name in ("NBAUTOML_STORE", "NBAUTOML_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Where a test leaves its numbers."""
    said = os.environ.get("NBAUTOML_FAULT_OUT")
    is_quiet = "NBAUTOML_FAULT_QUIET" in os.environ
    return Figures(Path(said) if said else None, is_quiet=is_quiet)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Fails when a process of the test's runs is left behind."""
    with watched(tmp_path) as made:
        yield made


@pytest.fixture
def acked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Acked:
    """Supervisors of this test keep a notary."""
    place = tmp_path / "notary"
    place.mkdir()
    monkeypatch.setenv("NBAUTOML_TEST_ACKS", str(place / "acks"))
    monkeypatch.setenv("NBAUTOML_TEST_COMPUTED", str(place / "computed"))
    path = os.pathsep.join([str(ROOT), str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    start = "import sys; from acked_supervisor import main; sys.exit(main())"
    monkeypatch.setattr(client, "_START", start)
    return Acked(place)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of this test use no torch: their workers start without it."""
    monkeypatch.setenv("NBAUTOML_TEST_LIGHT", "1")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of this test write a checkpoint every 50 ms, so that short ones have some."""
    monkeypatch.setenv("NBAUTOML_TEST_CHECKPOINT_S", "0.05")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acked, light) -> Home:
    """Where the kernels of a test keep their runs."""
    monkeypatch.setenv("NBAUTOML_PREHEAT", "0")
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "home"))
    return Home()


@pytest.fixture
def kernels(home: Home, tmp_path: Path) -> Iterator[list[Kernel]]:
    """The kernels of a test; those that live at its end are shut down, their runs killed."""
    made: list[Kernel] = []
    yield made
    for kernel in made:
        if kernel.manager.is_alive():
            kernel.shutdown(now=True)
    for info in home.runs():
        if info.state in {"running", "paused", "queued"}:
            processes = family(supervisor_pid(home.find(info.id)))
            for process in processes:
                process.kill()


@pytest.fixture
def kernel(kernels, tmp_path) -> Kernel:
    kernels.append(started_kernel(tmp_path, NOTARISED))
    return kernels[-1]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A JupyterLab."""
    made = Lab(tmp_path / "lab")
    yield made
    made.close()


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
