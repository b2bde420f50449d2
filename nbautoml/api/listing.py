"""Many runs in a table, and two side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.api.run import Run
from nbautoml.api.texts import Table
from nbautoml.store import Home, RunFolder, RunInfo
from nbautoml.widgets.labels import duration_label, number_label, one_line, value_label

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe

__all__ = ["Comparison", "RunList"]

SHOWN = 50


class RunList(Sequence[Run]):
    """The runs of a home, newest first: a sequence of `Run` that shows itself as a table.

    >>> RunList([], Home("/nowhere"))
    no runs yet in /nowhere; %automl help tune shows how to start one
    """

    def __init__(self, infos: Sequence[RunInfo], home: Home) -> None:
        self.infos, self.home = list(infos), home

    def __len__(self) -> int:
        return len(self.infos)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return RunList(self.infos[place], self.home)
        return Run(RunFolder(self.infos[place].path), self.home)

    def __iter__(self) -> Iterator[Run]:
        return (self[place] for place in range(len(self.infos)))

    @property
    def table(self) -> Table:
        """What is shown."""
        if not self.infos:
            note = f"no runs yet in {self.home.path}; %automl help tune shows how to start one"
            return Table([], [], note=note)
        rows = [_cells(info) for info in self.infos[:SHOWN]]
        n_more = len(self.infos) - len(rows)
        note = f"and {n_more} older ones in {self.home.path}" if n_more else ""
        return Table(["run", "kind", "state", "trials", "best", "age", "id"], rows, note=note)

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.table._repr_mimebundle_()


def _cells(info: RunInfo) -> list[str]:
    state = f"{info.state}: {one_line(info.problem, 60)}" if info.problem else info.state
    age = duration_label(max(time.time() - info.created_at, 0.0)) if info.created_at else ""
    done = f"{info.n_finished}/{info.n_trials}"
    best = ", ".join(f"{name} {number_label(value)}" for name, value in info.bests.items())
    best = best or number_label(info.best_value)
    return [info.name, info.kind, state, done, best, age, info.id]


class Comparison:
    """Two runs side by side: what they were, what they found, and how their code differs.

    Attributes:
        table: a row a fact; facts that differ are marked.
        diff: the capsules as a unified diff; empty when equal.
    """

    def __init__(self, first: Run, second: Run) -> None:
        rows = []
        facts = [_facts(first), _facts(second)]
        for name in dict.fromkeys([*facts[0], *facts[1]]):
            left, right = (fact.get(name, "") for fact in facts)
            rows.append([name, left, right, "" if left == right else "*"])
        self.diff = first.diff(second)
        note = "their code is the same" if not self.diff else ""
        names = [first.name, second.name]
        if names[0] == names[1]:
            names = [first.id, second.id]
        self.table = Table(["", *names, "differs"], rows, note=note)

    def __repr__(self) -> str:
        return f"{self.table!r}\n{self.diff}".rstrip()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        import html

        diff = f"<pre>{html.escape(self.diff)}</pre>" if self.diff else ""
        return {"text/plain": repr(self), "text/html": self.table._repr_html_() + diff}


def _facts(run: Run) -> dict[str, str]:
    recipe, info = run.recipe, run.info
    facts = {
        "kind": recipe.kind,
        "state": info.state,
        "trials": f"{info.n_finished}/{recipe.budget.n_trials or info.n_trials}",
        f"best {recipe.objectives[0].metric}": number_label(info.best_value),
        **_best_params(run),
        "data": recipe.data.description if recipe.data else "",
        "data digest": recipe.data.digest[:12] if recipe.data else "",
        "metric": "; ".join(f"{one.metric}, {one.direction}" for one in recipe.objectives),
        "seed": str(recipe.seed),
        "sampler": recipe.sampler,
        "stopper": recipe.stopper,
        **_said(recipe),
        **{f"with {name}": text for name, text in recipe.versions.items()},
    }
    return {name: text for name, text in facts.items() if text}


def _said(recipe: Recipe) -> dict[str, str]:
    varied = {f"space {name}": repr(dimension) for name, dimension in recipe.space.items()}
    return varied | {f"fixed {name}": value_label(value) for name, value in recipe.fixed.items()}


def _best_params(run: Run) -> dict[str, str]:
    from nbautoml.errors import NbAutomlError

    try:
        best = run.best
    except NbAutomlError:
        return {}
    return {f"best {name}": value_label(value) for name, value in best.params.items()}
