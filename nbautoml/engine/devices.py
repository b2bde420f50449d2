"""Which devices there are and how many workers fit, found out without touching a device.

The supervisor must not import torch or create a CUDA context (a context costs hundreds of
megabytes and breaks forked children), so GPUs are counted by the driver's own tool.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass

from nbautoml.errors import RecipeError
from nbautoml.machine import free_memory, most_threads, n_cores
from nbautoml.spec.recipe import Execution

__all__ = [
    "GpuMemory",
    "Layout",
    "are_shared",
    "count_gpus",
    "is_without_gpus",
    "layout_for",
    "widened",
]

WORKER_BYTES = 700 * 2**20  # a worker with torch loaded and small data, measured as 350 to 600 MB
# What a process takes of a GPU before it has a tensor there: context, kernels, libraries' workspace.
CONTEXT_BYTES = 700 * 2**20
# Workers of one GPU take turns on it; what they gain is that one computes while another is in Python.
MOST_PER_GPU = 4
GPU_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the workers of a run are laid out: one device and a thread budget for each.

    ``may_grow``: further workers may share the GPUs once it is known what one takes (`widened`).
    """

    devices: tuple[str, ...]
    n_threads: int
    may_grow: bool = False

    @property
    def n_workers(self) -> int:
        """Number of workers at once."""
        return len(self.devices)

    def __str__(self) -> str:
        kinds = sorted(set(self.devices))
        threads = "1 thread" if self.n_threads == 1 else f"{self.n_threads} threads"
        workers = "1 worker" if self.n_workers == 1 else f"{self.n_workers} workers"
        return f"{workers} of {threads} on {', '.join(kinds)}"


def count_gpus() -> int:
    """NVIDIA GPUs that a worker would see (``CUDA_VISIBLE_DEVICES`` counts)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in {"", "-1"}])
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        return _listed(tool)
    except (OSError, subprocess.SubprocessError):
        return 0


@functools.cache
def _listed(tool: str) -> int:
    """GPUs that the driver's tool lists; asked once, for it takes its time. What fails is not kept."""
    found = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10, check=True)
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())


def are_shared() -> bool:
    """Whether several processes may use the GPUs at once, as far as the driver's tool says.

    Where one process has a GPU for itself, a worker that waits there would keep its user from it.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return True
    query = [tool, "--query-gpu=compute_mode", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return all(line.strip() == "Default" for line in found.stdout.splitlines())


def is_without_gpus() -> bool:
    """Whether it is known at once that a worker would see none."""
    is_known = "CUDA_VISIBLE_DEVICES" in os.environ or shutil.which("nvidia-smi") is None
    return is_known and count_gpus() == 0


def layout_for(execution: Execution, *, n_trials: int | None) -> Layout:
    """Workers, devices and threads for a run.

    On a CPU a small model gains nothing from a second thread, so the default is one worker a
    core with one thread each (a lone trial gets all cores); on GPUs one worker a GPU. A
    deterministic run has one thread a worker always: how a sum is split over threads changes its
    last digits. ``OMP_NUM_THREADS`` bounds the threads of a worker.

    Raises:
        RecipeError: a device was asked for that is not there.
    """
    n_gpus, n_cpus = count_gpus(), n_cores()
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
    n_threads = min(n_threads, most_threads() or n_threads)
    may_grow = execution.n_workers is None and spread[0].startswith("cuda")
    return Layout(devices=spread, n_threads=n_threads, may_grow=may_grow)


@dataclass(frozen=True, kw_only=True)
class GpuMemory:
    """What a worker found on its GPU when a task was over.

    Attributes:
        taken_bytes: most that the task had reserved.
        total_bytes: of the GPU.
        others_bytes: what other programs have taken of it.
    """

    taken_bytes: int
    total_bytes: int
    others_bytes: int = 0


def widened(layout: Layout, memory: GpuMemory, *, n_cpus: int) -> Layout:
    """The layout with as many workers a GPU as its memory, and the cores, have room for.

    >>> one = Layout(devices=("cuda:0",), n_threads=16, may_grow=True)
    >>> small = GpuMemory(taken_bytes=2 * 2**30, total_bytes=80 * 2**30)
    >>> str(widened(one, small, n_cpus=16))
    '4 workers of 4 threads on cuda:0'
    >>> large = GpuMemory(taken_bytes=40 * 2**30, total_bytes=80 * 2**30)
    >>> str(widened(one, large, n_cpus=16))
    '1 worker of 16 threads on cuda:0'
    """
    gpus = tuple(dict.fromkeys(layout.devices))
    room = GPU_SHARE * (memory.total_bytes - memory.others_bytes)
    fitting = int(room // (memory.taken_bytes + CONTEXT_BYTES))
    n_each = max(1, min(fitting, MOST_PER_GPU, n_cpus // len(gpus)))
    if not layout.may_grow or n_each * len(gpus) <= layout.n_workers:
        return layout
    devices = gpus * n_each
    n_threads = min(layout.n_threads, max(1, n_cpus // len(devices)))
    return Layout(devices=devices, n_threads=n_threads, may_grow=True)


def _default_workers(devices: tuple[str, ...], n_cpus: int) -> int:
    if devices != ("cpu",):
        return len(devices)
    fitting = free_memory() // WORKER_BYTES
    return max(1, min(n_cpus, fitting))
