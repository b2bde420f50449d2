"""The sheet of figures: rows of now replace those of before, and a goal is reached or not, in words."""

from __future__ import annotations

import json

from fault_runs import Figures


def test_a_row_that_is_measured_again_holds_nothing_of_before(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"F1": {"kills": 3, "old": 1}, "F2": {"kills": 5}}))
    figures = Figures(path)
    figures.add("F1", kills=200)
    figures.add("F1", lost=0)
    found = json.loads(path.read_text())
    assert {k: v for k, v in found["F1"].items() if k != "load"} == {"kills": 200, "lost": 0}
    assert found["F2"] == {"kills": 5}


def test_goals_are_told_where_nothing_else_runs_and_fail_no_test(tmp_path):
    path = tmp_path / "faults.json"
    goals = {"ready_s_max": 2.0, "ready_s_median": 0.5}
    Figures(path).within("F2", goals, ready_s=[0.4, 0.6, 3.0])
    Figures(path, is_quiet=True).within("F2", goals, ready_s=[0.4, 0.45, 3.0])
    found = json.loads(path.read_text())
    assert not [name for name in found["F2"] if "goal" in name]
    assert found["F2, alone"]["goal_ready_s_max"] == "<= 2 not reached"
    assert found["F2, alone"]["goal_ready_s_median"] == "<= 0.5 reached"
