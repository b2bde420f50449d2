"""`Run`: what a user holds of a run, in any kernel or script; drawn from its folder alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from nbautoml.api.namespace import current_shell
from nbautoml.api.pictures import Pictures
from nbautoml.api.steering import Steering
from nbautoml.api.texts import Code, run_line
from nbautoml.api.trials import (
    OF_STUDIES,
    TrialView,
    best_row,
    curves_frame,
    no_best,
    trials_frame,
)
from nbautoml.errors import NbAutomlError, nearest
from nbautoml.spec.fronts import front_of_trials
from nbautoml.store import Home, RunFolder, RunInfo
from nbautoml.store.peek import peek

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from torch import nn

    from nbautoml.api.compressed import Verdicts
    from nbautoml.api.verification import Verification
    from nbautoml.measure import Figures
    from nbautoml.spec.recipe import Recipe

__all__ = ["Run"]


@final
class Run(Steering, Pictures):
    """One run: what it does, what it found, and how to steer it.

    A handle on a folder: it holds no state of its own, so two of them never disagree, and one
    made in a new kernel by `nbautoml.load` is as good as the one that `tune` returned.

    Args:
        folder: the run's folder.
        home: where it lies; found from the folder when left out.
        notes: what was said when it was submitted.
        is_own: whether this process submitted it: then its code may be run here.
    """

    def __init__(
        self,
        folder: RunFolder,
        home: Home | None = None,
        *,
        notes: Sequence[str] = (),
        is_own: bool = False,
    ) -> None:
        self._folder = folder
        self._home = home or Home(folder.path.parent.parent)
        self._is_own = is_own
        self._shown_in: int | None = None
        self.notes: tuple[str, ...] = tuple(notes)

    # -- what it is -------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe:
        """What was asked to run; only its budget may change, by `resume`."""
        return self._folder.recipe()

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return self._folder

    @property
    def home(self) -> Home:
        """Where the run's folder lies, beside the others."""
        return self._home

    @property
    def name(self) -> str:
        """The label that it was given."""
        return self.recipe.name

    @property
    def id(self) -> str:
        """The id that names its folder; no other run has it."""
        return self._folder.id

    @property
    def kind(self) -> str:
        """What kind of run it is: "tune", "train" or "compress"."""
        return self.recipe.kind

    @property
    def info(self) -> RunInfo:
        """Where it stands, in numbers."""
        return peek(self._folder)

    @property
    def state(self) -> str:
        """queued, running, paused, finished, stopped, failed or interrupted."""
        return self.info.state

    @property
    def message(self) -> str:
        """Why it is in that state, for people; often empty."""
        return self.info.message

    @property
    def plan(self) -> str:
        """How its trials are executed, and why."""
        with self._folder.reader() as reader:
            return reader.run().plan

    @property
    def code(self) -> Code:
        """The capsule: all source that the workers run."""
        from nbautoml.capsule import Capsule

        return Code(Capsule.load(self._folder.capsule_dir))

    def diff(self, other: Run | str) -> str:
        """How another run's code differs from this one's, as a unified diff; empty when equal."""
        run = other if isinstance(other, Run) else Run(self._home.find(other), self._home)
        return self.code.diff(run.code)

    # -- what it found ----------------------------------------------------------------------

    @property
    def best(self) -> TrialView:
        """The best trial; of a compression the smallest and fastest model within the limits.

        Raises:
            NbAutomlError: no trial is complete; says what happened, and what to do.
        """
        rows = self._rows()
        if self.kind == "compress":
            from nbautoml.api.compressed import picked_row

            return self._view(picked_row(self.name, self.state, self.recipe, rows))
        if len(self.recipe.objectives) > 1:
            raise NbAutomlError(
                f"run {self.name!r} has {len(self.recipe.objectives)} objectives and no single best",
                hint=f"{self.name}.front has those that no other beats in all of them",
            )
        row = best_row(rows, self.recipe.objectives[0])
        if row is None:
            raise no_best(self.name, self.state, rows)
        return self._view(row)

    @property
    def front(self) -> pd.DataFrame:
        """The complete trials that no other beats in all objectives, the first objective's best first.

        Their weights are kept: ``run.model(number)`` builds one of them. With one objective it is
        the best trial, and those that are equally good.
        """
        return trials_frame(front_of_trials(self._rows(), self.recipe.objectives))

    @property
    def verdicts(self) -> Verdicts:
        """Of a compression: a sentence about each technique that was tried, and about the pick.

        Raises:
            NbAutomlError: it is no compression.
        """
        from nbautoml.api.compressed import verdicts_of

        return verdicts_of(self.name, self.recipe, self._rows())

    def layers(self, trial: int | None = None) -> pd.DataFrame:
        """Of a compressed model: a row a layer, with its figures before and after.

        ``out`` (channels or neurons), ``bits``, ``weights``, ``macs``, ``ms`` (eager, one thread),
        each ``_before`` and ``_after``; nothing on the side where there is no such layer.

        Args:
            trial: number of the trial; the pick when left out.

        Raises:
            NbAutomlError: it is no compression, or the model was not kept.
        """
        from nbautoml.api.compressed import layers_frame

        number = self.best.number if trial is None else self.trial(trial).number
        return layers_frame(self._folder, self.recipe, number)

    @property
    def best_model(self) -> nn.Module:
        """The best trial's module with its trained weights: see `model`."""
        return self.model()

    def model(self, trial: int | None = None, *, run_code: bool = False) -> nn.Module:
        """The module of a trial with its trained weights, on the CPU, in evaluation mode.

        Args:
            trial: number of the trial; the best when left out.
            run_code: the run's own code may be executed here, when the class is not defined in
                the notebook as it was at submission. Not for runs that you do not trust.

        Raises:
            NbAutomlError: no weights were kept for that trial, or the class is not here. Of a
                trial that goes on there are those of its best epoch up to its last checkpoint.
            StoreError: the weights are not what was written.
        """
        from nbautoml.api.models import rebuild_module

        row = (self.best if trial is None else self.trial(trial)).row
        return rebuild_module(
            self._folder,
            self.recipe,
            row,
            _names_here(),
            may_run_code=run_code or self._is_own,
        )

    def measure(
        self,
        model: nn.Module | None = None,
        *,
        batch_sizes: Sequence[int] = (1, 64),
        should_compile: bool = False,
    ) -> Figures:
        """Weights, MACs, bytes, milliseconds, joules of a module on this run's data and this machine.

        Args:
            model: a module that takes the run's inputs; the best one when left out.
            batch_sizes: rows a call; latency is measured for each.
            should_compile: time ``torch.compile``, too; compiling takes seconds a batch size.

        Raises:
            DataError: the run has no data.
        """
        from nbautoml.api.measuring import measure_on_data

        module = self.best_model if model is None else model
        return measure_on_data(
            module, self.recipe, self._home, batch_sizes, should_compile=should_compile
        )

    def trial(self, number: int) -> TrialView:
        """One trial.

        Raises:
            NbAutomlError: there is no trial of that number.
        """
        rows = self._rows()
        for row in rows:
            if row.number == number:
                return self._view(row)
        raise NbAutomlError(
            f"run {self.name!r} has no trial {number!r}",
            hint=f"it has trials 0 to {rows[-1].number}" if rows else "it has no trials yet",
        )

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial: number, state, value, duration_s, each parameter, each metric.

        With several objectives also ``on_front``; ``value`` is the first objective's.
        """
        return trials_frame(self._rows(), self.recipe.objectives)

    @property
    def curves(self) -> pd.DataFrame:
        """A row a measured value: trial, name, epoch (0 inside an epoch), step, value."""
        return self._curves_of(None)

    @property
    def study(self) -> optuna.Study:
        """The trials as a real `optuna.Study`, rebuilt from the record: a copy, in memory."""
        from nbautoml.api.studies import rebuild_study

        return rebuild_study(self._folder, self.recipe)

    def to_optuna(self, url: str, *, name: str | None = None) -> str:
        """Write the trials as a study that optuna-dashboard opens; returns the study's name.

        Args:
            url: of Optuna's storage, such as ``sqlite:///digits.db``.
            name: of the study; the run's name when left out.

        Raises:
            StoreError: the storage cannot be written, or has a study of that name.
        """
        from nbautoml.api.studies import write_study

        return write_study(self._folder, self.recipe, url, name or self.name)

    def verify(
        self, trials: int | Sequence[int] | None = None, *, run_code: bool = False
    ) -> Verification:
        """Train some trials again, beside the run, and say which give the same numbers.

        Args:
            trials: how many (the best first, then others by chance), or their numbers; 3 when
                left out.
            run_code: the run came in an archive, and its code may be executed all the same.

        Raises:
            NbAutomlError: the run goes on, has no finished trial, or cannot be repeated.
        """
        from nbautoml.api.verify import verify_run

        return verify_run(self, trials, run_code=run_code)

    # -- shown ------------------------------------------------------------------------------

    def panel(self) -> Any:
        """The live panel as a widget, to be composed with other ipywidgets."""
        from nbautoml.api.showing import panel_for

        return panel_for(self)

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write one self-contained HTML file; returns where it lies.

        Args:
            path: the file; the run's name with ``.html`` when left out.
        """
        from nbautoml.api.report import write_report
        from nbautoml.store.files import file_name

        return write_report(
            self, Path(path) if path is not None else Path(file_name(self.name, ".html"))
        )

    def __repr__(self) -> str:
        return f"Run({run_line(self.info, self.recipe)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other._folder.path == self._folder.path

    def __hash__(self) -> int:
        return hash(self._folder.path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from nbautoml.api.showing import bundle_for

        return bundle_for(self)

    def _ipython_display_(self) -> None:
        from nbautoml.api.showing import show

        shell = current_shell()
        if shell is not None and self._shown_in == shell.execution_count:
            self._shown_in = None  # the magic of this cell has shown it
            return
        show(self)

    def show_once(self) -> Run:
        """Show it now; as the value of this cell it is then not shown a second time.

        In a terminal only the value is shown: an output there cannot be updated.
        """
        from nbautoml.api.showing import show

        shell = current_shell()
        if shell is not None and getattr(shell, "kernel", None) is not None:
            show(self)
            self._shown_in = shell.execution_count
        return self

    # -- inside -----------------------------------------------------------------------------

    def _rows(self) -> Sequence[Any]:
        with self._folder.reader() as reader:
            return reader.trials()

    def _view(self, row: Any) -> TrialView:
        return TrialView(row, self.recipe.objectives[0].metric, self._curves_of)

    def _curves_of(self, trial: int | None) -> pd.DataFrame:
        with self._folder.reader() as reader:
            return curves_frame(reader.points(trial=trial))

    def __getattr__(self, name: str) -> Any:
        # Only for names that are nowhere else; IPython asks for many that begin with _.
        near = (
            "" if name.startswith("_") else OF_STUDIES.get(name) or nearest(name, dir(type(self)))
        )
        raise AttributeError(
            f"a Run has no attribute {name!r}" + (f"; did you mean {near!r}?" if near else "")
        )


def _names_here() -> Mapping[str, Any]:
    """The notebook's names, or those of the script."""
    import __main__

    shell = current_shell()
    names: Mapping[str, Any] = shell.user_ns if shell is not None else vars(__main__)
    return names
