"""Which devices there are and how many workers fit, found out without touching a device.

The supervisor must not import torch or create a CUDA context (a context costs hundreds of
megabytes and breaks forked children), so GPUs are counted by the driver's own tool.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

import psutil

from nbautoml.errors import RecipeError
from nbautoml.spec.recipe import Execution

__all__ = ["Layout", "count_cpus", "count_gpus", "layout_for"]

WORKER_BYTES = 700 * 2**20  # a worker with torch loaded and small data, measured as 350 to 600 MB


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the workers of a run are laid out: one device and a thread budget for each."""

    devices: tuple[str, ...]
    n_threads: int

    @property
    def n_workers(self) -> int:
        """Number of workers at once."""
        return len(self.devices)

    def __str__(self) -> str:
        kinds = sorted(set(self.devices))
        threads = "1 thread" if self.n_threads == 1 else f"{self.n_threads} threads"
        workers = "1 worker" if self.n_workers == 1 else f"{self.n_workers} workers"
        return f"{workers} of {threads} on {', '.join(kinds)}"


def count_cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_gpus() -> int:
    """NVIDIA GPUs that a worker would see (``CUDA_VISIBLE_DEVICES`` counts)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in {"", "-1"}])
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        found = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())


def layout_for(execution: Execution, *, n_trials: int | None) -> Layout:
    """Workers, devices and threads for a run.

    On a CPU a small model gains nothing from a second thread, so the default is one worker a
    core with one thread each (a lone trial gets all cores); on GPUs one worker a GPU. A
    deterministic run has one thread a worker always: how a sum is split over threads changes its
    last digits.

    Raises:
        RecipeError: a device was asked for that is not there.
    """
    n_gpus, n_cpus = count_gpus(), count_cpus()
    kind, _, index = execution.device.partition(":")
    if kind == "cuda" and (n_gpus == 0 or (index and int(index) >= n_gpus)):
        raise RecipeError(
            f"device {execution.device!r} was asked for, {n_gpus} GPUs are visible here",
            hint="use --device cpu, or check nvidia-smi and CUDA_VISIBLE_DEVICES",
        )
    if kind == "mps":
        devices: tuple[str, ...] = ("mps",)
    elif kind == "cuda" or (kind == "auto" and n_gpus):
        devices = (execution.device,) if index else tuple(f"cuda:{i}" for i in range(n_gpus))
    else:
        devices = ("cpu",)
    n_workers = execution.n_workers or _default_workers(devices, n_cpus)
    if execution.executor == "inline":
        n_workers = 1
    if n_trials is not None:
        n_workers = max(1, min(n_workers, n_trials))
    spread = tuple(devices[i % len(devices)] for i in range(n_workers))
    n_threads = 1 if execution.deterministic else max(1, n_cpus // n_workers)
    return Layout(devices=spread, n_threads=n_threads)


def _default_workers(devices: tuple[str, ...], n_cpus: int) -> int:
    if devices != ("cpu",):
        return len(devices)
    fitting = int(psutil.virtual_memory().available // WORKER_BYTES)
    return max(1, min(n_cpus, fitting))
