"""A worker process: takes tasks from its supervisor one after another, and trains.

It is forked from a forkserver that has torch loaded, so it starts in some 20 ms. It talks JSON
over one pipe. When its supervisor goes away it ends: at the next batch by the closed pipe, and
at once where the forkserver ends it (`nbautoml.engine.guard`).
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nbautoml.engine.devices import CONTEXT_BYTES
from nbautoml.engine.heap import IDLE_S, give_freed_memory_back, keep_freed_memory
from nbautoml.engine.ready import has_data, ready
from nbautoml.events import Event, LogLine, RunControl, Task, TrialSpec
from nbautoml.events.wire import plain, to_json

__all__ = ["PipeContext", "RunOver", "load_handler", "worker_main"]

CHECK_EVERY_S = 0.02  # a poll costs some 15 us, a step of a small model 300: so not at every batch
FLUSH_EVERY_S = 0.05
PR_SET_PDEATHSIG = 1


# Held here, for the user's code may replace `json.dumps` and `json.loads`.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class RunOver(BaseException):
    """The supervisor ended the run or is gone: drop everything. No error of the user's."""


def load_handler(name: str) -> Any:
    """The function that a task names; only functions of this package are allowed."""
    module, _, function = name.partition(":")
    if not module.startswith("nbautoml."):
        raise ValueError(f"a handler is a function of nbautoml, got {name!r}")
    return getattr(importlib.import_module(module), function)


