"""Energy is read where a counter is, over its end and round again, and refused in words where none is."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import powercap
import pytest
import torch
from torch import nn

from nbautoml.errors import EnergyError
from nbautoml.measure import NvidiaMeter, RaplMeter, energies, measure, meter_for


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "powercap"


class Stepping:
    """A counter that goes on by so many joules each time it is looked at."""

    source = "steps"

    def __init__(self, joules: float) -> None:
        self._step, self._used = joules, 0.0

    def joules(self) -> float:
        self._used += self._step
        return self._used


def test_packages_and_their_memory_are_added_and_nothing_twice(folder):
    counters = powercap.server(folder)
    meter = RaplMeter(folder)
    for counter in counters.values():
        counter.write_text("3001000\n")
    assert meter.joules() == pytest.approx(6.0)
    assert meter.source == "RAPL package-0, dram"


def test_a_package_that_is_shown_in_one_way_only_counts(folder):
    counter = powercap.lay_out(folder, "intel-rapl-mmio:0", label="package-0", energy_uj=0)
    meter = RaplMeter(folder)
    counter.write_text("2000000\n")
    assert meter.joules() == pytest.approx(2.0)


def test_a_counter_that_begins_again_loses_nothing(folder):
    counter = powercap.lay_out(
        folder, "intel-rapl:0", label="package-0", energy_uj=9_000_000, range_uj=10_000_000
    )
    meter = RaplMeter(folder)
    for value in (500_000, 8_000_000, 100_000):  # round, on, round again
        counter.write_text(f"{value}\n")
        meter.joules()
    assert meter.joules() == pytest.approx(1.5 + 7.5 + 2.1)


def test_without_counters_the_folder_and_the_reason_are_named(folder):
    with pytest.raises(EnergyError, match="powercap has no energy counter") as told:
        RaplMeter(folder)
    assert "virtual machines" in told.value.hint


def test_a_damaged_counter_is_told(folder):
    powercap.lay_out(folder, "intel-rapl:0", label="package-0", energy_uj=0)
    (folder / "intel-rapl:0" / "energy_uj").write_text("much\n")
    with pytest.raises(EnergyError, match=r"cannot be read: .*much"):
        RaplMeter(folder)


@pytest.fixture
def folder_of_all():
    """In a folder that everybody may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="nbautoml-test-") as place:
        Path(place).chmod(0o755)
        yield Path(place) / "powercap"


@pytest.fixture
def as_nobody():
    """Root may read everything; for a while it is somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_counter_for_root_alone_says_how_to_open_it(folder_of_all, request):
    folder = folder_of_all
    powercap.server(folder)["intel-rapl:0"].chmod(0)
    request.getfixturevalue("as_nobody")
    with pytest.raises(EnergyError, match=r"intel-rapl:0/energy_uj may be read by root") as told:
        RaplMeter(folder)
    assert "chmod a+r" in told.value.hint


def test_a_counter_that_stands_still_is_refused(folder, monkeypatch):
    powercap.server(folder)
    monkeypatch.setenv("NBAUTOML_POWERCAP", str(folder))
    with pytest.raises(EnergyError, match="stands still"):
        meter_for("cpu")


def test_a_counter_that_runs_is_found_where_the_variable_says(folder, monkeypatch):
    counters = powercap.server(folder)
    monkeypatch.setenv("NBAUTOML_POWERCAP", str(folder))
    with powercap.running(counters["intel-rapl:0"]):
        assert meter_for("cpu").joules() > 0


def test_nothing_reads_the_energy_of_a_device_that_nobody_knows():
    with pytest.raises(EnergyError, match="device 'abacus'"):
        meter_for("abacus")


def test_rivals_take_turns_and_what_a_call_takes_is_what_its_round_took_over_its_calls():
    called = []
    found = energies(
        {"a": lambda: called.append("a"), "b": lambda: called.append("b")},
        Stepping(3.0),
        rounds=2,
        seconds=0,
    )
    assert called == ["a", "b"] + ["a", "b"] * 2  # a call to warm up, then a call a round
    assert found["a"].value == found["b"].value == 3.0
    assert (found["a"].unit, found["a"].n, found["a"].spread) == ("J", 2, 0.0)


def test_a_module_is_measured_with_the_energy_of_its_largest_batch():
    found = measure(
        nn.Linear(4, 3), torch.zeros(1, 4), batch_sizes=(1, 5), seconds=0.01, meter=Stepping(0.5)
    )
    assert 0 < found["energy"].value <= 0.5
    assert "ONNX Runtime, batch of 5" in found["energy"].method


def test_a_machine_without_a_counter_is_measured_without_energy_and_says_so(folder, monkeypatch):
    monkeypatch.setenv("NBAUTOML_POWERCAP", str(folder))
    found = measure(nn.Linear(4, 3), torch.zeros(1, 4), batch_sizes=(1,), seconds=0.01)
    assert "energy" not in found
    assert any(note.startswith("energy not measured: ") for note in found.notes)


_CARD = """
#include <string.h>
static unsigned long long used = 5000;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **card) {
    *card = &used;
    return strcmp(uuid, "GPU-known") ? 6 : 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *millijoules) {
    *millijoules = (*(unsigned long long *)card += 250);
    return 0;
}
"""


@pytest.fixture(scope="module")
def nvml(tmp_path_factory):
    """A library that speaks as NVIDIA's does, of a card that uses 0.25 J between two looks."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(_CARD)
    library = str(folder / "nvml.so")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, str(folder / "nvml.c")], check=True
    )
    return library


def test_a_card_is_read_through_the_library_of_its_driver(nvml):
    meter = NvidiaMeter("GPU-known", nvml)
    assert [meter.joules(), meter.joules()] == [0.25, 0.5]


def test_a_card_that_the_driver_does_not_know_is_told_with_what_it_answered(nvml):
    with pytest.raises(EnergyError, match="nvmlDeviceGetHandleByUUID answers 6"):
        NvidiaMeter("GPU-unknown", nvml)


def test_without_a_driver_there_is_no_card_to_read():
    with pytest.raises(EnergyError, match=r"no_such_nvml\.so of NVIDIA's driver cannot be loaded"):
        NvidiaMeter("GPU-known", "no_such_nvml.so")
