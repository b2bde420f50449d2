"""The samplers by name: what each is good for, what it cannot do, and how it is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nbautoml.errors import MissingExtraError, RecipeError, nearest
from nbautoml.spec.space import Choice, Space
from nbautoml.study.bridge import to_distribution, to_distributions
from nbautoml.study.points import Grid, SobolPoints
from nbautoml.study.situation import Situation

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from nbautoml.study.encoding import Encoding
    from nbautoml.study.surrogate import Surrogate

__all__ = ["SAMPLERS", "SamplerInfo", "Source", "choose_sampler", "sampler_for"]

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


class Source:
    """What samplers that are made anew for each trial share; empty for most.

    Where a grid's or Sobol's points come from; how points are numbers for ``bayes``.
    """

    def __init__(self, name: str, situation: Situation) -> None:
        self.grid: Grid | None = None
        self.sobol: SobolPoints | None = None
        self.encoding: Encoding | None = None
        self.fits: dict[bytes, Surrogate] = {}
        self._next: dict[str, Any] = {}
        if situation.is_open:
            return
        if name in ("grid", "brute"):
            self.grid = Grid(
                situation.space,
                n_trials=situation.n_trials,
                seed=situation.seed,
                should_place=name == "grid",
            )
        elif name == "bayes":
            from nbautoml.study.encoding import Encoding

            self.encoding = Encoding(situation.space)
        elif name == "qmc":
            self.sobol = SobolPoints(situation.space, seed=situation.seed)

    def aim(self, number: int) -> None:
        """Choose the point for a trial that is about to be drawn."""
        if self.grid is not None:
            self._next = self.grid.take() or {}
        elif self.sobol is not None:
            self._next = self.sobol.point(number)

    def landed(self, params: Mapping[str, Any]) -> None:
        """What was tried in the end, which a person or an earlier process may have chosen."""
        if self.grid is not None:
            self.grid.mark(params)
            if self._next and self._next != params:
                self.grid.give_back(self._next)
        self._next = {}

    def current(self) -> dict[str, Any]:
        """The point that was aimed at."""
        return self._next

    @property
    def is_exhausted(self) -> bool:
        """Whether no point is left."""
        return self.grid is not None and self.grid.is_exhausted


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


def _steady(space: Space, *, with_choices: bool = True) -> dict[str, Any]:
    """Dimensions that a sampler draws together: those that always exist and do vary."""
    return {
        name: distribution
        for name, distribution in to_distributions(space).items()
        if space[name].when is None
        and space[name].size() != 1
        and (with_choices or not isinstance(space[name], Choice))
    }


def _groups(space: Space) -> list[dict[str, Any]]:
    """Dimensions by the condition under which they exist; those with one value are left out."""
    groups: dict[Any, dict[str, Any]] = {}
    for name, distribution in to_distributions(space).items():
        if space[name].size() != 1:
            groups.setdefault(space[name].when, {})[name] = distribution
    return list(groups.values())


def _make_random(_situation: Situation, seed: int, _source: Source) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _make_tpe(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    # constant_liar: trials that run now count as seen, or parallel workers crowd together.
    if situation.is_open:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    from nbautoml.study.live import SteadyTPE

    sampler = SteadyTPE(seed=seed, multivariate=True, constant_liar=True)
    sampler.groups = _groups(situation.space)
    return sampler


def _make_bayes(situation: Situation, seed: int, source: Source) -> BaseSampler:
    from nbautoml.study.bayes import BayesSampler

    space, encoding = situation.space, source.encoding
    if encoding is None:
        raise RecipeError("bayes has to know the space beforehand", hint="use tpe or random")
    return BayesSampler(
        encoding,
        {name: to_distribution(space[name]) for name in encoding.names},
        sign=-1 if situation.directions[0] == "maximize" else 1,
        seed=seed,
        fits=source.fits,
    )


def _make_gp(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    if situation.is_open:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed)
    from nbautoml.study.live import SteadyGP

    sampler = SteadyGP(seed=seed)
    sampler.steady_space = _steady(situation.space)
    return sampler


def _make_cmaes(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    if situation.is_open:
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    from nbautoml.study.live import SteadyCmaEs

    sampler = SteadyCmaEs(seed=seed, warn_independent_sampling=False)
    sampler.steady_space = _steady(situation.space, with_choices=False)
    return sampler


def _make_nsga2(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    # Optuna's 50 a generation would make a run of 60 trials a random search.
    n_trials = situation.n_trials or 500
    population = max(8, min(50, n_trials // 6))
    if situation.is_open:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=population)
    from nbautoml.study.live import SteadyNSGAII

    sampler = SteadyNSGAII(seed=seed, population_size=population)
    sampler.steady_space = _steady(situation.space)
    return sampler


def _make_points(situation: Situation, seed: int, source: Source) -> BaseSampler:
    if situation.is_open:
        from optuna.samplers import BruteForceSampler

        return BruteForceSampler(seed=seed)
    from nbautoml.study.live import PointSampler

    return PointSampler(to_distributions(situation.space), source.current)


SAMPLERS: Mapping[str, SamplerInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            SamplerInfo(
                name="tpe",
                help="learns where good values lie (tree-structured Parzen estimator); "
                "for any space, from some 20 trials on",
                make=_make_tpe,
                shown=1000,  # 6 to 9 ms an ask; with 250 it finds a little less (800 trials and up)
            ),
            SamplerInfo(
                name="bayes",
                help="predicts what each point may give and tries where most is to be gained "
                "(Gaussian process); for few hundred trials over up to some twenty dimensions",
                make=_make_bayes,
                takes_open=False,
                takes_many_objectives=False,
                shown=200,  # its cost grows with the cube
                enough_good=1,
            ),
            SamplerInfo(
                name="random",
                help="draws each value by chance; the yardstick for the others",
                make=_make_random,
            ),
            SamplerInfo(
                name="grid",
                help="every combination, in shuffled order; values of a continuous dimension "
                "are placed so that the number of trials suffices",
                make=_make_points,
                takes_open=False,
            ),
            SamplerInfo(
                name="gp",
                help="learns with a Gaussian process; for few trials that are dear, over up to "
                "some ten dimensions",
                make=_make_gp,
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
                make=_make_cmaes,
                needs=(("cmaes", "'nbautoml[cmaes]'"),),
                takes_conditions=False,
                takes_many_objectives=False,
                needs_replay=True,
                learns_from_stopped=False,
            ),
            SamplerInfo(
                name="qmc",
                help="spreads points evenly over the space (Sobol), more so than chance does",
                make=_make_points,
                needs=(("scipy", "scipy"),),
                takes_open=False,
            ),
            SamplerInfo(
                name="nsga2",
                help="breeds new points from good ones (NSGA-II); for many trials, or several "
                "objectives",
                make=_make_nsga2,
                needs_replay=True,
                learns_from_stopped=False,
            ),
            SamplerInfo(
                name="brute",
                help="every point of a finite space, once; the run ends when all were tried",
                make=_make_points,
            ),
        )
    }
)