class PipeContext:
    """`TaskContext` over the pipe to the supervisor."""

    def __init__(
        self, pipe: Connection, *, run_folder: Path, home_data: Path, device: str, n_threads: int
    ) -> None:
        self.run_folder = run_folder
        self.home_data = home_data
        self.device = device
        self.n_threads = n_threads
        self._pipe = pipe
        self._events: list[dict[str, Any]] = []
        self._flushed_at = self._checked_at = time.monotonic()
        self._is_paused = False
        self._is_over = False
        self.is_retired = False
        self._cancelled: set[int] = set()
        self._inbox: list[dict[str, Any]] = []
        self._posts: list[dict[str, Any]] = []

    def retire(self) -> None:
        """Let this process be the last task's."""
        self.is_retired = True

    def emit(self, event: Event) -> None:
        """Queue an event; sent with the next batch, some 50 ms later at the latest."""
        found = to_json(event)
        found["time"] = event.time or time.time()
        self._events.append(found)
        if time.monotonic() - self._flushed_at > FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Send what is queued, as one message: events first, for the stopper goes by them."""
        self._flushed_at = time.monotonic()
        if self._events or self._posts:
            events, self._events = self._events, []
            posts, self._posts = self._posts, []
            self.send({"type": "said", "events": events, "reports": posts})

    def report(self, trial: int, epoch: int, value: float) -> RunControl:
        """Ask the stopper; waits for its answer."""
        self.post(trial, epoch, value)
        return self.verdict(trial)

    def post(self, trial: int, epoch: int, value: float) -> None:
        """Queue a question for the stopper; all that are queued go out as one message."""
        self._posts.append({"trial": trial, "epoch": epoch, "value": plain(value)})

    def verdict(self, trial: int) -> RunControl:
        """Wait for the stopper's next answer: they come in the order of the questions."""
        if self._posts:
            self.flush()
        answer = self._wait_for("answer")
        control = self.check(trial, now=True)
        return RunControl(answer["control"]) if control is RunControl.GO_ON else control

    def ask(self, trial: int, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the driver; waits for its answer."""
        self.flush()
        self.send({"type": "ask", "trial": trial, "question": plain(question)})
        return dict(self._wait_for("answer_question")["answer"])

    def more(self, n: int) -> tuple[TrialSpec, ...]:
        """Ask for further trials; waits for the answer."""
        self.flush()
        self.send({"type": "want", "n": n})
        return tuple(map(TrialSpec.from_json, self._wait_for("given")["trials"]))

    def check(self, trial: int, *, now: bool = False) -> RunControl:
        """Whether to go on; blocks while paused."""
        at = time.monotonic()
        if not now and at - self._checked_at < CHECK_EVERY_S:
            return RunControl.CANCEL if trial in self._cancelled else RunControl.GO_ON
        self._checked_at = at
        if at - self._flushed_at > FLUSH_EVERY_S:
            self.flush()
        while self._pipe_has_data():
            self._take()
        while self._is_paused and not self._is_over and trial not in self._cancelled:
            self.flush()
            self._take()
        if self._is_over:
            raise RunOver
        return RunControl.CANCEL if trial in self._cancelled else RunControl.GO_ON

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; a closed pipe means that the run is over."""
        try:
            self._pipe.send_bytes(_encode(message).encode())
        except (BrokenPipeError, ConnectionResetError, OSError) as error:
            raise RunOver from error

    def next_task(self) -> Task | None:
        """Wait for the next task; None when the supervisor wants the worker to end.

        What can be done ahead of it is done meanwhile; what fails of that fails in the task again.
        """
        while (message := self._next_work()) is not None:
            self.device, self.n_threads = message["device"], message["n_threads"]
            self.run_folder = Path(message["run_folder"])
            self.home_data = Path(message["home_data"])
            _stand_in(message["cwd"])
            if message["type"] == "task":
                return Task.from_json(message["task"])
            with contextlib.suppress(Exception, SystemExit):
                load_handler(message["handler"])(self)
        return None

    def _next_work(self) -> dict[str, Any] | None:
        while True:
            for index, message in enumerate(self._inbox):
                if message["type"] in {"task", "ahead"}:
                    return self._inbox.pop(index)
            if self._is_over:
                return None
            if not ready((self._pipe,), IDLE_S):
                give_freed_memory_back()
            self._take()

    def _pipe_has_data(self) -> bool:
        try:
            return has_data(self._pipe)
        except (BrokenPipeError, OSError) as error:
            raise RunOver from error

    def _take(self) -> None:
        """Take one message; control is applied at once, the rest is kept."""
        try:
            message = _decode(self._pipe.recv_bytes().decode())
        except (EOFError, ConnectionResetError, OSError) as error:
            raise RunOver from error
        if message["type"] == "control":
            self._is_paused = message["is_paused"]
            self._is_over = message["is_over"]
            self._cancelled = set(message["cancelled"])
        else:
            self._inbox.append(message)

    def _wait_for(self, kind: str) -> dict[str, Any]:
        while True:
            for index, message in enumerate(self._inbox):
                if message["type"] == kind:
                    return self._inbox.pop(index)
            if self._is_over:
                raise RunOver
            self._take()


def worker_main(pipe: Connection, output: Connection) -> None:
    """Body of a worker process.

    Args:
        pipe: messages to and from the supervisor.
        output: where prints of the user's code go; the supervisor reads and bounds them.
    """
    gc.freeze()  # what the forkserver had loaded; see `nbautoml.engine.loading`
    gc.enable()
    _become_quiet_child(output)
    keep_freed_memory()
    context = PipeContext(pipe, run_folder=Path(), home_data=Path(), device="cpu", n_threads=1)
    try:
        context.send({"type": "ready"})
        while not context.is_retired and (task := context.next_task()) is not None:
            done = _do(task, context)
            memory = _gpu_memory(context.device)
            context.send({**done, "is_retired": context.is_retired, "gpu_memory": memory})
    except RunOver:
        pass  # the supervisor knows, or is gone: there is nobody to tell
    finally:
        _flush_prints()
        # Threads that the user's code left behind must not keep the process.
        os._exit(0)


def _do(task: Task, context: PipeContext) -> dict[str, Any]:
    """Run the task's handler; what escapes from it is told, not raised."""
    try:
        load_handler(task.handler)(task, context)
        context.flush()
        _flush_prints()
        return {"type": "finished", "error": "", "traceback": ""}
    except RunOver:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit of user code must not end a worker
        from nbautoml.train.frames import one_line

        text = one_line(error)
        told = traceback.format_exc()
        context.emit(LogLine(text=f"task failed: {text}", level="error"))
        context.flush()
        return {"type": "finished", "error": text[:2000], "traceback": told[-20000:]}


def _gpu_memory(device: str) -> dict[str, int] | None:
    """What the task has taken of its GPU, as `nbautoml.engine.devices.GpuMemory` has it."""
    if not device.startswith("cuda"):
        return None
    import torch

    try:
        free, total = torch.cuda.mem_get_info(device)
        taken = torch.cuda.max_memory_reserved(device)
    except RuntimeError:  # a device that is lost: this worker retires
        return None
    mine = torch.cuda.memory_reserved(device) + CONTEXT_BYTES
    others = max(0, total - free - mine)
    return {"taken_bytes": taken, "total_bytes": total, "others_bytes": others}


def _flush_prints() -> None:
    # The user's code may have closed it.
    with contextlib.suppress(ValueError, OSError, AttributeError):
        sys.stdout.flush()


def _stand_in(folder: str) -> None:
    """Be where the notebook is: its code opens files there, and imports modules from there.

    Not earlier, and never before what a worker needs was loaded: see `nbautoml.engine.forking`.
    """
    with contextlib.suppress(OSError):  # it was deleted
        os.chdir(folder)
    if "" not in sys.path:
        sys.path.insert(0, "")


def _let_go_of_forkserver() -> None:
    """Close what keeps the forkserver alive: it ends with its supervisor, and this process with it.

    Each child gets a copy of that descriptor, to fork siblings with, and a trial that computes for
    an hour would train for an hour for a supervisor that is dead.
    """
    held: Any = getattr(forkserver, "_forkserver", None)
    descriptor = getattr(held, "_forkserver_alive_fd", None)
    if descriptor is not None:
        held._forkserver_alive_fd = None  # noqa: SLF001 (there is no public way)
        os.close(descriptor)


def _become_quiet_child(output: Connection) -> None:
    """Own signals and output: interrupts belong to the supervisor, prints go to the log."""
    # The user's code may start processes (loaders of data do); they end with this one's group.
    multiprocessing.current_process().daemon = False
    if sys.platform == "linux":
        # As in a notebook: a loader's workers know the cell's classes, which they could not import.
        multiprocessing.set_start_method("fork", force=True)
    _let_go_of_forkserver()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    faulthandler.enable(file=sys.stderr)
