"""What a store tells who follows a run, and what becomes of curves when a trial starts again.

A part of `nbautoml.testing.store_contract.StoreContract`, which gives the fixtures.
"""

from __future__ import annotations

import pytest

from nbautoml.events import (
    EpochEnded,
    LogLine,
    TrialEnded,
    TrialRequeued,
    TrialRestarted,
    TrialStarted,
)
from nbautoml.store import Reader, Writer
from nbautoml.testing.store_events import epochs, obeyed, started, whole_trial

__all__ = ["FollowingContract"]


class FollowingContract:
    """Tests with a run's ``writer``, and a ``reader`` of the same run."""

    def test_requeued_trial_keeps_its_number_and_its_curve_until_it_starts(
        self, writer: Writer, reader: Reader
    ) -> None:
        """An attempt that starts anew drops what the one before measured."""
        writer.apply([*started(0), EpochEnded(trial=0, epoch=1, step=5, metrics={"a": 1.0})])
        writer.apply([TrialRequeued(trial=0, reason="killed")])
        (trial,) = reader.trials()
        assert (trial.number, trial.state, trial.attempt) == (0, "waiting", 2)
        assert (trial.epoch, trial.metrics, trial.started_at) == (1, {"a": 1.0}, None)
        assert reader.points().values == [1.0]
        writer.apply([TrialStarted(trial=0, worker=2)])
        (trial,) = reader.trials()
        assert (trial.state, trial.epoch, trial.step, trial.metrics) == ("running", 0, 0, {})
        assert len(reader.points()) == 0

    @pytest.mark.parametrize("n_batches", [1, 2, 99])
    def test_trial_that_goes_on_keeps_its_curve_up_to_there(
        self, writer: Writer, reader: Reader, n_batches: int
    ) -> None:
        """No gap, no step twice, whoever read along; however the events were batched."""
        events = [
            *started(0),
            *epochs(0, range(1, 6)),
            TrialRequeued(trial=0, reason="killed"),
            TrialStarted(trial=0, worker=2, epoch=3, step=30),
            *epochs(0, range(4, 6)),
            TrialRestarted(trial=0, reason="no memory", epoch=4, step=40),
            *epochs(0, range(5, 8)),
            TrialEnded(trial=0, state="complete", values=[1.0]),
        ]
        seen: list[int] = []
        cursor = None
        for at in range(0, len(events), n_batches):
            writer.apply(events[at : at + n_batches])
            changes = reader.changes(cursor)
            cursor = changes.cursor
            seen = [] if changes.dropped else seen
            seen += changes.points.steps
        (trial,) = reader.trials()
        assert (trial.state, trial.attempt, trial.epoch) == ("complete", 3, 7)
        wanted = [step for epoch in range(1, 8) for step in (epoch * 10 - 5, epoch * 10)]
        assert reader.points().steps == wanted
        assert seen == wanted

    def test_steps_and_requeueing_in_one_batch_leave_no_points(
        self, writer: Writer, reader: Reader
    ) -> None:
        """The order of events inside a transaction counts."""
        epoch = EpochEnded(trial=0, epoch=1, step=5, metrics={"a": 1.0})
        again = EpochEnded(trial=0, epoch=1, step=5, metrics={"a": 2.0})
        requeued = TrialRequeued(trial=0, reason="killed")
        start = TrialStarted(trial=0, worker=2)
        writer.apply([*started(0), epoch, requeued, start, again])
        assert reader.points().values == [2.0]
        assert reader.trials()[0].attempt == 2

    def test_changes_tell_each_thing_once(self, writer: Writer, reader: Reader) -> None:
        """A tailing reader ends with what a new reader sees."""
        writer.apply(whole_trial(0))
        first = reader.changes()
        writer.apply([*started(1), LogLine(text="hello"), obeyed("c1")])
        second = reader.changes(first.cursor)
        third = reader.changes(second.cursor)
        assert [t.number for t in first.trials] == [0]
        assert [t.number for t in second.trials] == [1]
        assert ([c.command_id for c in second.commands], second.logs[0].text) == (["c1"], "hello")
        assert not third
        assert third.cursor == second.cursor == reader.cursor

    def test_changes_tell_of_dropped_points(self, writer: Writer, reader: Reader) -> None:
        """When the next attempt starts, also when it has points already, and only once."""
        writer.apply([*started(0), EpochEnded(trial=0, epoch=1, step=1, metrics={"a": 1.0})])
        first = reader.changes()
        writer.apply([TrialRequeued(trial=0, reason="killed"), TrialStarted(trial=0, worker=2)])
        writer.apply([EpochEnded(trial=0, epoch=1, step=1, metrics={"a": 2.0})])
        second = reader.changes(first.cursor)
        assert (first.dropped, first.points.values) == ([], [1.0])
        assert (second.dropped, second.points.values) == ([0], [2.0])
        assert reader.changes(second.cursor).dropped == []
        assert reader.changes().dropped == []

    def test_changes_in_portions_lose_no_point(self, writer: Writer, reader: Reader) -> None:
        """A reader that takes few at a time comes to the same end, a drop in between included."""
        writer.apply([event for n in range(4) for event in whole_trial(n)])
        writer.apply([*started(9), EpochEnded(trial=9, epoch=1, step=1, metrics={"a": 1.0})])
        seen: dict[int, int] = {}
        portion = reader.changes(max_points=5)
        for turn in range(100):
            for trial in portion.dropped:
                seen = {key: at for key, at in seen.items() if at != trial}
            seen.update(zip(portion.points.ids, portion.points.trials, strict=True))
            if not portion.points:
                break
            if turn == 2:
                again = TrialStarted(trial=9, worker=2)
                writer.apply([TrialRequeued(trial=9, reason="killed"), again])
            portion = reader.changes(portion.cursor, max_points=5)
        assert list(seen) == reader.points().ids
