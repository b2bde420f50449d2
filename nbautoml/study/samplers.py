"""The samplers by name: what each is good for, what it cannot do, and how it is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from nbautoml.errors import MissingExtraError, RecipeError, nearest
from nbautoml.spec.space import Choice, Space
from nbautoml.study.makers import (
    Source,
    make_bayes,
    make_cmaes,
    make_gp,
    make_nsga2,
    make_points,
    make_random,
    make_tpe,
)
from nbautoml.study.situation import Situation

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["SAMPLERS", "SamplerInfo", "choose_sampler", "sampler_for"]

_FEW_POINTS = 100
_MANY_TRIALS = 200
_MANY_DIMENSIONS = 20


@dataclass(frozen=True, kw_only=True)
class SamplerInfo:
    """A sampler as a person chooses it, and as the study uses it.

    Attributes:
        name: as it is typed.
        help: one line: what it does and when it helps.
        make: from the situation, a seed and the study's `Source` of points.
        needs: modules that must be installed, each with what to install.
        takes_conditions: whether dimensions may have ``when=``.
        takes_open: whether it works where an objective says what varies while it runs.
        takes_many_objectives: whether a trial may have several values.
        is_seeded_by_trial: a new one is made for each trial, seeded by its number; otherwise one
            lives as long as the study, because it carries something worth keeping.
        needs_replay: it keeps books in the trials, so that a record has to be replayed to it.
        shown: how many trials of a long history it is shown (see `SamplerView`); None for all.
        enough_good: how many trials must have a value before it is shown the failed ones, as the
            worst of all: with fewer, TPE takes some of them for good.
        learns_from_stopped: whether a trial that was stopped early tells it anything.
    """

    name: str
    help: str
    make: Callable[[Situation, int, Source], BaseSampler]
    needs: tuple[tuple[str, str], ...] = ()
    takes_conditions: bool = True
    takes_open: bool = True
    takes_many_objectives: bool = True
    is_seeded_by_trial: bool = True
    needs_replay: bool = False
    shown: int | None = None
    enough_good: int = 10
    learns_from_stopped: bool = True


def sampler_for(name: str, situation: Situation) -> tuple[SamplerInfo, str]:
    """The sampler of a name, with a line that says why (for ``auto``) or what it will do.

    Raises:
        RecipeError: unknown name (with the nearest), or the sampler cannot do what is asked.
        MissingExtraError: it needs a package that is not installed.
    """
    reason = ""
    if name == "auto":
        name, reason = choose_sampler(situation)
    info = SAMPLERS.get(name)
    if info is None:
        options = ["auto", *SAMPLERS]
        close = nearest(name, options)
        guess = f"did you mean {close!r}? " if close else ""
        raise RecipeError(
            f"there is no sampler {name!r}", hint=f"{guess}One of: {', '.join(options)}"
        )
    _check(info, situation)
    return info, f"sampler {name}: {reason or info.help}"


def choose_sampler(situation: Situation) -> tuple[str, str]:
    """What ``auto`` means: a sampler's name and why; the first line that holds.

    ========================================================  =========
    the objective says while it runs what varies                tpe
    a finite space no larger than the number of trials          brute
    (or than 100 points, where only time limits the run)
    several objectives                                          tpe
    more than 200 trials, or more than 20 dimensions            tpe
    anything else                                               bayes
    ========================================================  =========

    Measured on tables of real trainings (``benchmarks/tables.py``), where ``bayes`` finds better
    points than ``tpe`` within a hundred trials. An ask takes it 9 ms on average of 50 trials, 13 of 100
    and 30 of 200 (``tpe``: 2, 3 and 3), and among very many dimensions distances say little.

    Optuna's Gaussian process (``gp``) loads torch into the supervisor and takes a good part of a
    second a trial; it is never chosen without being asked for.

    >>> from nbautoml.spec.space import Int
    >>> choose_sampler(Situation(space=Space({"n": Int(1, 4)}), directions=("minimize",),
    ...                          n_trials=10))
    ('brute', 'all 4 points of the space fit into 10 trials')
    """
    if situation.is_open:
        return "tpe", "the objective says while it runs what varies"
    size, n_trials = situation.space.size(), situation.n_trials
    if size is not None:
        if n_trials is not None and size <= n_trials:
            return "brute", f"all {size} points of the space fit into {n_trials} trials"
        if n_trials is None and size <= _FEW_POINTS:
            return "brute", f"the space has only {size} points"
    if situation.n_objectives > 1:
        return "tpe", f"learns from each trial, for {situation.n_objectives} objectives at once"
    if n_trials is not None and n_trials > _MANY_TRIALS:
        return "tpe", f"learns from each trial at little cost, which counts for {n_trials} of them"
    n_varying = sum(dimension.size() != 1 for dimension in situation.space.values())
    if n_varying > _MANY_DIMENSIONS:
        return "tpe", f"learns from each trial, each of the {n_varying} dimensions by itself"
    return (
        "bayes",
        "predicts from all trials what a point may give, and tries where most is to gain",
    )


def _check(info: SamplerInfo, situation: Situation) -> None:
    if situation.is_open and not info.takes_open:
        raise RecipeError(
            f"{info.name} has to know the space beforehand, but this objective says what varies "
            "while it runs",
            hint="use tpe, random or brute",
        )
    if situation.space.is_conditional and not info.takes_conditions:
        name = next(n for n, dimension in situation.space.items() if dimension.when is not None)
        raise RecipeError(
            f"{info.name} cannot draw dimensions that exist only under a condition, as {name} does",
            hint="use tpe, random, qmc or grid, or leave out when=",
        )
    if situation.n_objectives > 1 and not info.takes_many_objectives:
        raise RecipeError(
            f"{info.name} can pursue one objective, this run has {situation.n_objectives}",
            hint="use tpe or nsga2",
        )
    if info.name == "cmaes" and not situation.is_open:
        _check_cmaes(situation.space)
    for module, package in info.needs:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"{info.name} needs the package {module}, which is not installed",
                hint=f"pip install {package}",
            )


def _check_cmaes(space: Space) -> None:
    n_numbers = sum(
        not isinstance(dimension, Choice) and dimension.size() != 1 for dimension in space.values()
    )
    if n_numbers < 2:
        raise RecipeError(
            f"cmaes needs at least two numbers (Int or Float) that vary, the space has {n_numbers}",
            hint="use tpe or gp",
        )


SAMPLERS: Mapping[str, SamplerInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            SamplerInfo(
                name="tpe",
                help="learns where good values lie (tree-structured Parzen estimator); "
                "for any space, from some 20 trials on",
                make=make_tpe,
                shown=1000,  # 6 to 9 ms an ask; with 250 it finds a little less (800 trials and up)
            ),
            SamplerInfo(
                name="bayes",
                help="predicts what each point may give and tries where most is to be gained "
                "(Gaussian process); for few hundred trials over up to some twenty dimensions",
                make=make_bayes,
                takes_open=False,
                takes_many_objectives=False,
                shown=200,  # its cost grows with the cube
                enough_good=1,
            ),
            SamplerInfo(
                name="random",
                help="draws each value by chance; the yardstick for the others",
                make=make_random,
            ),
            SamplerInfo(
                name="grid",
                help="every combination, in shuffled order; values of a continuous dimension "
                "are placed so that the number of trials suffices",
                make=make_points,
                takes_open=False,
            ),
            SamplerInfo(
                name="gp",
                help="learns with a Gaussian process; for few trials that are dear, over up to "
                "some ten dimensions",
                make=make_gp,
                needs=(("torch", "torch"), ("scipy", "scipy")),
                takes_conditions=False,
                is_seeded_by_trial=False,
                shown=200,  # its cost grows with the cube
                learns_from_stopped=False,
            ),
            SamplerInfo(
                name="cmaes",
                help="moves a cloud of points downhill (CMA-ES); for many trials over numbers; "
                "a Choice is drawn by chance",
                make=make_cmaes,
                needs=(("cmaes", "'nbautoml[cmaes]'"),),
                takes_conditions=False,
                takes_many_objectives=False,
                needs_replay=True,
                learns_from_stopped=False,
            ),
            SamplerInfo(
                name="qmc",
                help="spreads points evenly over the space (Sobol), more so than chance does",
                make=make_points,
                needs=(("scipy", "scipy"),),
                takes_open=False,
            ),
            SamplerInfo(
                name="nsga2",
                help="breeds new points from good ones (NSGA-II); for many trials, or several "
                "objectives",
                make=make_nsga2,
                needs_replay=True,
                learns_from_stopped=False,
            ),
            SamplerInfo(
                name="brute",
                help="every point of a finite space, once; the run ends when all were tried",
                make=make_points,
            ),
        )
    }
)
