"""A folder laid out as Linux lays out ``/sys/class/powercap``, whose counters run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

RANGE_UJ = 262_143_328_850


def lay_out(
    folder: Path, name: str, *, label: str, energy_uj: int, range_uj: int = RANGE_UJ
) -> Path:
    """One zone, ``intel-rapl:0`` or so; returns its counter."""
    zone = folder / name
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{label}\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    counter = zone / "energy_uj"
    counter.write_text(f"{energy_uj}\n")
    return counter


def server(folder: Path, *, energy_uj: int = 1000) -> dict[str, Path]:
    """A processor with its cores, its memory, and the same package shown a second time."""
    (folder / "intel-rapl").mkdir(parents=True)  # the control type, which counts nothing
    rows = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl-mmio:0": "package-0",
    }
    return {
        name: lay_out(folder, name, label=label, energy_uj=energy_uj)
        for name, label in rows.items()
    }


@contextlib.contextmanager
def running(counter: Path, *, watts: float = 10.0, every_s: float = 0.001) -> Iterator[None]:
    """Let a counter go on as a processor's does, until the block ends."""
    over = threading.Event()
    again = counter.with_name("next")

    def go_on() -> None:
        energy = int(counter.read_text())
        while not over.wait(every_s):
            energy += round(watts * every_s * 1e6)
            again.write_text(f"{energy}\n")
            again.replace(counter)  # nobody sees half a number

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
