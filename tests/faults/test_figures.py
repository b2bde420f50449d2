"""What safety costs: `report` in a trial, and many runs at once (F28)."""

from __future__ import annotations

import json
import statistics

import pytest
from engine_runs import wait_for_end
from fault_runs import n_points, objective_words

from nbautoml.spec.recipe import Execution

pytestmark = [pytest.mark.timed, pytest.mark.nightly, pytest.mark.timeout(1800)]

TIMED = """
def objective(trial):
    import json, os, time
    seconds, judged = [], []
    for step in range(1, {n} + 1):
        begin = time.perf_counter()
        trial.report(1 / step, step)
        seconds.append(time.perf_counter() - begin)
        assert not trial.should_prune()
        judged.append(time.perf_counter() - begin)
        time.sleep({pause})
    for name, measured in (("reports", seconds), ("judgements", judged)):
        place = os.environ["NBAUTOML_TEST_COMPUTED"] + "." + name
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, (json.dumps(measured) + chr(10)).encode())
        os.close(handle)
    return 1.0
"""


def times_of(acked, what: str = "reports") -> list[float]:
    text = (acked.folder / f"computed.{what}").read_text(encoding="utf-8")
    return [value for line in text.splitlines() for value in json.loads(line)]


@pytest.mark.parametrize("stopper", ["none", "median"])
def test_report_is_timed_inside_a_trial(runs, acked, light, figures, stopper):
    words = objective_words(2, execution=Execution(n_workers=2), stopper=stopper)
    folder = runs.submit(TIMED.format(n=2000, pause=0.001), **words)
    assert wait_for_end(folder) == "finished"
    seconds, judged = times_of(acked), times_of(acked, "judgements")
    assert len(seconds) == len(judged) == 4000
    assert statistics.median(seconds) > 0
    figures.add(f"report, stopper {stopper}", report_s=seconds, with_should_prune_s=judged)


def test_f28_ten_runs_at_once_lose_no_point(runs, acked, light, figures):
    n_reports = 30_000 if n_points(0) >= 200 else 1000  # at 100 a second
    source = TIMED.format(n=n_reports, pause=0.01)
    folders = [
        runs.submit(source, **objective_words(1, execution=Execution(n_workers=1)))
        for _ in range(10)
    ]
    wait_s = 240 + 2 * n_reports * 0.01
    assert {wait_for_end(folder, wait_s=wait_s) for folder in folders} == {"finished"}
    for folder in folders:
        with folder.reader() as reader:
            assert reader.points(trial=0).epochs == list(range(1, n_reports + 1))
    figures.add("F28", runs=10, points=10 * n_reports, lost=0, report_s=times_of(acked))
