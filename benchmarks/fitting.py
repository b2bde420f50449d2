"""One fit, beside a tight loop written by hand, and many as one: see `vectorized`."""

from __future__ import annotations

import vectorized
from figures import Figure


def measure(*, is_quick: bool) -> list[Figure]:
    size = {"n_trials": 32, "repeats": 2, "widths": (16, 32)} if is_quick else {}
    ways = vectorized.measure(**size, dropout=0.0)["ways"]  # type: ignore[arg-type]
    spread = {name: [own["low"], own["median"], own["high"]] for name, own in ways.items()}
    fit, tight = spread["fit"], spread["tight loop"]
    stacked = {name: values for name, values in spread.items() if name.startswith("stacked")}
    best = min(stacked, key=lambda name: stacked[name][1])
    return [
        Figure(
            "a fit, digits MLP",
            "ms",
            {"nbautoml fit": fit, "tight loop": tight},
            "<= 1.03x the loop",
        ),
        Figure(
            "a trial among many, digits MLP, one process",
            "ms",
            {
                f"nbautoml, {best} wide": stacked[best],
                "nbautoml fit": fit,
                "vmap, bare": spread["vmap"],
            },
        ),
    ]
