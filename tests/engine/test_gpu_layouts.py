"""How many workers share a GPU: arithmetic, so that it is tested without one."""

from __future__ import annotations

import pytest

from nbautoml.engine import devices
from nbautoml.engine.devices import (
    CONTEXT_BYTES,
    GPU_SHARE,
    GpuMemory,
    Layout,
    layout_for,
    widened,
)
from nbautoml.engine.process_pool import ProcessPool
from nbautoml.errors import RecipeError
from nbautoml.events import Task
from nbautoml.spec.recipe import Execution

GB = 2**30
ONE = Layout(devices=("cuda:0",), n_threads=16, may_grow=True)
TWO = Layout(devices=("cuda:0", "cuda:1"), n_threads=8, may_grow=True)


@pytest.mark.parametrize(
    ("taken", "others", "n_cpus", "n_workers"),
    [
        (1, 0, 16, 4),  # no more than four: they take turns
        (20, 0, 16, 3),
        (39, 0, 16, 1),
        (20, 35, 16, 1),  # another program has a share of it
        (1, 0, 2, 2),  # a core each
    ],
)
def test_as_many_workers_as_memory_and_cores_have_room_for(taken, others, n_cpus, n_workers):
    memory = GpuMemory(taken_bytes=taken * GB, total_bytes=80 * GB, others_bytes=others * GB)
    found = widened(ONE, memory, n_cpus=n_cpus)
    assert found.n_workers == n_workers
    assert found.n_workers * (taken * GB + CONTEXT_BYTES) <= GPU_SHARE * 80 * GB
    assert found.n_workers * found.n_threads <= max(n_cpus, ONE.n_threads)


def test_each_of_several_gpus_gets_as_many():
    found = widened(TWO, GpuMemory(taken_bytes=GB, total_bytes=80 * GB), n_cpus=16)
    assert [found.devices.count(gpu) for gpu in TWO.devices] == [4, 4]
    assert found.n_threads == 2


def test_a_number_of_workers_that_was_asked_for_stays():
    asked = Layout(devices=("cuda:0",), n_threads=16)
    assert widened(asked, GpuMemory(taken_bytes=1, total_bytes=80 * GB), n_cpus=16) == asked


def finished(taken):
    memory = {"taken_bytes": taken * GB, "total_bytes": 80 * GB, "others_bytes": 0}
    done = {"type": "finished", "error": "", "traceback": "", "is_retired": False}
    return {**done, "gpu_memory": memory}


def test_a_pool_learns_from_its_first_task_how_many_workers_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("nbautoml.engine.process_pool.n_cores", lambda: 16)
    pool = ProcessPool(ONE, run_folder=tmp_path, home_data=tmp_path)
    pool.warm()
    (worker,) = pool._workers.values()
    try:
        assert pool.n_free == 1
        said = list(pool._parsed(worker, finished(20)))
        assert said[0].events[0].text == (
            "3 workers of 5 threads on cuda:0, since a trial takes 20.0 of 80 GB"
        )
        assert pool.n_free == 3
        assert len(list(pool._parsed(worker, finished(1)))) == 1  # a later one changes nothing
        assert pool.n_free == 3
    finally:
        pool.close(grace_s=0.0)


@pytest.fixture
def machine_of_two(monkeypatch):
    """As this process sees a machine of two GPUs and sixteen cores."""
    monkeypatch.setattr(devices, "count_gpus", lambda: 2)
    monkeypatch.setattr(devices, "n_cores", lambda: 16)
    monkeypatch.setattr(devices, "most_threads", lambda: None)
    monkeypatch.setattr("nbautoml.engine.process_pool.n_cores", lambda: 16)


@pytest.mark.parametrize(
    ("asked", "n_trials", "expected", "n_threads", "may_grow"),
    [
        ({}, 10, ("cuda:0", "cuda:1"), 8, True),
        ({"device": "cuda"}, None, ("cuda:0", "cuda:1"), 8, True),
        ({}, 1, ("cuda:0",), 16, True),
        ({"device": "cuda:1"}, 10, ("cuda:1",), 16, True),
        ({"n_workers": 4}, 10, ("cuda:0", "cuda:1") * 2, 4, False),
        ({"n_workers": 3}, 10, ("cuda:0", "cuda:1", "cuda:0"), 5, False),
        ({"deterministic": True}, 10, ("cuda:0", "cuda:1"), 1, True),
        ({"device": "cpu", "n_workers": 2}, 10, ("cpu", "cpu"), 8, False),
    ],
)
def test_each_gpu_gets_a_worker(machine_of_two, asked, n_trials, expected, n_threads, may_grow):
    found = layout_for(Execution(**asked), n_trials=n_trials)
    assert found == Layout(devices=expected, n_threads=n_threads, may_grow=may_grow)


def test_a_gpu_that_is_not_there_is_refused(machine_of_two):
    with pytest.raises(RecipeError, match="2 GPUs are visible"):
        layout_for(Execution(device="cuda:2"), n_trials=4)


def test_tasks_are_spread_over_the_gpus_and_over_those_that_fit_beside(tmp_path, machine_of_two):
    layout = layout_for(Execution(), n_trials=20)
    pool = ProcessPool(layout, run_folder=tmp_path, home_data=tmp_path)
    task = Task(handler="", trials=())
    try:
        first, other = (pool.start(task) for _ in range(2))
        assert (first[1], other[1]) == ("cuda:0", "cuda:1")
        assert pool.n_free == 0
        # The one on the second GPU is through and tells that it took 20 of 80 GB: three fit on each.
        list(pool._parsed(pool._workers[other[0]], finished(20)))
        assert pool.n_free == 5
        beside = [pool.start(task) for _ in range(5)]
        assert pool.n_free == 0
        assert [device for _, device in beside] == ["cuda:1", *["cuda:0", "cuda:1"] * 2]
        assert len({pid for pid, _ in (first, *beside)}) == 6
    finally:
        pool.close(grace_s=0.0)
