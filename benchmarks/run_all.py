"""All chapters, one after another: ``make bench`` (under 15 minutes on two cores).

::

    python benchmarks/run_all.py [--quick] [--only tuning] [--out out]

Writes results.json and results.md. Each chapter's file says what it measures, and how.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from figures import Figure, Results, write

CHAPTERS = ("starting", "recording", "studying", "fitting", "resuming", "tuning")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats")
    parser.add_argument("--only", choices=CHAPTERS, action="append", help="only this chapter")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    results = Results(is_quick=asked.quick)
    for name in asked.only or CHAPTERS:
        begin = time.perf_counter()
        print(f"{name} ...", flush=True)
        found: list[Figure] = importlib.import_module(name).measure(is_quick=asked.quick)
        results.figures += found
        results.seconds[name] = time.perf_counter() - begin
    print(write(results, asked.out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
