"""Spaces that the tests of the study share."""

from __future__ import annotations

from nbautoml.spec import Choice, Float, Int, Objective, Space

LOSS = (Objective("loss", "minimize"),)
NUMBERS = Space({"lr": Float(1e-4, 1e-1, log=True), "width": Int(4, 64, log=True)})
MIXED = Space(
    {
        "optimizer": Choice("sgd", "adam", "adamw"),
        "batch_size": Choice(16, 32, 64, 128),
        "depth": Int(1, 3),
        "dropout": Float(0, 0.5, step=0.1),
    }
)
CONDITIONAL = Space(
    {
        "optimizer": Choice("sgd", "adam"),
        "momentum": Float(0, 0.9, when=("optimizer", "sgd")),
        "lr": Float(1e-4, 1e-1, log=True),
    }
)
SMALL = Space({"depth": Int(1, 3), "optimizer": Choice("sgd", "adam")})
