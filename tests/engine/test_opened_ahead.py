"""What a warm worker does between hearing of its run and its first task."""

from __future__ import annotations

import dataclasses
import time

import pytest
from engine_runs import MLP, Runs

from nbautoml.capsule import Capsule
from nbautoml.engine.devices import Layout
from nbautoml.engine.pool import Died, Finished, Printed
from nbautoml.engine.process_pool import ProcessPool
from nbautoml.tune.driver import lone_task

LIMIT_S = 60.0
LAYOUT = Layout(devices=("cpu",), n_threads=1)


@pytest.fixture
def pool_of(tmp_path):
    """A warm pool that has been told of a run of some code, and the run's recipe."""
    runs, pools = Runs(tmp_path), []

    def make(source):
        capsule = Capsule(source=source, roots=("Net",))
        recipe = runs.recipe(data="wine")
        target = dataclasses.replace(recipe.target, capsule_hash=capsule.hash)
        recipe = dataclasses.replace(recipe, target=target)
        folder = runs.home.create_run(recipe, capsule)
        pool = ProcessPool(LAYOUT, run_folder=folder.path, home_data=runs.home.data_dir)
        pools.append(pool)
        pool.warm()
        pool.open_ahead("nbautoml.tune.session:open_ahead")
        return pool, recipe

    yield make
    for pool in pools:
        pool.close(grace_s=0.0)


def said_until(pool, kind):
    """Messages up to the first of a kind."""
    said, until = [], time.monotonic() + LIMIT_S
    while not any(isinstance(message, kind) for message in said):
        assert time.monotonic() < until, said
        said += pool.poll(0.05)
    return said


def printed(said):
    return [line for message in said if isinstance(message, Printed) for line in message.lines]


def test_code_is_imported_before_there_is_a_task_and_once(pool_of):
    pool, recipe = pool_of(f"{MLP.replace('(64,', '(13,')}\nprint('imported')\n")
    said = said_until(pool, Printed)
    assert pool.n_free == 1
    pool.start(lone_task(recipe, 0, {"hidden": 8, "lr": 0.01}))
    said += said_until(pool, Finished)
    assert [message.error for message in said if isinstance(message, Finished)] == [""]
    assert printed(said) == ["imported"]


@pytest.mark.parametrize("fault", ["raise RuntimeError('no such thing')", "raise SystemExit(3)"])
def test_code_that_fails_ahead_fails_in_its_task(pool_of, fault):
    pool, recipe = pool_of(f"print('tried')\n{fault}\n")
    said_until(pool, Printed)
    pool.start(lone_task(recipe, 0, {"hidden": 8, "lr": 0.01}))
    (error,) = (m.error for m in said_until(pool, Finished) if isinstance(m, Finished))
    assert error


def test_a_worker_that_trained_ahead_trains_its_task_and_has_said_nothing(pool_of):
    pool, recipe = pool_of(MLP.replace("(64,", "(13,"))
    pool.open_ahead("nbautoml.tune.ahead:make_ready")
    pool.start(lone_task(recipe, 0, {"hidden": 8, "lr": 0.01}))
    said = said_until(pool, Finished)
    assert [message.error for message in said if isinstance(message, Finished)] == [""]
    assert printed(said) == []


def test_a_worker_that_was_on_a_gpu_makes_room_for_one_that_was_not(pool_of):
    pool, recipe = pool_of(MLP.replace("(64,", "(13,"))
    (first,) = pool._workers.values()
    first.device = "cuda:0"
    pool.leave_gpus(but="cuda:1")
    pid, device = pool.start(lone_task(recipe, 0, {"hidden": 8, "lr": 0.01}))
    assert (pid != first.pid, device) == (True, "cpu")
    said = said_until(pool, Finished)
    said += [] if any(isinstance(message, Died) for message in said) else said_until(pool, Died)
    assert [(m.worker, m.task) for m in said if isinstance(m, Died)] == [(first.pid, None)]
    assert [message.error for message in said if isinstance(message, Finished)] == [""]
