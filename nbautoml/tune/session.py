"""What a worker keeps between the trials of one run: recipe, capsule, data. Loaded once."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nbautoml.capsule import import_capsule
from nbautoml.spec.recipe import Recipe

if TYPE_CHECKING:
    from nbautoml.data import TrainData
    from nbautoml.events import TaskContext

__all__ = ["Session", "session_for"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A run as a worker sees it."""

    recipe: Recipe
    capsule: ModuleType
    capsule_dir: Path
    data: TrainData | None

    @property
    def target(self) -> Any:
        """The class or function that is trained."""
        return getattr(self.capsule, self.recipe.target.symbol)

    @property
    def loss(self) -> Any:
        """The user's own loss function, or None."""
        name = self.recipe.target.loss
        return getattr(self.capsule, name) if name else None


def session_for(context: TaskContext) -> Session:
    """The session of the context's run, on the context's device."""
    return _session(context.run_folder, context.home_data, context.device)


@functools.lru_cache(maxsize=2)  # a worker serves one run; the second place eases a change of device
def _session(run_folder: Path, home_data: Path, device: str) -> Session:
    from nbautoml.data import open_data

    recipe = Recipe.from_json(json.loads((run_folder / "recipe.json").read_text(encoding="utf-8")))
    capsule_dir = run_folder / "capsule"
    return Session(
        recipe=recipe,
        capsule=import_capsule(capsule_dir),
        capsule_dir=capsule_dir,
        data=open_data(recipe.data, home_data, device=device) if recipe.data else None,
    )
