"""A real ipykernel in a process of its own, to be killed, restarted and interrupted."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from fault_runs import OBJECTIVE
from jupyter_client.manager import KernelManager

from nbautoml.store import Home, RunFolder

__all__ = ["NOTARISED", "TUNE", "Kernel", "begin_run", "started_kernel"]

NOTARISED = """
from nbautoml.engine import client
client._START = "import sys; from acked_supervisor import main; sys.exit(main())"
"""


TUNE = "%%automl tune hills --trials {n} --workers 2 --sampler random --minimize\n"


class Kernel:
    """A kernel, spoken to through its protocol; `run` gives what a cell published."""

    def __init__(self, manager: KernelManager, client: Any) -> None:
        self.manager, self.client = manager, client

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.process.pid)

    def run(self, cell: str, *, may_fail: bool = False) -> list[dict[str, Any]]:
        """Run a cell; returns the contents of what it published, states and inputs left out."""
        found: list[dict[str, Any]] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] not in {"status", "execute_input", "comm_open", "comm_msg"}:
                found.append({"type": message["msg_type"], **message["content"]})

        self.client.execute_interactive(cell, timeout=120, output_hook=hook)
        errors = [item for item in found if item["type"] == "error"]
        assert may_fail or not errors, "\n".join(errors[0]["traceback"])
        return found

    def begin(self, cell: str) -> str:
        """Start a cell and come back at once."""
        return str(self.client.execute(cell))

    def value(self, expression: str) -> str:
        """The text of an expression."""
        found = self.run(f"print({expression})")
        return "".join(item["text"] for item in found if item["type"] == "stream").strip()

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        self.client.stop_channels()
        self.manager.provisioner.process.wait()
        self.manager.cleanup_resources()

    def shutdown(self, *, now: bool = False) -> None:
        """As a front end does it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=now)

    def restart(self) -> None:
        """As a front end does it."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self.connect()

    def connect(self) -> None:
        """Speak to the kernel that there is now."""
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)


def started_kernel(folder: Path, *cells: str) -> Kernel:
    """A kernel in a folder, with the extension loaded and further cells run."""
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(cwd=str(folder), env=dict(os.environ))
    kernel = Kernel(manager, None)
    kernel.connect()
    for cell in ("%load_ext nbautoml", *cells):
        kernel.run(cell)
    return kernel


def begin_run(kernel: Kernel, home: Home, n: int, flags: str = "") -> RunFolder:
    """A run of `n` trials of the notarised objective, called "hills"."""
    kernel.run(TUNE.format(n=n).replace("\n", f" {flags}\n") + OBJECTIVE)
    return home.find("hills")


def our_processes(home: Path, wait_s: float = 0.0) -> list[psutil.Process]:
    """Supervisors of a home and what they started; waits for their going first."""
    until = time.monotonic() + wait_s
    while True:
        found = [p for p in psutil.process_iter() if str(home) in _words(p)]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def _words(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), process.cwd()])
    except psutil.Error:
        return ""
