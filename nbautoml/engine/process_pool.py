"""Executor "process": warm workers, one device and a thread budget each, forked from a forkserver."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from nbautoml.engine.devices import GpuMemory, Layout, widened
from nbautoml.engine.forking import worker_context
from nbautoml.engine.pool import (
    Asked,
    Control,
    Died,
    Finished,
    Happened,
    Message,
    Printed,
    Ready,
    Reported,
    Wanted,
)
from nbautoml.engine.printed import PrintedLines
from nbautoml.engine.ready import has_data, ready
from nbautoml.engine.worker import worker_main
from nbautoml.events import LogLine, RunControl, Task, TrialSpec, event_from_json
from nbautoml.machine import n_cores

__all__ = ["ProcessPool"]

# A trial over its limit, or cancelled, ends itself at its next batch; else its worker is killed:
# user code may hold Python's lock, or wait for ever.
LIMIT_GRACE_S = 5.0
# Messages of one worker that are read before the others have their turn, and the record is written:
# code that reports in a tight loop must not hold up a run.
MAX_READ = 200


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    output: Connection
    printed: PrintedLines
    device: str
    is_ready: bool = False
    task: Task | None = None
    started_at: float = 0.0
    is_overdue: bool = False
    is_retired: bool = False
    is_mute: bool = False  # its end of the pipe is closed: its process is about to end
    trials: set[int] = field(default_factory=set)  # of the task in hand
    cancelled_at: float | None = None  # since when all of them are

    @property
    def pid(self) -> int:
        return int(self.process.pid or 0)

    @property
    def limit_s(self) -> float | None:
        """How long its task may take: the trials of a stack share the time, so as long as all may."""
        if self.task is None or self.task.limit_s is None:
            return None
        return self.task.limit_s * max(1, len(self.trials))


class ProcessPool:
    """Workers in processes of their own; a dead one is replaced at the next `start`.

    Args:
        layout: how many workers, on which devices, with how many threads; may be set later
            (a warm pool is started before it is known what it will run).
        context: how they are started; see `nbautoml.engine.forking`.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        run_folder: Path,
        home_data: Path,
        context: BaseContext | None = None,
    ) -> None:
        self._context = context or worker_context()
        self._workers: dict[int, _Worker] = {}
        self._control = Control()
        self._paused_at = 0.0
        self.assign(layout, run_folder=run_folder, home_data=home_data)

    def assign(self, layout: Layout, *, run_folder: Path, home_data: Path) -> None:
        """Say what the pool is for."""
        self._layout, self._is_sized = layout, False
        self._run_folder, self._home_data = run_folder, home_data

    def warm(self, n_workers: int = 1) -> None:
        """Start workers before there is work."""
        while len(self._waiting) < n_workers:
            self._spawn()

    def open_ahead(self, handler: str) -> None:
        """Let the workers that wait do what a task will begin with.

        Args:
            handler: a function of a worker's context, as "nbautoml.module:function".
        """
        for worker, device in zip(self._waiting, self._layout.devices, strict=False):
            worker.device = device
            self._send(worker, {"type": "ahead", "handler": handler, **self._place(device)})

    def leave_gpus(self, *, but: str = "") -> None:
        """Replace workers that were on a GPU ahead, which is theirs in part until they end.

        Args:
            but: the device where they are welcome.
        """
        gone = [w for w in self._waiting if w.device.startswith("cuda") and w.device != but]
        for worker in gone:
            worker.is_retired = True
            worker.process.kill()
        self.warm(len(self._waiting) + len(gone))

    @property
    def _waiting(self) -> list[_Worker]:
        return [w for w in self._workers.values() if w.task is None and not w.is_retired]

    @property
    def n_free(self) -> int:
        """How many tasks could be started now."""
        return self._layout.n_workers - sum(w.task is not None for w in self._workers.values())

    def start(self, task: Task) -> tuple[int, str]:
        """Give the task to a free worker."""
        idle = self._waiting
        worker = next((w for w in idle if w.is_ready), None) or (idle[0] if idle else self._spawn())
        worker.device = self._free_device()
        worker.task, worker.started_at = task, time.monotonic()
        worker.trials, worker.cancelled_at = {trial.number for trial in task.trials}, None
        message = {"type": "task", "task": task.to_json(), **self._place(worker.device)}
        self._send(worker, message)
        return worker.pid, worker.device

    def _place(self, device: str) -> dict[str, Any]:
        """Where the work is, and on what it is done."""
        return {
            "device": device,
            "n_threads": self._layout.n_threads,
            "run_folder": str(self._run_folder),
            "home_data": str(self._home_data),
            "cwd": _working_folder(),
        }

    def poll(self, timeout_s: float) -> list[Message]:
        """Messages of all workers since the last call."""
        sources: dict[Any, _Worker] = {}
        for worker in self._workers.values():
            sources[worker.process.sentinel] = worker
            # A closed pipe is ready for ever, and waiting for it would be spinning.
            if not worker.is_mute:
                sources[worker.pipe] = worker
            if not worker.printed.is_closed:
                sources[worker.output] = worker
        said: list[Message] = []
        dead: list[_Worker] = []
        for source in ready(sources, timeout_s):
            worker = sources[source]
            if source is worker.output:
                worker.printed.read()
            elif source is worker.pipe:
                said.extend(self._read_pipe(worker))
            elif worker not in dead:
                dead.append(worker)
        for worker in dead:
            said.extend(self._read_pipe(worker, at_most=None))
            worker.printed.read()
        for worker in self._workers.values():
            is_last = worker in dead or worker.task is None
            lines, n_left_out = worker.printed.take(is_last=is_last)
            if lines or n_left_out:
                said.append(Printed(worker=worker.pid, lines=lines, n_left_out=n_left_out))
        said.extend(self._bury(worker) for worker in dead)
        self._kill_overdue()
        return said

    def answer(self, worker: int, control: RunControl) -> None:
        """Answer a report."""
        if worker in self._workers:
            self._send(self._workers[worker], {"type": "answer", "control": control.value})

    def answer_question(self, worker: int, answer: Mapping[str, Any]) -> None:
        """Answer a question."""
        if worker in self._workers:
            self._send(self._workers[worker], {"type": "answer_question", "answer": dict(answer)})

    def give(self, worker: int, trials: Sequence[TrialSpec]) -> str:
        """Answer a worker that has room for more trials."""
        if worker not in self._workers:
            return ""
        found = self._workers[worker]
        found.trials |= {trial.number for trial in trials}
        self._send(found, {"type": "given", "trials": [trial.to_json() for trial in trials]})
        return found.device

    def control(self, control: Control) -> None:
        """Pass control on to all workers."""
        now = time.monotonic()
        if control.is_paused and not self._control.is_paused:
            self._paused_at = now
        elif self._control.is_paused and not control.is_paused:
            for worker in self._workers.values():  # their trials' clocks stood still
                worker.started_at += now - self._paused_at
        self._control = control
        for worker in self._workers.values():
            self._send(worker, self._control_message())

    def close(self, *, grace_s: float) -> None:
        """End all workers, kindly first."""
        self.control(Control(is_over=True))
        until = time.monotonic() + grace_s
        for worker in self._workers.values():
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(5)
            self._let_go(worker)
        self._workers = {}

    @staticmethod
    def _let_go(worker: _Worker) -> None:
        """Close what tied us to a worker that is gone; what it had started goes with it."""
        worker.pipe.close()
        worker.output.close()
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.pid, signal.SIGKILL)

    def _spawn(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        output, their_output = multiprocessing.Pipe(duplex=False)
        process = self._context.Process(  # type: ignore[attr-defined]
            target=worker_main, args=(theirs, their_output), daemon=True, name="nbautoml-worker"
        )
        process.start()
        theirs.close()
        their_output.close()
        os.set_blocking(output.fileno(), False)
        printed = PrintedLines(output.fileno())
        worker = _Worker(process, ours, output, printed, device="cpu")
        self._workers[worker.pid] = worker
        if self._control.is_paused or self._control.cancelled:
            self._send(worker, self._control_message())
        return worker

    def _control_message(self) -> dict[str, Any]:
        return {
            "type": "control",
            "is_paused": self._control.is_paused,
            "is_over": self._control.is_over,
            "cancelled": sorted(self._control.cancelled),
        }

    def _free_device(self) -> str:
        in_use = [w.device for w in self._workers.values() if w.task is not None]
        return min(self._layout.devices, key=in_use.count)

    def _send(self, worker: _Worker, message: Mapping[str, Any]) -> None:
        try:
            worker.pipe.send_bytes(json.dumps(message).encode())
        except OSError:
            return  # it died: its sentinel says so at the next poll

    def _read_pipe(self, worker: _Worker, at_most: int | None = MAX_READ) -> list[Message]:
        said: list[Message] = []
        try:
            while (at_most is None or len(said) < at_most) and has_data(worker.pipe):
                said.extend(self._parsed(worker, json.loads(worker.pipe.recv_bytes())))
        except (EOFError, OSError):
            worker.is_mute = True  # the sentinel tells of the death, with the exit code
        return said

    def _parsed(self, worker: _Worker, found: Mapping[str, Any]) -> Iterator[Message]:
        kind, pid = found["type"], worker.pid
        if kind == "said":
            if found["events"]:
                yield Happened(worker=pid, events=[event_from_json(e) for e in found["events"]])
            yield from (_reported(pid, item) for item in found["reports"])
        elif kind == "ask":
            yield Asked(worker=pid, trial=found["trial"], question=found["question"])
        elif kind == "want":
            yield Wanted(worker=pid, n=found["n"])
        elif kind == "finished":
            worker.task = None
            worker.printed.read_all()  # the run may be over with this
            worker.is_retired = found["is_retired"]
            if found.get("gpu_memory"):
                yield from self._widen(worker, GpuMemory(**found["gpu_memory"]))
            yield Finished(
                worker=pid,
                error=found["error"],
                traceback=found["traceback"],
                is_retired=worker.is_retired,
            )
        else:
            worker.is_ready = True
            yield Ready(worker=pid)

    def _widen(self, worker: _Worker, memory: GpuMemory) -> Iterator[Message]:
        """It is known now what a trial takes of a GPU: further workers may fit beside."""
        is_first, wide = not self._is_sized, widened(self._layout, memory, n_cpus=n_cores())
        self._is_sized = True
        if is_first and wide != self._layout:
            self._layout = wide
            taken = f"{memory.taken_bytes / 2**30:.1f} of {memory.total_bytes / 2**30:.0f} GB"
            text = f"{wide}, since a trial takes {taken}"
            yield Happened(worker=worker.pid, events=[LogLine(text=text)])

    def _bury(self, worker: _Worker) -> Died:
        worker.process.join(5)
        del self._workers[worker.pid]
        self._let_go(worker)
        code = worker.process.exitcode
        is_killed = code in {-signal.SIGKILL, -signal.SIGTERM} and not worker.is_overdue
        limit = worker.limit_s
        reason = f"took longer than {limit:g} s" if worker.is_overdue else _describe_exit(code)
        return Died(worker=worker.pid, task=worker.task, reason=reason, is_killed=is_killed)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for worker in self._workers.values():
            self._kill_if_deaf(worker, now)
            limit = None if self._control.is_paused else worker.limit_s
            if limit is not None and now - worker.started_at > limit + LIMIT_GRACE_S:
                worker.is_overdue = True
                worker.process.kill()

    def _kill_if_deaf(self, worker: _Worker, now: float) -> None:
        """A worker all of whose trials were cancelled, and that does not hear of it."""
        if worker.task is None or not worker.trials <= self._control.cancelled:
            worker.cancelled_at = None
        elif worker.cancelled_at is None:
            worker.cancelled_at = now
        elif now - worker.cancelled_at > LIMIT_GRACE_S and worker.process.is_alive():
            worker.process.kill()


def _working_folder() -> str:
    """Where the notebook is; a warm worker began elsewhere. "" when the folder was deleted."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _reported(worker: int, found: Mapping[str, Any]) -> Reported:
    return Reported(
        worker=worker, trial=found["trial"], epoch=found["epoch"], value=float(found["value"])
    )


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        what = {
            "SIGKILL": " (killed from outside, or the machine ran out of memory)",
            "SIGSEGV": " (a crash in native code)",
        }.get(name, "")
        return f"the worker was ended by {name}{what}"
    return f"the worker left with exit code {code}"
