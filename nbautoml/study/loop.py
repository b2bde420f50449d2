"""Optuna's study as our study drives it: trials opened, drawn, reported on, closed, taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.errors import RecipeError
from nbautoml.spec.space import Dimension
from nbautoml.study.bridge import optuna_state, quiet, suggest
from nbautoml.study.entries import Entry
from nbautoml.study.export import CONSTRAINTS, frozen_trial
from nbautoml.study.makers import Source
from nbautoml.study.samplers import SamplerInfo
from nbautoml.study.situation import Situation, derived_seed
from nbautoml.study.stoppers import StopperInfo
from nbautoml.study.views import SamplerView, StopperView

if TYPE_CHECKING:
    import optuna

__all__ = ["Loop"]

_NAME = "nbautoml"  # fixed, because Hyperband's brackets hang on it
_STOPPER_SEES = 500
_REPLAYED = 1000
_ALL = 10**9


class Loop:
    """An Optuna study in memory. Its trials' numbers are Optuna's business: see `Study`.

    Args:
        situation: what is varied and judged.
        sampler, stopper: what works here.
        source: where a grid's or Sobol's points come from.
        is_in_rounds: answers hang on what was told alone: see `nbautoml.study.rounds`.
    """

    def __init__(
        self,
        situation: Situation,
        sampler: SamplerInfo,
        stopper: StopperInfo,
        source: Source,
        *,
        is_in_rounds: bool = False,
    ) -> None:
        from nbautoml.study.live import Graced, LiveStudy, Memory, Reseedable

        self._situation = situation
        self._sampler_info, self._stopper_info = sampler, stopper
        self._source = source
        self._is_in_rounds = is_in_rounds
        self._failed: set[int] = set()
        self.n_complete = 0
        with quiet():
            self._memory = Memory()
            self._memory.create_new_study(_directions(situation.directions), _NAME)
            self._lasting: Any = self._new_sampler(0)
            self._can_reseed = isinstance(self._lasting, Reseedable)
            pruner: Any = stopper.make(situation)
            if stopper.n_startup:
                pruner = Graced(pruner, stopper.n_startup, lambda: self.n_complete)
            self._study: Any = LiveStudy(_NAME, self._memory, sampler=self._lasting, pruner=pruner)
        signs = tuple(-1 if d == "maximize" else 1 for d in situation.directions)
        self._shown_to_sampler = SamplerView(
            signs, sampler.shown or _ALL, self._failed, enough_good=sampler.enough_good
        )
        self._shown_to_stopper = StopperView(_STOPPER_SEES)

    @property
    def is_done(self) -> bool:
        """Whether the sampler said that it has nothing left."""
        return bool(self._study.is_done)

    def begin_round(self) -> None:
        """All trials were told: what the sampler is shown is chosen from these."""
        self._shown_to_sampler.begin_round(self._study.get_trials(deepcopy=False))

    def open(
        self, number: int, fixed: Mapping[str, Any] | None
    ) -> tuple[optuna.Trial, dict[str, Any]]:
        """A running trial with its active parameters: drawn, where they are not fixed."""
        with quiet(), self._memory.seen_as(self._shown_to_sampler):
            self._set_sampler(number, 0)
            return self._open(fixed)

    def reopen(self, trial: optuna.Trial, entry: Entry) -> optuna.Trial:
        """A fresh trial for the same point: what was reported cannot be taken back in Optuna."""
        with quiet():
            self._study.tell(trial, state=optuna_state("cancelled"))
        return self.resume(entry)

    def suggest(self, trial: optuna.Trial, number: int, name: str, dimension: Dimension) -> Any:
        """A value for a name that was not known beforehand.

        Raises:
            RecipeError: the name was asked about before with options that do not agree.
        """
        with quiet(), self._memory.seen_as(self._shown_to_sampler):
            self._set_sampler(number, len(trial.params))
            try:
                return suggest(trial, name, dimension)
            except ValueError as error:
                raise RecipeError(f"no value for {name}: {error}") from error

    def report(self, trial: optuna.Trial, step: int, value: float) -> bool:
        """Note a value; True when the stopper would end the trial."""
        trial.report(value, step)
        return self.should_stop(trial)

    def should_stop(self, trial: optuna.Trial) -> bool:
        """What the stopper says of what a trial has reported last."""
        if self._stopper_info.name == "none":
            return False
        with quiet(), self._memory.seen_as(self._judging(trial)):
            return bool(trial.should_prune())

    def close(self, trial: optuna.Trial, entry: Entry) -> None:
        """Tell Optuna how a trial ended."""
        self._count(entry, trial.number)
        is_bare = entry.state == "stopped_early" and not entry.curve
        if is_bare and entry.values is not None and len(entry.values) == 1:
            trial.report(entry.values[0], 1)  # all that is known of where it was stopped
        values = list(entry.values or ()) if entry.state == "complete" else None
        with quiet():
            if entry.constraints:
                broken = list(entry.constraints)
                self._memory.set_trial_system_attr(trial._trial_id, CONSTRAINTS, broken)  # noqa: SLF001
            self._study.tell(trial, values, state=optuna_state(entry.state))

    def take_over(self, entries: Sequence[Entry], space: Mapping[str, Dimension]) -> None:
        """Finished trials of a record, as if they had been opened and closed here.

        Books that a sampler or stopper keeps are replayed for the latest thousand: after as many
        trials the older ones matter no more, and a resume has to be quick.
        """
        n_added = max(0, len(entries) - _REPLAYED) if self._needs_replay else len(entries)
        with quiet():
            for entry in entries[:n_added]:
                if self._sampler_info.needs_replay:
                    self.n_complete += entry.state == "complete"  # it would not look at it again
                else:
                    self._add(entry, space)
            for entry in entries[n_added:]:
                self._replay(entry, space)

    def resume(self, entry: Entry) -> optuna.Trial:
        """A trial of a record that is not finished, open again with its curve."""
        with quiet():
            trial, _ = self._open(entry.params)
            self._replay_curve(trial, entry)
        return trial

    def live_again(self, entries: Sequence[Entry]) -> list[optuna.Trial]:
        """A round of a record: drawn together and trained, as it was; open until it is closed."""
        trials = []
        with quiet():
            for entry in entries:
                with self._memory.seen_as(self._shown_to_sampler):
                    self._set_sampler(entry.number, 0)
                    trials.append(self._open(entry.params)[0])
        if self._situation.n_objectives == 1:
            for trial, entry in zip(trials, entries, strict=True):
                for step in sorted(entry.curve):
                    # One that goes on from a checkpoint before its end is to end there again.
                    if self.report(trial, step, entry.curve[step]) and entry.stopped_at is None:
                        entry.stopped_at = step
        return trials

    def age(self, n_trials: int) -> None:
        """A sampler that lives as long as the study must not draw what it drew before a resume."""
        with quiet():
            self._lasting = self._new_sampler(n_trials)

    @property
    def _needs_replay(self) -> bool:
        return self._sampler_info.needs_replay or self._stopper_info.needs_replay

    def _new_sampler(self, *parts: int) -> Any:
        seed = derived_seed(self._situation.seed, *parts)
        return self._sampler_info.make(self._situation, seed, self._source)

    def _set_sampler(self, number: int, n_drawn: int) -> None:
        # One that lives on carries what an earlier process drew; in rounds nothing may hang on that.
        is_new = self._sampler_info.is_seeded_by_trial or self._is_in_rounds
        if is_new and self._can_reseed:
            self._lasting.reseed(derived_seed(self._situation.seed, number, n_drawn))
        self._study.sampler = (
            self._new_sampler(number, n_drawn) if is_new and not self._can_reseed else self._lasting
        )

    def _open(self, fixed: Mapping[str, Any] | None) -> tuple[optuna.Trial, dict[str, Any]]:
        space = self._situation.space
        if fixed is not None:
            self._study.enqueue_trial(dict(fixed))
        trial = self._study.ask()
        params: dict[str, Any] = dict(fixed or {}) if self._situation.is_open else {}
        try:
            for name in space.order:
                if space.is_active(name, params):
                    params[name] = suggest(trial, name, space[name])
            if self._is_in_rounds and self._sampler_info.needs_replay:
                _ = trial.relative_params  # it notes things while it draws, whoever chose the point
        except BaseException:
            self._study.tell(trial, state=optuna_state("cancelled"))
            raise
        return trial, params

    def _judging(self, trial: optuna.Trial) -> Callable[[list[Any]], list[Any]]:
        """What the stopper sees while it judges a trial."""
        if not self._is_in_rounds:
            return self._shown_to_stopper
        show, own = self._shown_to_stopper, trial.number
        return lambda trials: show([t for t in trials if t.number == own or t.state.is_finished()])

    def _count(self, entry: Entry, optuna_number: int) -> None:
        if entry.state == "failed":
            self._failed.add(optuna_number)
        if entry.state == "complete":
            self.n_complete += 1

    def _add(self, entry: Entry, space: Mapping[str, Dimension]) -> None:
        frozen: Any = frozen_trial(entry, space, is_for_sampler=True)
        if frozen is not None:
            self._count(entry, len(self._study.get_trials(deepcopy=False)))
            self._study.add_trial(frozen)

    def _replay(self, entry: Entry, space: Mapping[str, Dimension]) -> None:
        """For a sampler or stopper that keeps books: let it live through the trial again."""
        if not all(name in space and space[name].contains(v) for name, v in entry.params.items()):
            return
        self._set_sampler(entry.number, 0)
        trial, _ = self._open(entry.params)
        if self._situation.is_open:
            for name in entry.params:
                suggest(trial, name, space[name])
        if self._sampler_info.needs_replay:
            _ = trial.relative_params  # it notes things while it draws
        self._replay_curve(trial, entry)
        self.close(trial, entry)

    def _replay_curve(self, trial: optuna.Trial, entry: Entry) -> None:
        if self._situation.n_objectives > 1:
            return
        with self._memory.seen_as(self._judging(trial)):
            for step in sorted(entry.curve):
                trial.report(entry.curve[step], step)
                if self._stopper_info.needs_replay:
                    trial.should_prune()


def _directions(directions: Iterable[str]) -> list[Any]:
    from optuna.study import StudyDirection

    return [StudyDirection[direction.upper()] for direction in directions]
