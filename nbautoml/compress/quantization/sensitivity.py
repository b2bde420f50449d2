"""Mixed precision: which layers to leave alone so that the rest may be quantised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

__all__ = ["Score", "ranked", "spare_sensitive"]

Score = tuple[float, float]
"""The objective, larger for better, and minus the loss."""


def ranked(judge: Callable[[Collection[str]], Score], layers: Sequence[str]) -> list[str]:
    """Layers by how much quantising one alone costs, the most sensitive first.

    Args:
        judge: the score when these layers stay in float.
        layers: all that may be quantised.
    """
    alone = {name: judge([other for other in layers if other != name]) for name in layers}
    return sorted(layers, key=lambda name: alone[name])


def spare_sensitive(
    judge: Callable[[Collection[str]], Score],
    layers: Sequence[str],
    *,
    whole: float,
    max_drop: float,
) -> tuple[str, ...] | None:
    """The layers to leave in float so that the objective drops by no more than ``max_drop``.

    The most sensitive are left out one after another, as long as it takes.

    Args:
        judge: the score when these layers stay in float.
        layers: all that may be quantised.
        whole: the objective of the float model, larger for better.
        max_drop: in units of the objective.

    Returns:
        None when it cannot be done with a single layer quantised.

    >>> cost = {"a": 0.3, "b": 0.0, "c": 0.1}
    >>> judge = lambda spared: (1 - sum(c for name, c in cost.items() if name not in spared), 0.0)
    >>> spare_sensitive(judge, list(cost), whole=1.0, max_drop=0.15)
    ('a',)
    """

    def is_good(spared: Collection[str]) -> bool:
        return whole - judge(spared)[0] <= max_drop + 1e-12

    if is_good(()):
        return ()
    order = ranked(judge, layers)
    for n in range(1, len(order)):
        if is_good(order[:n]):
            return tuple(order[:n])
    return None
