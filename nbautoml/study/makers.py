"""How each sampler is made, from the situation, a seed, and what the study's samplers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbautoml.errors import RecipeError
from nbautoml.spec.space import Choice, Space
from nbautoml.study.bridge import to_distribution, to_distributions
from nbautoml.study.points import Grid, SobolPoints
from nbautoml.study.situation import Situation

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from nbautoml.study.encoding import Encoding
    from nbautoml.study.surrogate import Surrogate

__all__ = [
    "Source",
    "make_bayes",
    "make_cmaes",
    "make_gp",
    "make_nsga2",
    "make_points",
    "make_random",
    "make_tpe",
]


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


def make_random(_situation: Situation, seed: int, _source: Source) -> BaseSampler:
    """Draws by chance."""
    from nbautoml.study.live import SteadyRandom

    return SteadyRandom(seed=seed)


def make_tpe(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    """Tree-structured Parzen estimators, over all dimensions of a group at once."""
    # constant_liar: trials that run now count as seen, or parallel workers crowd together.
    if situation.is_open:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    from nbautoml.study.live import SteadyTPE

    sampler = SteadyTPE(seed=seed, multivariate=True, constant_liar=True)
    sampler.groups = _groups(situation.space)
    return sampler


def make_bayes(situation: Situation, seed: int, source: Source) -> BaseSampler:
    """Our own Gaussian process: see `nbautoml.study.bayes`."""
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


def make_gp(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    """Optuna's Gaussian process."""
    if situation.is_open:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed)
    from nbautoml.study.live import SteadyGP

    sampler = SteadyGP(seed=seed)
    sampler.steady_space = _steady(situation.space)
    return sampler


def make_cmaes(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    """CMA-ES over the numbers; choices by chance."""
    if situation.is_open:
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    from nbautoml.study.live import SteadyCmaEs

    sampler = SteadyCmaEs(seed=seed, warn_independent_sampling=False)
    sampler.steady_space = _steady(situation.space, with_choices=False)
    return sampler


def make_nsga2(situation: Situation, seed: int, _source: Source) -> BaseSampler:
    """NSGA-II with generations that fit the number of trials."""
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


def make_points(situation: Situation, seed: int, source: Source) -> BaseSampler:
    """The points of `Source`: of a grid, of Sobol's sequence, or all."""
    if situation.is_open:
        from optuna.samplers import BruteForceSampler

        return BruteForceSampler(seed=seed)
    from nbautoml.study.live import PointSampler

    return PointSampler(to_distributions(situation.space), source.current)
