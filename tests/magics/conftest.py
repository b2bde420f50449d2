"""A real IPython shell with the extension loaded, and a home of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from capsule_shell import own_shell
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

import nbautoml
from nbautoml.store import Home


class Notebook:
    """Runs cells as a notebook does, and tells what they said."""

    def __init__(self, shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell, self._capsys = shell, capsys

    @property
    def names(self) -> dict[str, Any]:
        return self.shell.user_ns

    def run(self, cell: str) -> str:
        """Run a cell; returns what it printed. Its own error, if any, is in `error`."""
        self._capsys.readouterr()
        self.result = self.shell.run_cell(cell, store_history=True)
        said = self._capsys.readouterr()
        return said.out + said.err

    @property
    def error(self) -> BaseException | None:
        return self.result.error_in_exec or self.result.error_before_exec


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NBAUTOML_PREHEAT", "0")
    # Supervisors and kernels start elsewhere, and the package may not be installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(nbautoml.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return Home()


@pytest.fixture
def notebook(home: Home, capsys: pytest.CaptureFixture[str]) -> Iterator[Notebook]:
    with own_shell() as shell:
        shell.run_line_magic("load_ext", "nbautoml")
        yield Notebook(shell, capsys)
        shell.run_line_magic("unload_ext", "nbautoml")


class Kernel:
    """A real kernel, spoken to through its protocol."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, cell: str) -> list[dict[str, Any]]:
        """Run a cell; returns the contents of what it published, states and inputs left out."""
        found: list[dict[str, Any]] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] not in {"status", "execute_input", "comm_open", "comm_msg"}:
                found.append({"type": message["msg_type"], **message["content"]})

        self._client.execute_interactive(cell, timeout=120, output_hook=hook)
        return found

    def complete(self, code: str, at: int | None = None) -> list[str]:
        """What the kernel offers at a place."""
        reply = self._client.complete(code, len(code) if at is None else at, reply=True, timeout=60)
        return list(reply["content"]["matches"])


@pytest.fixture
def kernel(home: Home) -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3")
    yield Kernel(client)
    client.stop_channels()
    manager.shutdown_kernel(now=False)
