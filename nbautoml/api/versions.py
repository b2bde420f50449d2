"""What a run is made with: versions of packages, and the machine."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

import nbautoml
from nbautoml.machine import n_cores

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """What the run was made with."""
    found = {"nbautoml": nbautoml.__version__, "python": platform.python_version()}
    for package in ("torch", "optuna", "scikit-learn", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    found["platform"] = sys.platform
    found["processor"] = f"{_processor()}, {n_cores()} cores"
    return found


def _processor() -> str:
    """Its name: other kinds add up in another order, which shows in the last digits."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
