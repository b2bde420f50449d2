"""The hash tells whether two runs run the same code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CELLS = [
    "from enum import Enum",
    "class Kind(Enum):\n    A = 1\n    B = 2",
    "S = {'x', 'y', 'z', 'w'}\nT = {Kind.A: 1, Kind.B: {2, 3}}",
    "def helper(x): return x in S",
    "class Net:\n    def forward(self, x):\n        return helper(x), T",
]
BUILD = """
import json, sys
from nbautoml.capsule import build_capsule
import linecache
names = {"__name__": "__main__"}
cells = json.loads(sys.stdin.read())
for number, cell in enumerate(cells):
    filename = f"<cell {number}>"
    linecache.cache[filename] = (len(cell), None, cell.splitlines(keepends=True), filename)
    exec(compile(cell, filename, "exec"), names)
print(build_capsule(["Net"], names, cells=cells).hash)
"""


def hash_in_a_process(cells: list[str], hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    return done.stdout.strip()


def test_hash_is_the_same_under_every_order_of_sets():
    assert len({hash_in_a_process(CELLS, seed) for seed in ("1", "2", "3")}) == 1


def test_names_that_are_not_needed_do_not_count(shell):
    shell.run(*CELLS)
    alone = shell.capsule("Net").hash
    shell.run("unrelated = 5", *CELLS, "also_unrelated = [1]")
    assert shell.capsule("Net").hash == alone


def test_cells_run_twice_do_not_count(shell):
    shell.run(*CELLS)
    once = shell.capsule("Net").hash
    shell.run(*CELLS, *CELLS)
    assert shell.capsule("Net").hash == once


@pytest.mark.parametrize(
    "changed",
    [
        "S = {'x', 'y', 'z'}\nT = {Kind.A: 1, Kind.B: {2, 3}}",
        "S = {'x', 'y', 'z', 'w'}\nT = {Kind.A: 1, Kind.B: {2, 4}}",
    ],
)
def test_whatever_is_needed_counts(shell, changed):
    shell.run(*CELLS)
    before = shell.capsule("Net").hash
    shell.run(*CELLS[:2], changed, *CELLS[3:])
    assert shell.capsule("Net").hash != before


def test_cell_that_was_edited_but_not_run_does_not_count(shell):
    shell.run("def f(x): return 1", "class Net:\n    def forward(self, x): return f(x)")
    before = shell.capsule("Net")
    shell.run(
        "def f(x): return 1",
        "raise ValueError\ndef f(x): return 2",
        "class Net:\n    def forward(self, x): return f(x)",
    )
    assert shell.capsule("Net").source == before.source
