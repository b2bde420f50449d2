"""What a run takes of a machine: in a container only what the container may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbautoml.engine.devices import layout_for
from nbautoml.machine import free_memory, n_cores
from nbautoml.spec.recipe import Execution

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
NEW, OLD = "0::/hub/ann\n", "4:memory:/hub/ann\n3:cpu,cpuacct:/hub/ann\n1:name=systemd:/\n"


def laid_out(place: Path, own: str, **files: str) -> tuple[Path, Path]:
    """A folder of control groups with these files, and the process's own list."""
    for name, text in files.items():
        file = place / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (place / "own").write_text(own)
    return place / "groups", place / "own"


@pytest.mark.parametrize(
    ("own", "files"),
    [
        pytest.param(NEW, {"hub/ann/cpu.max": "100000 100000\n"}, id="v2"),
        pytest.param(NEW, {"cpu.max": "90000 100000\n"}, id="v2, inside the container"),
        pytest.param(
            NEW,
            {"hub/ann/cpu.max": "max 100000\n", "hub/cpu.max": "50000 100000\n"},
            id="v2, of the group above",
        ),
        pytest.param(
            OLD,
            {
                "cpu/hub/ann/cpu.cfs_quota_us": "100000\n",
                "cpu/hub/ann/cpu.cfs_period_us": "100000\n",
            },
            id="v1",
        ),
    ],
)
def test_a_quota_of_one_core_is_one_core(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    assert n_cores(*laid_out(tmp_path, own, **files)) == 1


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"hub/ann/cpu.max": "max 100000\n"},
        {"hub/ann/cpu.max": "\n"},
        {"hub/ann/cpu.max": "many of them\n"},
        {"hub/ann/cpu.max": "640000000 100000\n"},
        {"hub/ann/cpu.max": "100000 0\n"},
    ],
)
def test_without_a_quota_all_cores_count(tmp_path: Path, files: dict[str, str]) -> None:
    assert n_cores(*laid_out(tmp_path, NEW, **files)) == ALL


def test_an_old_group_without_a_quota_has_all_cores(tmp_path: Path) -> None:
    files = {"cpu/hub/ann/cpu.cfs_quota_us": "-1\n", "cpu/hub/ann/cpu.cfs_period_us": "100000\n"}
    assert n_cores(*laid_out(tmp_path, OLD, **files)) == ALL


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (
            NEW,
            {
                "hub/ann/memory.max": "3000000\n",
                "hub/ann/memory.current": "2500000\n",
                "hub/ann/memory.stat": "anon 1\ninactive_file 500000\n",
            },
        ),
        (
            OLD,
            {
                "memory/hub/ann/memory.limit_in_bytes": "3000000\n",
                "memory/hub/ann/memory.usage_in_bytes": "2500000\n",
                "memory/hub/ann/memory.stat": "inactive_file 1\ntotal_inactive_file 500000\n",
            },
        ),
    ],
)
def test_memory_is_what_the_limit_leaves_and_files_can_be_dropped(
    tmp_path: Path, own: str, files: dict[str, str]
) -> None:
    assert free_memory(*laid_out(tmp_path, own, **files)) == 1_000_000


def test_a_full_group_has_no_memory_left_and_none_below_it(tmp_path: Path) -> None:
    files = {"memory.max": "1000\n", "memory.current": "4000\n"}
    assert free_memory(*laid_out(tmp_path, NEW, **files)) == 0


def test_without_a_limit_the_machine_s_memory_counts(tmp_path: Path) -> None:
    files = {"hub/ann/memory.max": "max\n", "hub/ann/memory.current": "4000\n"}
    assert free_memory(*laid_out(tmp_path, NEW, **files)) > 50_000_000


def test_a_worker_has_no_more_threads_than_the_user_s_variable_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = Execution(device="cpu", n_workers=1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert layout_for(alone, n_trials=4).n_threads == n_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert layout_for(alone, n_trials=4).n_threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert layout_for(alone, n_trials=4).n_threads == n_cores()
