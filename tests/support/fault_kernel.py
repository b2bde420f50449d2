"""A real ipykernel in a process of its own, to be killed, restarted and interrupted."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from engine_runs import until
from fault_runs import OBJECTIVE
from jupyter_client.manager import KernelManager

from nbautoml.store import Home, RunFolder

__all__ = [
    "LINGER",
    "NOTARISED",
    "TUNE",
    "Kernel",
    "begin_run",
    "interrupted",
    "our_processes",
    "started_kernel",
]

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

    def restart(self, *, now: bool = False) -> None:
        """As a front end does it."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=now)
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


# Makes a phase last: `linger` is called in it, and says that it was.
LINGER = """
def linger(value=None):
    import pathlib, time
    pathlib.Path({place!r}).touch()
    time.sleep(600)
    return value
"""
UNANSWERED = {"status": "unanswered"}


def interrupted(kernel: Kernel, cell: str, after: Any) -> tuple[dict[str, Any], float]:
    """Interrupt a cell after a time, or once something is so: its reply, and seconds to the prompt.

    The prompt is back when the kernel says that it is idle. A reply may be missing then: an
    interrupt in ipykernel's own lines, before the cell's or after them, is logged by it ("caught in
    kernel") and answered by nothing. What the cell has made must be whole then, too.
    """
    asked = kernel.begin(cell)
    if isinstance(after, float):
        time.sleep(after)
    else:
        until(after, what="the phase to interrupt", wait_s=60)
    begin = time.perf_counter()
    os.kill(kernel.pid, signal.SIGINT)
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != asked or message["msg_type"] != "status":
            continue
        if message["content"]["execution_state"] == "idle":
            break
    seconds, found = time.perf_counter() - begin, {}
    # What was asked next is answered after it: had there been a reply, it would have come first.
    next_asked = kernel.client.kernel_info()
    while True:
        reply = kernel.client.get_shell_msg(timeout=60)
        answered = reply["parent_header"].get("msg_id")
        if answered == next_asked:
            return found or UNANSWERED, seconds
        if answered == asked:
            found = dict(reply["content"])
