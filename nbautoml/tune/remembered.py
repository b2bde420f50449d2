"""Plans that were measured before in this home: the same code, data and machine need no second look.

One small file a plan, ``<home>/plans/<key>.json``, named by a hash of all that may change what is
faster: capsule, structure of the trials, space, data, machine, device, workers, threads, versions.
Whatever of that is another gives another name, and is measured anew. A file that cannot be read
is as good as none; nothing in it is trusted further than as numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbautoml.errors import StoreError
from nbautoml.machine import n_cores
from nbautoml.store.files import make_folder, read_small, write_whole
from nbautoml.tune.measured import Measured

if TYPE_CHECKING:
    from nbautoml.events import TaskContext
    from nbautoml.spec.recipe import Recipe

__all__ = ["Remembered"]

LARGEST_BYTES = 10_000
KEPT = 200
_BESIDE_THE_STEP = {"epochs", "patience", "lr", "schedule", "warmup"}


@dataclass(frozen=True)
class Remembered:
    """The plans of one run's home.

    Args:
        folder: where they lie.
        run: what the run is called in them.
        facts: all that a plan hangs on, but for the trials' structure.
    """

    folder: Path
    run: str
    facts: str

    @classmethod
    def of(cls, recipe: Recipe, context: TaskContext, n_workers: int) -> Remembered:
        """Those that this run may use, and adds to."""
        import torch

        place = context.device
        fixed = {key: value for key, value in recipe.fixed.items() if key not in _BESIDE_THE_STEP}
        facts: list[Any] = [
            vars(recipe.target), recipe.space.to_json(), sorted(fixed.items()),
            recipe.data.digest if recipe.data else "",
            place.partition(":")[0], n_workers, context.n_threads, torch.__version__,
            platform.node(), platform.machine(), n_cores(),
            torch.cuda.get_device_name(place) if place.startswith("cuda") else "",
        ]  # fmt: skip
        text = json.dumps(facts, sort_keys=True, default=str)
        return cls(context.home_data.parent / "plans", f"{recipe.name} ({recipe.run_id})", text)

    def recall(self, structure: Hashable) -> Measured | None:
        """What was measured for trials of this structure, or None."""
        try:
            found = json.loads(read_small(self._path(structure), limit=LARGEST_BYTES))
            measured = Measured(
                alone_s=float(found["alone_s"]),
                stacked_s={int(n): float(s) for n, s in found["stacked_s"].items()},
                reason=str(found["reason"])[:200],
                earlier_run=str(found["run"])[:200],
            )
        except (StoreError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        numbers = [measured.alone_s, *measured.stacked_s.values()]
        is_sound = all(math.isfinite(s) and s > 0 for s in numbers)
        return measured if is_sound and min(measured.stacked_s, default=2) > 1 else None

    def keep(self, structure: Hashable, measured: Measured) -> None:
        """Write it down; a home that cannot be written to remembers nothing."""
        found = {
            "run": self.run,
            "alone_s": measured.alone_s,
            "stacked_s": {str(n): s for n, s in measured.stacked_s.items()},
            "reason": measured.reason,
        }
        try:
            make_folder(self.folder)
            write_whole(self._path(structure), json.dumps(found).encode(), is_synced=False)
            self._forget_the_oldest()
        except StoreError:
            return

    def _path(self, structure: Hashable) -> Path:
        digest = hashlib.sha256(f"{self.facts}\n{structure!r}".encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"

    def _forget_the_oldest(self) -> None:
        try:
            plans = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
            for path in plans[:-KEPT]:
                path.unlink(missing_ok=True)
        except OSError:
            return  # another worker was faster
