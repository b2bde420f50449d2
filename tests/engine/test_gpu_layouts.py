"""How many workers share a GPU: arithmetic, so that it is tested without one."""

from __future__ import annotations

import pytest

from nbautoml.engine.devices import CONTEXT_BYTES, GPU_SHARE, GpuMemory, Layout, widened
from nbautoml.engine.process_pool import ProcessPool

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
