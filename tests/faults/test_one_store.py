"""Many processes and two kernels at one store (F27): nobody meets an error, nor the word "locked"."""

from __future__ import annotations

import pytest
from engine_runs import trials_of, until, wait_for_end
from fault_kernel import TUNE, begin_run, started_kernel
from fault_runs import OBJECTIVE, check_what_was_told, n_points
from store_crowd import crowd

pytestmark = pytest.mark.timeout(1800)

N_PROCESSES = 8
OURS = sorted([*(f"run {n}" for n in range(N_PROCESSES)), "wanted by all"])


def test_f27_eight_processes_at_a_new_store_meet_no_error(tmp_path, figures):
    n_rounds = max(3, n_points(0) // 4)
    found = crowd(tmp_path, n_processes=N_PROCESSES, n_rounds=n_rounds)
    assert sorted(found) == list(range(N_PROCESSES))
    errors = [seen["error"] for rounds in found.values() for seen in rounds if "error" in seen]
    assert errors == []
    for n in range(n_rounds):
        seen = [rounds[n] for rounds in found.values()]
        assert [one["n_trials"] for one in seen] == [3] * N_PROCESSES
        assert [one["runs"] for one in seen] == [OURS] * N_PROCESSES
        refused = [one["wanted"] for one in seen if one["wanted"] != "made"]
        assert len(refused) == N_PROCESSES - 1
        for words in refused:
            assert "is going on" in words
            assert "locked" not in words
    figures.add("F27", processes=N_PROCESSES, rounds=n_rounds, errors=0, runs=9 * n_rounds)


@pytest.mark.nightly
def test_f27_two_kernels_write_and_read_one_store(kernel, kernels, home, acked, tmp_path):
    other = started_kernel(tmp_path, "import nbautoml")
    kernels.append(other)
    hills = begin_run(kernel, home, 4000)
    other.run(TUNE.format(n=60).replace("hills", "mounts") + OBJECTIVE)
    mounts = home.find("mounts")
    for _ in range(10):
        for one, name in ((kernel, "mounts"), (other, "hills")):
            one.run("%automl runs")
            one.run(f"import nbautoml; seen = nbautoml.load({name!r}).trials")
    other.run("%automl pause hills")
    until(lambda: kernel.value("hills.state") == "paused", what="the pause")
    other.run("%automl resume hills")
    until(lambda: kernel.value("hills.state") == "running", what="going on")
    assert wait_for_end(mounts) == "finished"
    assert kernel.value("len(nbautoml.load('mounts').trials)") == "60"
    other.run("%automl stop hills")
    assert wait_for_end(hills) == "stopped"
    check_what_was_told({row.number: row for row in trials_of(hills)}, acked)
    n_complete = sum(row.state == "complete" for row in trials_of(hills))
    assert other.value("sum(nbautoml.load('hills').trials.state == 'complete')") == str(n_complete)
