"""What a worker keeps between the trials of one run: recipe, capsule, data. Loaded once."""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nbautoml.capsule import import_capsule
from nbautoml.errors import DataError
from nbautoml.spec import Choice, Float, Int, Space, split_params
from nbautoml.spec.objective import SIZES
from nbautoml.spec.reading import Parameters, read_parameters
from nbautoml.spec.recipe import Recipe
from nbautoml.tune.stacking import may_tape

if TYPE_CHECKING:
    from nbautoml.data import TrainData
    from nbautoml.events import TaskContext
    from nbautoml.train.stacked import Solo

__all__ = ["Session", "open_ahead", "session_for"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A run as a worker sees it.

    Attributes:
        device: where the data lies.
        widths: how many trials to train as one, by their structure, as far as it was measured here.
    """

    recipe: Recipe
    capsule: ModuleType
    capsule_dir: Path
    data: TrainData | None
    device: str = "cpu"
    widths: dict[Hashable, int] = field(default_factory=dict)

    @property
    def target(self) -> Any:
        """The class or function that is trained."""
        return getattr(self.capsule, self.recipe.target.symbol)

    @property
    def opened_data(self) -> TrainData:
        """The run's data.

        Raises:
            DataError: the run was submitted without any.
        """
        if self.data is None:
            raise DataError(
                f"a run of {self.recipe.target.role}s needs data", hint="--data NAME says which"
            )
        return self.data

    @functools.cached_property
    def parameters(self) -> Parameters:
        """What the target takes."""
        return read_parameters(self.target)

    @functools.cached_property
    def space(self) -> Space:
        """The recipe's space, its choices of classes and functions bound to the capsule's own."""
        in_cell = {
            name: value
            for name, value in vars(self.capsule).items()
            if isinstance(value, (Int, Float, Choice))
        }
        return self.recipe.space.bound({**in_cell, **self.parameters.dimensions})

    def split(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A trial's values and the fixed ones, as (settings of the fit, arguments of the target)."""
        together = self.space.resolve({**self.recipe.fixed, **params})
        known = self.parameters
        return split_params(together, known.names, accepts_any=known.accepts_any)

    @property
    def metric_names(self) -> tuple[str, ...] | None:
        """What an epoch is measured by; None for the usual metrics and the one objective."""
        from nbautoml.train.metrics import default_metrics

        first, *others = (one.metric for one in self.recipe.objectives)
        if not others or self.data is None:
            return None
        measured = [name for name in others if name not in SIZES]
        return (*default_metrics(self.data.task, first), *measured)

    @property
    def counts_parameters(self) -> bool:
        """Whether a trial's size is one of its objectives."""
        return any(one.metric in SIZES for one in self.recipe.objectives)

    @functools.cached_property
    def solo(self) -> Solo | None:
        """Fits without autograd; None where the run's modules are to be trained as they are."""
        from nbautoml.train.stacked import Solo

        if self.device != "cpu" or not may_tape(self.recipe, self.recipe.budget.n_trials):
            return None
        return Solo(
            self.opened_data,
            objective=self.recipe.objectives[0],
            metrics=self.metric_names,
            loss=self.loss,
        )

    @property
    def loss(self) -> Any:
        """The user's own loss function, or None."""
        name = self.recipe.target.loss
        return getattr(self.capsule, name) if name else None


def session_for(context: TaskContext) -> Session:
    """The session of the context's run, on the context's device."""
    return _session(context.run_folder, context.home_data, context.device)


def open_ahead(context: TaskContext) -> None:
    """What the first task of a run begins with, before there is one: data and capsule opened.

    For a run of modules; what fails here fails in the task again, where it is told.
    """
    import torch

    torch.set_num_threads(context.n_threads)
    session = session_for(context)
    _ = session.parameters, session.space


@functools.lru_cache(
    maxsize=2
)  # a worker serves one run; the second place eases a change of device
def _session(run_folder: Path, home_data: Path, device: str) -> Session:
    recipe = Recipe.from_json(json.loads((run_folder / "recipe.json").read_text(encoding="utf-8")))
    capsule_dir = run_folder / "capsule"
    if recipe.execution.deterministic and device.startswith("cuda"):
        _choose_deterministic_kernels()
    data = None
    if recipe.data is not None:  # with it comes torch, which an objective may have no use for
        from nbautoml.data import open_data

        data = open_data(recipe.data, home_data, device=device)
    return Session(
        recipe=recipe,
        capsule=import_capsule(capsule_dir),
        capsule_dir=capsule_dir,
        data=data,
        device=device,
    )


def _choose_deterministic_kernels() -> None:
    """On a GPU many kernels add up in whatever order threads finish; choose those that do not.

    An operation that has no such kernel warns, which the run's log then shows.
    """
    import os

    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would fill what nobody reads.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
