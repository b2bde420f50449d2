"""What a store must do, wherever its records lie: a suite of tests to inherit.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def folder(self, tmp_path, monkeypatch):
            monkeypatch.setenv("NBAUTOML_STORE", "...")
            return Home(tmp_path / "home").create_run(tiny_recipe(), None)
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbautoml.errors import StoreError
from nbautoml.events import (
    EpochEnded,
    LogLine,
    ParamsSuggested,
    PlanChosen,
    RunStateChanged,
    StepsDone,
    TrialEnded,
    TrialPlanned,
    TrialRequeued,
    TrialStarted,
)
from nbautoml.store import Owner, Reader, RunFolder, Writer
from nbautoml.testing.store_events import (
    artifact,
    obeyed,
    removed,
    started,
    whole_trial,
)
from nbautoml.testing.store_following import FollowingContract

__all__ = ["StoreContract"]


# A writer in a process of its own, which says what it has written and then waits to be killed.
_OTHER_PROCESS = """
import sys
from pathlib import Path
from nbautoml.store import Owner, RunFolder
from nbautoml.testing.store_events import started, whole_trial
from nbautoml.events import EpochEnded, RunStateChanged
folder = RunFolder(Path(sys.argv[1]))
writer = folder.writer(Owner.this_process())
writer.create(folder.recipe())
writer.apply([RunStateChanged(state="running"), *whole_trial(0), *started(1)])
writer.apply([EpochEnded(trial=1, epoch=1, step=5, metrics={"accuracy": 0.5})])
print("written", flush=True)
sys.stdin.read()
"""


class StoreContract(FollowingContract):
    """Tests of one store; a subclass gives the fixture ``folder``: a new run of `tiny_recipe`."""

    @pytest.fixture
    def folder(self) -> RunFolder:
        """A new run."""
        raise NotImplementedError

    @pytest.fixture
    def writer(self, folder: RunFolder) -> Iterator[Writer]:
        """The run's writer, with the run created."""
        with folder.writer(Owner.this_process()) as writer:
            writer.create(folder.recipe())
            yield writer

    @pytest.fixture
    def reader(self, folder: RunFolder, writer: Writer) -> Iterator[Reader]:
        """A reader of the same run."""
        with folder.reader() as reader:
            yield reader

    def test_run_without_a_supervisor_reads_as_queued(self, folder: RunFolder) -> None:
        """Between the cell and the supervisor's first word there is a run already."""
        with folder.reader() as reader:
            assert (reader.run().state, reader.run().name) == ("queued", "digits")
            assert reader.trials() == []
            assert not reader.changes()

    def test_created_run_is_queued(self, reader: Reader, folder: RunFolder) -> None:
        """The recipe's words are in the record."""
        run = reader.run()
        assert (run.id, run.name, run.kind, run.seq) == (folder.id, "digits", "tune", 0)
        assert run.state == "queued"

    def test_creating_twice_changes_nothing(
        self, writer: Writer, reader: Reader, folder: RunFolder
    ) -> None:
        """A resumed run is created again by its new owner."""
        writer.apply([RunStateChanged(state="running")])
        writer.create(folder.recipe())
        assert reader.run().state == "running"

    def test_each_event_counts_once(self, writer: Writer) -> None:
        """Seq grows by one with each event."""
        assert writer.apply([LogLine(text="a"), LogLine(text="b")]) == 2
        assert writer.apply([LogLine(text="c")]) == 3
        assert writer.apply([]) == 3

    def test_run_states_and_times(self, writer: Writer, reader: Reader) -> None:
        """The first start and the last end are kept."""
        writer.apply([RunStateChanged(state="running", time=5.0)])
        writer.apply([RunStateChanged(state="paused", time=6.0)])
        writer.apply([RunStateChanged(state="running", time=7.0)])
        assert (reader.run().started_at, reader.run().ended_at) == (5.0, None)
        writer.apply([RunStateChanged(state="finished", message="all done", time=8.0)])
        run = reader.run()
        assert (run.state, run.message, run.started_at, run.ended_at) == (
            "finished",
            "all done",
            5.0,
            8.0,
        )

    def test_plan_is_kept(self, writer: Writer, reader: Reader) -> None:
        """Why trials are executed as they are."""
        writer.apply([PlanChosen(text="2 workers", details={"ms": 1.5})])
        assert (reader.run().plan, reader.run().plan_details) == ("2 workers", {"ms": 1.5})

    def test_trial_goes_from_waiting_to_complete(self, writer: Writer, reader: Reader) -> None:
        """The life of a trial, one transaction a step."""
        states = []
        for event in whole_trial(0, n_epochs=1):
            writer.apply([event])
            states.append(reader.trials()[0].state)
        assert states == ["waiting", "running", "running", "complete"]

    def test_whole_trial_in_one_transaction_reads_the_same(
        self, writer: Writer, reader: Reader
    ) -> None:
        """What is batched is not lost."""
        writer.apply(whole_trial(3))
        (trial,) = reader.trials()
        assert trial.params == {"lr": 0.025, "optimizer": "adam"}
        assert (trial.number, trial.state, trial.value, trial.values) == (
            3,
            "complete",
            0.003,
            (0.003,),
        )
        assert (trial.epoch, trial.step, trial.metrics) == (3, 30, {"accuracy": 0.003})
        assert (trial.worker, trial.attempt) == (1003, 1)

    def test_finished_trial_never_changes(self, writer: Writer, reader: Reader) -> None:
        """A second end, a late epoch, a new start: left out, and said so in the log."""
        writer.apply(whole_trial(0))
        before = reader.trials()
        n_points = len(reader.points())
        writer.apply([TrialEnded(trial=0, state="failed", error="late")])
        writer.apply([EpochEnded(trial=0, epoch=9, step=9, metrics={"accuracy": 0.0})])
        writer.apply(
            [
                TrialStarted(trial=0, worker=1),
                TrialRequeued(trial=0, reason="?"),
                TrialPlanned(trial=0, params={"lr": 9}),
                ParamsSuggested(trial=0, params={"lr": 9}),
            ]
        )
        assert reader.trials() == before
        assert len(reader.points()) == n_points
        assert len(reader.logs()) == 6
        assert all(line.level == "warning" and line.trial == 0 for line in reader.logs())

    def test_event_of_an_unknown_trial_is_left_out(self, writer: Writer, reader: Reader) -> None:
        """It is logged, and what came with it is kept."""
        writer.apply([StepsDone(trial=9, name="loss", steps=[1], values=[1.0]), *started(0)])
        assert [trial.number for trial in reader.trials()] == [0]
        assert "trial 9" in reader.logs()[0].text

    def test_waiting_trial_can_be_called_off_but_holds_no_result(
        self, writer: Writer, reader: Reader
    ) -> None:
        """Stopping a run ends what has not begun."""
        writer.apply([TrialPlanned(trial=n, params={}) for n in (0, 1)])
        writer.apply([TrialEnded(trial=0, state="cancelled")])
        writer.apply([TrialEnded(trial=1, state="complete", values=[1.0])])
        assert [trial.state for trial in reader.trials()] == ["cancelled", "waiting"]

    def test_page_has_the_open_the_best_and_the_newest(
        self, writer: Writer, reader: Reader
    ) -> None:
        """Of many trials; how many there are of each state is told of all."""
        writer.apply([TrialPlanned(trial=0, params={})])
        for n in range(1, 12):
            writer.apply(whole_trial(n, n_epochs=1))  # its value grows with its number
        writer.apply([TrialPlanned(trial=12, params={}), TrialEnded(trial=12, state="cancelled")])
        page = reader.page("minimize", n_each=2)
        assert [row.number for row in page.trials] == [0, 1, 2, 11, 12]
        assert page.counts == {"waiting": 1, "complete": 11, "cancelled": 1}
        assert page.cursor == reader.cursor
        best = [row.number for row in reader.page("maximize", n_each=3).trials]
        assert best == [0, 9, 10, 11, 12]
        assert reader.page("minimize").trials == reader.trials()

    def test_points_keep_their_order_and_names(self, writer: Writer, reader: Reader) -> None:
        """Steps inside an epoch have epoch 0."""
        writer.apply(started(0))
        writer.apply([StepsDone(trial=0, name="step_loss", steps=[1, 2], values=[0.9, 0.8])])
        writer.apply([EpochEnded(trial=0, epoch=1, step=2, metrics={"accuracy": 0.5})])
        points = reader.points()
        assert points.names == ["step_loss", "step_loss", "accuracy"]
        assert (points.steps, points.epochs) == ([1, 2, 2], [0, 0, 1])
        assert points.values == [0.9, 0.8, 0.5]
        assert points.ids == sorted(points.ids)

    def test_points_of_a_trial_a_name_and_a_limit(self, writer: Writer, reader: Reader) -> None:
        """Filters go together."""
        writer.apply([*whole_trial(0), *whole_trial(1)])
        some = reader.points(trial=1, name="loss", limit=2)
        assert (some.trials, some.names, some.epochs) == ([1, 1], ["loss", "loss"], [1, 2])
        rest = reader.points(some.ids[-1], trial=[0, 1], name=["loss"])
        assert rest.epochs == [3]

    def test_numbers_that_are_not_finite_come_back(self, writer: Writer, reader: Reader) -> None:
        """NaN and the infinities, in points, values, metrics and params."""
        odd = [math.nan, math.inf, -math.inf, 1e308, -1.5, 5e-324]
        writer.apply(
            [
                TrialPlanned(trial=0, params={"x": math.inf, "y": math.nan}),
                TrialStarted(trial=0, worker=1),
                StepsDone(trial=0, name="loss", steps=list(range(6)), values=odd),
                TrialEnded(
                    trial=0, state="failed", values=[math.nan, -0.0], metrics={"a": math.nan}
                ),
            ]
        )
        assert list(map(repr, reader.points().values)) == list(map(repr, odd))
        (trial,) = reader.trials()
        assert repr(trial.params) == "{'x': inf, 'y': nan}"
        assert repr((trial.value, trial.values)) == "(nan, (nan, -0.0))"
        assert repr(trial.metrics) == "{'a': nan}"

    def test_params_keep_their_types(self, writer: Writer, reader: Reader) -> None:
        """Plain JSON: whole numbers of any size, booleans, None, text, lists."""
        params = {"n": 10**30, "b": True, "none": None, "t": "naïve ☃", "units": [64, 32], "f": 1.0}
        writer.apply([TrialPlanned(trial=0, params=params)])
        assert repr(dict(reader.trials()[0].params)) == repr(params)

    def test_artifacts_and_commands_are_listed(self, writer: Writer, reader: Reader) -> None:
        """With all that was said of them; a command's second acknowledgement is left out."""
        writer.apply([*started(0), artifact(0, "a.bin"), artifact(None, "b.bin")])
        writer.apply([obeyed("c1"), obeyed("c1")])
        assert [row.path for row in reader.artifacts()] == ["a.bin", "b.bin"]
        (row,) = reader.artifacts(trial=0)
        assert (row.kind, row.sha256, row.n_bytes, row.details) == (
            "weights",
            "0" * 64,
            3,
            {"k": 1},
        )
        assert [command.command_id for command in reader.commands()] == ["c1"]
        assert writer.has_obeyed("c1")

    def test_removed_artifact_is_forgotten(self, writer: Writer, reader: Reader) -> None:
        """Also one that was written in the same transaction."""
        writer.apply([artifact(0, "a.bin"), artifact(0, "b.bin")])
        writer.apply([artifact(0, "c.bin"), *map(removed, ("a.bin", "c.bin", "never.bin"))])
        assert [row.path for row in reader.artifacts()] == ["b.bin"]

    def test_newest_log_lines(self, writer: Writer, reader: Reader) -> None:
        """A limit keeps the newest, in order."""
        writer.apply([LogLine(text=str(n)) for n in range(5)])
        assert [line.text for line in reader.logs(limit=2)] == ["3", "4"]

    @pytest.mark.parametrize(
        "text",
        ["'; DROP TABLE trial; --", "a\x00b", "\ud800", "<img src=x>", "x" * 60_000, "☃%s{0}"],
        ids=["sql", "nul", "surrogate", "html", "long", "odd"],
    )
    def test_any_text_is_only_text(self, writer: Writer, reader: Reader, text: str) -> None:
        """Texts of users and of their code are stored, cut where too long, and harm nothing."""
        writer.apply(
            [
                TrialPlanned(trial=0, params={"p": text}),
                TrialStarted(trial=0, worker=1, device=text),
                StepsDone(trial=0, name=text, steps=[1], values=[1.0]),
                LogLine(text=text, level=text),
                RunStateChanged(state="running", message=text),
                TrialEnded(trial=0, state="failed", error=text, traceback=text),
            ]
        )
        (trial,) = reader.trials()
        assert trial.params == {"p": text}
        assert len(trial.error) <= 2_000
        assert len(trial.traceback) <= 20_000
        assert len(reader.points().names[0]) <= 200

    def test_reader_sees_one_moment(self, writer: Writer, reader: Reader) -> None:
        """Rows of a half-done transaction never show: trials and their points agree."""
        for number in range(20):
            writer.apply(whole_trial(number, n_epochs=2))
            now = reader.changes()
            assert len(now.points) == 4 * len(now.trials)
            assert now.run.seq == now.cursor.seq

    def test_second_writer_is_refused(self, writer: Writer, folder: RunFolder) -> None:
        """And told who has it."""
        with pytest.raises(StoreError, match=f"process {os.getpid()}"):
            folder.writer(Owner.this_process())

    def test_closed_run_that_was_running_is_interrupted(
        self, folder: RunFolder, reader: Reader, writer: Writer
    ) -> None:
        """Its owner let go of it, though its process lives on."""
        writer.apply([RunStateChanged(state="running")])
        writer.close()
        writer.close()
        assert reader.run().state == "interrupted"

    def test_run_of_a_killed_owner_is_interrupted_and_recovers(self, folder: RunFolder) -> None:
        """What was finished stays; what ran waits again, with the next attempt and its curve."""
        with _written_by_another(folder.path) as process:
            process.kill()
        with folder.reader() as reader:
            assert reader.run().state == "interrupted"
            before = reader.changes()
            with folder.writer(Owner.this_process()) as writer:
                writer.create(folder.recipe())
                writer.recover()
                writer.recover()
                after = reader.changes(before.cursor)
                done, again = reader.trials()
            assert (before.trials[0], again.state, again.attempt) == (done, "waiting", 2)
            assert after.dropped == []
            assert reader.points().trials.count(1) == 1

    def test_no_trial_runs_in_a_run_whose_owner_is_gone(self, folder: RunFolder) -> None:
        """Who follows is told once; who comes later sees the same, and counts as many."""
        with folder.reader() as reader:
            with _written_by_another(folder.path) as process:
                before = reader.changes()
                process.kill()
            gone = reader.changes(before.cursor)
            assert [trial.state for trial in before.trials] == ["complete", "running"]
            assert [(trial.number, trial.state) for trial in gone.trials] == [(1, "waiting")]
            assert not reader.changes(gone.cursor)
            assert gone.cursor == reader.cursor == reader.page("maximize").cursor
            states = [trial.state for trial in reader.trials()]
            page = reader.page("maximize")
            assert states == [trial.state for trial in page.trials] == ["complete", "waiting"]
            assert page.counts == {"complete": 1, "waiting": 1}
            with folder.writer(Owner.this_process()) as writer:
                writer.create(folder.recipe())
                writer.recover()
                (again,) = reader.changes(gone.cursor).trials
                assert (again.number, again.state, again.attempt) == (1, "waiting", 2)

    def test_writer_goes_on_where_another_ended(self, folder: RunFolder) -> None:
        """Seq, open trials and finished ones are as they were."""
        for number in range(3):
            with folder.writer(Owner.this_process()) as writer:
                writer.create(folder.recipe())
                writer.apply(whole_trial(number))
                writer.apply([TrialEnded(trial=0, state="failed")])
        with folder.reader() as reader:
            assert [trial.state for trial in reader.trials()] == ["complete"] * 3
            assert reader.run().seq == 3 * 7


@contextmanager
def _written_by_another(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One finished and one running trial by a process that waits to be killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"written"
        yield process
