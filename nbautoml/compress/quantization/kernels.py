"""What this machine's processor can do with small numbers."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

__all__ = ["has_int8_products"]

_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


@functools.cache
def has_int8_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies and adds 8-bit numbers in one instruction.

    Without it products of 8 bits are added up in 16, which may overflow, so that weights keep to 7
    bits; and 8 bits are then seldom faster than 32. Where nothing tells, yes on ARM (of the last
    years all have it), no elsewhere.
    """
    try:
        words = set(cpuinfo.read_text(errors="replace").split())
    except OSError:
        return platform.machine().lower() in {"arm64", "aarch64"}
    return bool(words & _FLAGS)
