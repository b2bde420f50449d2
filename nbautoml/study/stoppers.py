"""The stoppers by name: which trials each ends early, and how it is made.

A stopper hears a trial's value after every epoch and answers whether to go on. All of Optuna's
are here; how they are set depends on how many epochs a trial can have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from nbautoml.errors import RecipeError, nearest
from nbautoml.study.rungs import Rungs
from nbautoml.study.samplers import SamplerInfo
from nbautoml.study.situation import Situation

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

__all__ = ["STOPPERS", "StopperInfo", "choose_stopper", "first_rung", "rungs_for", "stopper_for"]

_REDUCTION = 3
_N_STARTUP = 4
_FEWEST_EPOCHS = 4
_FEWEST_TRIALS = 8
_BY_FRONTS = ("asha", "hyperband")


@dataclass(frozen=True, kw_only=True)
class StopperInfo:
    """A stopper as a person chooses it, and as the study uses it.

    Attributes:
        name: as it is typed.
        help: one line: which trials it ends.
        make: from the situation.
        n_startup: how many trials must be complete before it ends any, where it does not count
            them itself.
        needs_replay: it keeps books in the trials, so that a record has to be replayed to it.
    """

    name: str
    help: str
    make: Callable[[Situation], BasePruner]
    n_startup: int = 0
    needs_replay: bool = False


def stopper_for(name: str, situation: Situation, sampler: SamplerInfo) -> tuple[StopperInfo, str]:
    """The stopper of a name, with a line that says why (for ``auto``) or what it will do.

    Raises:
        RecipeError: unknown name (with the nearest), or several objectives and a stopper that
            compares one value.
    """
    reason = ""
    if name == "auto":
        name, reason = choose_stopper(situation, sampler)
    info = STOPPERS.get(name)
    if info is None:
        options = ["auto", *STOPPERS]
        close = nearest(name, options)
        guess = f"did you mean {close!r}? " if close else ""
        raise RecipeError(
            f"there is no stopper {name!r}", hint=f"{guess}One of: {', '.join(options)}"
        )
    if situation.n_objectives > 1 and name not in ("none", *_BY_FRONTS):
        raise RecipeError(
            f"{name} judges a trial by one value, this run has {situation.n_objectives} objectives",
            hint=f"use {' or '.join(_BY_FRONTS)}, which compare by several, or none",
        )
    return info, f"stopper {name}: {reason or info.help}"


def choose_stopper(situation: Situation, sampler: SamplerInfo) -> tuple[str, str]:
    """What ``auto`` means: a stopper's name and why.

    =====================================================  ========
    several objectives                                      none
    the sampler learns from complete trials only            none
    at most three epochs, or fewer than eight trials        none
    nobody knows how many reports a trial makes             median
    anything else                                           asha
    =====================================================  ========
    """
    if situation.n_objectives > 1:
        return (
            "none",
            "with several objectives few trials are behind in all; asha compares them if asked",
        )
    if not sampler.learns_from_stopped:
        return "none", f"{sampler.name} learns only from trials that were completed"
    if situation.n_trials is not None and situation.n_trials < _FEWEST_TRIALS:
        return "none", f"{situation.n_trials} trials are too few to compare"
    if situation.max_epochs is None:
        return "median", "how many reports a trial will make is not known"
    if situation.max_epochs < _FEWEST_EPOCHS:
        return "none", f"trials of {situation.max_epochs} epochs are over before one can judge"
    rung = first_rung(situation.max_epochs)
    return "asha", f"from epoch {rung} on, the better third goes on at each of a few checkpoints"


def rungs_for(
    info: StopperInfo, situation: Situation, *, is_in_rounds: bool = False
) -> Rungs | None:
    """What compares trials by several objectives, which Optuna's stoppers cannot."""
    if situation.n_objectives == 1 or info.name not in _BY_FRONTS:
        return None
    return _rungs(situation, has_brackets=info.name == "hyperband", is_in_rounds=is_in_rounds)


def _rungs(situation: Situation, *, has_brackets: bool, is_in_rounds: bool = False) -> Rungs:
    epochs = situation.max_epochs
    return Rungs(
        situation.directions,
        first=1 if has_brackets or epochs is None else first_rung(epochs),
        max_epochs=epochs,
        eta=_REDUCTION,
        has_brackets=has_brackets,
        least=_N_STARTUP,
        is_in_rounds=is_in_rounds,
    )


def first_rung(max_epochs: int) -> int:
    """The epoch at which successive halving first compares: a ninth of all, 2 where that is 1.

    One epoch says little about a model that has ten; where there are but a few epochs, it has to do.

    >>> first_rung(5), first_rung(10), first_rung(100)
    (1, 2, 11)
    """
    return max(1 if max_epochs < 6 else 2, max_epochs // 9)


def _make_none(_situation: Situation) -> BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


def _make_asha(situation: Situation) -> BasePruner:
    from nbautoml.study.live import AtRungs

    return AtRungs(_rungs(situation, has_brackets=False))


def _make_hyperband(situation: Situation) -> BasePruner:
    from nbautoml.study.live import AtRungs

    return AtRungs(_rungs(situation, has_brackets=True))


def _make_median(situation: Situation) -> BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=_N_STARTUP, n_warmup_steps=_warmup(situation))


def _make_percentile(situation: Situation) -> BasePruner:
    from optuna.pruners import PercentilePruner

    return PercentilePruner(25.0, n_startup_trials=_N_STARTUP, n_warmup_steps=_warmup(situation))


def _make_wilcoxon(_situation: Situation) -> BasePruner:
    from optuna.pruners import WilcoxonPruner

    return WilcoxonPruner(p_threshold=0.1)


def _make_patient(situation: Situation) -> BasePruner:
    from optuna.pruners import PatientPruner

    patience = max(2, (situation.max_epochs or 0) // 5)
    return PatientPruner(_make_median(situation), patience=patience)


def _warmup(situation: Situation) -> int:
    """Epochs in which nothing is judged; Optuna counts from 0, our first epoch is 1."""
    return 1 if situation.max_epochs is None else first_rung(situation.max_epochs)


STOPPERS: Mapping[str, StopperInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            StopperInfo(
                name="asha",
                help="at epochs r, 3r, 9r ... the better third of those that got there goes on "
                "(asynchronous successive halving)",
                make=_make_asha,
                needs_replay=True,
            ),
            StopperInfo(
                name="hyperband",
                help="successive halving with several first epochs side by side, so that slow "
                "starters have a chance",
                make=_make_hyperband,
                needs_replay=True,
            ),
            StopperInfo(
                name="median",
                help="ends a trial whose best value so far is worse than the median of the "
                "others at that epoch",
                make=_make_median,
            ),
            StopperInfo(
                name="percentile",
                help="as median, but only the best quarter at an epoch goes on",
                make=_make_percentile,
            ),
            StopperInfo(
                name="wilcoxon",
                help="ends a trial when a signed-rank test over the epochs says that it is worse "
                "than the best one (p < 0.1)",
                make=_make_wilcoxon,
                n_startup=_N_STARTUP,
            ),
            StopperInfo(
                name="patient",
                help="as median, but spares a trial as long as it still improves",
                make=_make_patient,
            ),
            StopperInfo(name="none", help="every trial runs to its end", make=_make_none),
        )
    }
)
