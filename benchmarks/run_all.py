"""All chapters, one after another: ``make bench`` (under 15 minutes on two cores).

::

    python benchmarks/run_all.py [--quick] [--only tuning] [--out out]

Writes results.json and results.md. Each chapter's file says what it measures, and how. A chapter
that breaks costs its own figures: the table says so, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from figures import Figure, Results, write

CHAPTERS = (
    "starting",
    "recording",
    "studying",
    "fitting",
    "resuming",
    "tuning",
    "halving",
    "watching",
    "remembering",
)
# Peers that would count their users, and progress that would be in the way.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "KERAS_BACKEND": "torch", "TQDM_DISABLE": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats")
    parser.add_argument("--only", choices=CHAPTERS, action="append", help="only this chapter")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.update(QUIET)
    results, is_whole = Results(is_quick=asked.quick), True
    for name in asked.only or CHAPTERS:
        begin = time.perf_counter()
        print(f"{name} ...", flush=True)
        try:
            found: list[Figure] = importlib.import_module(name).measure(is_quick=asked.quick)
        except Exception as error:
            traceback.print_exc()
            is_whole = False
            note = f"Not measured: {type(error).__name__}: {error}"
            found = [Figure(f"{name}: broken", "", {}, notes=[note])]
        results.figures += found
        results.seconds[name] = time.perf_counter() - begin
    print(write(results, asked.out))
    return 0 if is_whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
