"""What a run is made with: versions of packages, and the machine."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import nbautoml
from nbautoml.machine import n_cores

__all__ = ["versions"]

_PACKAGES = {"torch": "torch", "optuna": "optuna", "scikit-learn": "sklearn", "numpy": "numpy"}


def versions() -> dict[str, str]:
    """What the run was made with."""
    found = {"nbautoml": nbautoml.__version__, "python": platform.python_version()}
    for package, module in _PACKAGES.items():
        # What is loaded stays as it is; what isn't may yet be replaced by another version.
        found[package] = _version_of_loaded(package) if module in sys.modules else _version(package)
    found["platform"] = sys.platform
    found["processor"] = f"{_processor()}, {n_cores()} cores"
    return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


_version_of_loaded = cache(_version)  # 2 ms each: read from a file as if it were a mail


@cache
def _processor() -> str:
    """Its name: other kinds add up in another order, which shows in the last digits."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
