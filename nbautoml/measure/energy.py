"""Joules that a call takes, by the counters that a machine keeps of itself.

::

    processor   Linux powercap (RAPL): /sys/class/powercap/intel-rapl:0/energy_uj, of packages and memory
    GPU         NVML: the energy that an NVIDIA card has used since its driver was loaded

Both count everything that runs at the time, and what the device draws when idle. So a call is
repeated for a good while, and rivals take turns.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from nbautoml.errors import EnergyError
from nbautoml.measure.measurement import Measurement, quantile

__all__ = ["Meter", "NvidiaMeter", "RaplMeter", "energies", "meter_for", "powercap_folder"]

ROUNDS, ROUND_S = 5, 0.1
ALIVE_S = 0.3
_NVML = "libnvidia-ml.so.1"


class Meter(Protocol):
    """A counter of energy.

    Obligations: `joules` never falls, and nothing is lost between two looks at it that lie less
    than a minute apart.
    """

    @property
    def source(self) -> str:
        """What is counted, for people: "RAPL package-0, dram"."""

    def joules(self) -> float:
        """Used since the meter was made."""


def powercap_folder() -> Path:
    """Where Linux shows its counters; ``NBAUTOML_POWERCAP`` where a container has them elsewhere."""
    return Path(os.environ.get("NBAUTOML_POWERCAP") or "/sys/class/powercap")


class _Zone:
    """One counter: it starts again at 0 after ``max_energy_range_uj``."""

    def __init__(self, folder: Path) -> None:
        self.name = _read(folder / "name")
        self._file = folder / "energy_uj"
        self._range = int(_read(folder / "max_energy_range_uj"))
        self._last = int(_read(self._file))
        self.used_uj = 0

    def look(self) -> int:
        """Microjoules used since the zone was made."""
        now = int(_read(self._file))
        step = now - self._last
        self.used_uj += step if step >= 0 else step + self._range
        self._last = now
        return self.used_uj


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


class RaplMeter:
    """The processor's packages and their memory, as Linux' powercap counts them.

    Cores and graphics are parts of a package and are not added to it.

    Args:
        folder: laid out as ``/sys/class/powercap``; see `powercap_folder`.

    Raises:
        EnergyError: there is no such counter, or it may not be read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = powercap_folder() if folder is None else folder
        try:
            self._zones = [_Zone(path) for path in _zone_folders(folder)]
        except PermissionError as error:
            raise EnergyError(
                f"the processor's energy counter {error.filename} may be read by root alone",
                hint=f"sudo chmod a+r {folder}/intel-rapl*/energy_uj, until the next start",
            ) from None
        except (OSError, ValueError) as error:
            raise EnergyError(f"the energy counters in {folder} cannot be read: {error}") from None
        if not self._zones:
            raise EnergyError(
                f"{folder} has no energy counter of a processor",
                hint="virtual machines and most ARM processors have none; on a PC, modprobe intel_rapl_msr",
            )

    @property
    def source(self) -> str:
        """The zones that are added up."""
        return f"RAPL {', '.join(zone.name for zone in self._zones)}"

    def joules(self) -> float:
        """See `Meter`."""
        return sum(zone.look() for zone in self._zones) / 1e6


def _zone_folders(folder: Path) -> list[Path]:
    """Packages and their memory; each package once, though some kernels show it in two ways."""
    try:
        found = sorted(path for path in folder.iterdir() if (path / "energy_uj").exists())
    except FileNotFoundError:
        return []
    again = [path for path in found if not path.name.startswith("intel-rapl-mmio")]
    return [path for path in again or found if _read(path / "name").partition("-")[0] in _COUNTED]


_COUNTED = {"package", "dram"}


class NvidiaMeter:
    """An NVIDIA card's own counter (Volta and later), by NVML, which comes with its driver.

    Args:
        uuid: of the card: "GPU-..."; ``torch.cuda.get_device_properties(0).uuid`` without "GPU-".
        library: file of NVML.

    Raises:
        EnergyError: there is no driver, no such card, or the card has no counter.
    """

    def __init__(self, uuid: str, library: str = _NVML) -> None:
        self._uuid = uuid
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError as error:
            raise EnergyError(
                f"{library} of NVIDIA's driver cannot be loaded: {error}",
                hint="it comes with the driver; containers need --gpus all",
            ) from None
        self._card = ctypes.c_void_p()
        self._ask("nvmlInit_v2")
        self._ask("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(self._card))
        self._start = self._millijoules()

    @property
    def source(self) -> str:
        """The card."""
        return f"NVML {self._uuid}"

    def joules(self) -> float:
        """See `Meter`."""
        return (self._millijoules() - self._start) / 1000

    def _millijoules(self) -> int:
        found = ctypes.c_ulonglong()
        self._ask("nvmlDeviceGetTotalEnergyConsumption", self._card, ctypes.byref(found))
        return found.value

    def _ask(self, name: str, *said: Any) -> None:
        code = getattr(self._nvml, name)(*said)
        if code:
            raise EnergyError(
                f"the energy of card {self._uuid} cannot be read: {name} answers {code}",
                hint="cards before Volta have no counter of it",
            )


def meter_for(device: str = "cpu") -> Meter:
    """The meter of a device that does count.

    Args:
        device: "cpu", "cuda", "cuda:1".

    Raises:
        EnergyError: there is none; says which counter was looked for, and why it is none.
    """
    kind, _, index = device.partition(":")
    meter: Meter
    if kind == "cpu":
        meter = RaplMeter()
    elif kind == "cuda":
        import torch

        card = torch.cuda.get_device_properties(int(index or torch.cuda.current_device()))
        meter = NvidiaMeter(f"GPU-{card.uuid}")
    else:
        raise EnergyError(f"nothing here reads the energy of device {device!r}")
    until = time.perf_counter() + ALIVE_S
    while meter.joules() == 0.0:
        if time.perf_counter() > until:
            raise _still(meter)
        time.sleep(0.005)
    return meter


def _still(meter: Meter) -> EnergyError:
    return EnergyError(
        f"the energy counter {meter.source} stands still",
        hint="some virtual machines show one that never counts",
    )


def energies(
    calls: Mapping[str, Callable[[], Any]],
    meter: Meter,
    *,
    what: str = "",
    rounds: int = ROUNDS,
    seconds: float = ROUND_S,
) -> dict[str, Measurement]:
    """Joules of one call of each of several, which take turns round by round.

    Args:
        calls: what is measured, by name; each waits until it is done.
        meter: what counts.
        what: is told of the calls: "ONNX Runtime, batch of 64".
        rounds: of each; the median of them is the answer.
        seconds: about how long a round repeats a call.

    Raises:
        EnergyError: the counter stood still.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for function in calls.values():
        function()
    for _ in range(rounds):
        for name, function in calls.items():
            n, before = 0, meter.joules()
            until = time.perf_counter() + seconds
            while n == 0 or time.perf_counter() < until:
                function()
                n += 1
            found[name].append((meter.joules() - before) / n)
    told = f"{what}, " if what else ""
    method = f"median of rounds by turns; {told}{meter.source}, all that ran, idle draw included"
    if not all(quantile(sorted(each), 0.5) > 0 for each in found.values()):
        raise _still(meter)
    return {name: _measurement(sorted(each), method) for name, each in found.items()}


def _measurement(joules: list[float], method: str) -> Measurement:
    return Measurement(
        value=quantile(joules, 0.5),
        unit="J",
        method=method,
        n=len(joules),
        spread=quantile(joules, 0.75) - quantile(joules, 0.25),
    )
