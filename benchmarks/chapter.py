"""One chapter in a process of its own: each figure is written as soon as it is there.

::

    python benchmarks/chapter.py tuning --to figures.jsonl [--limit-s 300] [--quick]

`run_all` starts these, and ends one that does not end itself.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from figures import Figure
from turns import Clock, TimeOverError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--to", type=Path, required=True, help="a line of JSON a figure")
    parser.add_argument("--limit-s", type=float, default=float("inf"))
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    clock = Clock(asked.limit_s)

    def write(figure: Figure) -> None:
        about = figure.about()
        about["notes"] += clock.taken()
        with asked.to.open("a", encoding="utf-8") as file:
            file.write(json.dumps(about) + "\n")

    try:
        for figure in importlib.import_module(asked.name).measure(
            is_quick=asked.quick, clock=clock
        ):
            write(figure)
    except TimeOverError as error:
        write(Figure(f"{asked.name}: not finished", "", {}, notes=[f"The rest is {error}."]))
    except Exception as error:
        traceback.print_exc()
        note = f"Not measured: {type(error).__name__}: {error}"
        write(Figure(f"{asked.name}: broken", "", {}, notes=[note]))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
