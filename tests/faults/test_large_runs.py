"""A run of 100,000 trials and 600,000 points (F38): its panel is told of it in small messages, and soon."""

from __future__ import annotations

import json
import time
from typing import Any

import psutil
import pytest

from nbautoml.events import RunStateChanged
from nbautoml.spec import Budget
from nbautoml.store import Home, Owner, RunFolder
from nbautoml.testing.store_events import tiny_recipe, whole_trial
from nbautoml.widgets.hub import Hub

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]

N_TRIALS = 100_000
MOST_BYTES = 200_000  # of one message to a browser


class Controller:
    """What a hub asks for, over one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def load(self, run_id: str) -> RunFolder:
        return self._home.find(run_id)

    def submit(self, recipe: Any, capsule: Any) -> RunFolder:
        return self._home.create_run(recipe, capsule)

    def command(self, run_id: str, command: Any) -> str:
        return ""


class Browser:
    """Keeps how large the messages were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.kinds: list[str] = []

    def send(self, message: Any) -> None:
        # As Jupyter's session puts it on the wire.
        self.sizes.append(len(json.dumps(message, ensure_ascii=False).encode()))
        self.kinds.append(message["type"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("large") / "home")


@pytest.fixture(scope="module")
def large(home: Home) -> RunFolder:
    """The run, finished."""
    folder = home.create_run(tiny_recipe(budget=Budget(n_trials=N_TRIALS)), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([RunStateChanged(state="running")])
        for first in range(0, N_TRIALS, 500):
            writer.apply([e for n in range(first, first + 500) for e in whole_trial(n)])
        writer.apply([RunStateChanged(state="finished")])
    return folder


def hello(run_id: str, client: str) -> dict[str, Any]:
    return {"type": "hello", "v": 1, "client": client, "cid": client, "run": run_id, "have": None}


@pytest.mark.timed
def test_f38_a_panel_of_a_hundred_thousand_trials_gets_small_messages(home, large, figures):
    hub, browser = Hub(Controller(home)), Browser()
    hub.add_source(large)
    begin, worked = time.perf_counter(), time.process_time()
    hub.receive(hello(large.id, "a"), browser, "s", 0)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - worked
    for n in range(50):  # five seconds of a page that is open
        hub.tick(n / 10)
    hub.close()
    assert browser.kinds == ["welcome", "snapshot"]  # a run that is over sends nothing more
    assert max(browser.sizes) < MOST_BYTES
    figures.add("F38", trials=N_TRIALS, points=6 * N_TRIALS, messages=len(browser.sizes))
    figures.add("F38", largest_message_bytes=max(browser.sizes))
    figures.add("F38", first_answer_s=[seconds], first_answer_cpu_s=[cpu_seconds])


def test_f38_pages_that_come_and_go_leave_the_kernel_as_it_was(home, large, figures):
    hub, this = Hub(Controller(home)), psutil.Process()
    hub.add_source(large)
    sizes = []
    for n in range(12):
        hub.receive(hello(large.id, f"page {n}"), Browser(), f"s{n}", n)
        hub.forget(f"s{n}", n)
        sizes.append(this.memory_info().rss)
    hub.close()
    figures.add("F38", memory_after_1_page=sizes[0], memory_after_12_pages=sizes[-1])
    assert sizes[-1] < sizes[2] + 50e6


def test_f38_a_trial_among_a_hundred_thousand_is_read_by_itself(large, figures):
    with large.reader() as reader:
        begin = time.perf_counter()
        points = reader.points(trial=N_TRIALS // 2)
        seconds = time.perf_counter() - begin
        assert len(points.values) == 6
    figures.add("F38", one_curve_s=[seconds])
