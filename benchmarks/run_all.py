"""All chapters, one after another: ``make bench`` (under 15 minutes on two cores).

::

    python benchmarks/run_all.py [--quick] [--only tuning] [--out out] [--limit-s 885]

Writes results.json and results.md. Each chapter's file says what it measures, and how. A chapter
runs in a process of its own and has a time limit: near it, it repeats less; past it, it is ended,
with all that it started. What is left out for that, or broken, the table says; the exit code is
then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from figures import Figure
from pages import Results, write

# Seconds that each may take; on two quiet cores they take less, and all of them less than WHOLE_S.
CHAPTERS: Mapping[str, float] = {
    "starting": 90,
    "recording": 60,
    "studying": 60,
    "fitting": 60,
    "resuming": 110,
    "tuning": 320,
    "halving": 125,
    "watching": 130,
    "remembering": 90,
}
WHOLE_S = 885.0
GRACE_S = 30.0
# Peers that would count their users, and progress that would be in the way.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "KERAS_BACKEND": "torch",
    "TQDM_DISABLE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def run_chapter(name: str, limit_s: float, *, is_quick: bool) -> tuple[list[dict[str, Any]], bool]:
    """Its figures, and whether that is all of them."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        to = Path(place) / "figures.jsonl"
        words = [str(HERE / "chapter.py"), name, "--to", str(to), "--limit-s", f"{limit_s:g}"]
        # What a chapter leaves behind in temporary folders goes away with it.
        process = subprocess.Popen(
            [sys.executable, *words, *(["--quick"] if is_quick else [])],
            env={**os.environ, **QUIET, "TMPDIR": place},
        )
        note = ""
        try:
            code = process.wait(timeout=limit_s + GRACE_S)
            is_whole = code == 0
            if code < 0 or not to.exists():
                note = f"The rest was not measured: the chapter ended with code {code}."
        except subprocess.TimeoutExpired:
            end(process)
            is_whole, note = False, f"Ended after {limit_s + GRACE_S:.0f} s; the rest is left out."
        lines = to.read_text(encoding="utf-8").splitlines() if to.exists() else []
    found = [json.loads(line) for line in lines]
    if note:
        found.append(Figure(f"{name}: not finished", "", {}, notes=[note]).about())
    return found, is_whole


def end(process: subprocess.Popen[bytes]) -> None:
    """End a chapter and all that it started."""
    import psutil

    root = psutil.Process(process.pid)
    family = [root, *root.children(recursive=True)]
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)
    process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats")
    parser.add_argument("--only", choices=CHAPTERS, action="append", help="only this chapter")
    parser.add_argument("--limit-s", type=float, default=WHOLE_S, help="of all chapters together")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    results, is_whole = Results(is_quick=asked.quick, load=[os.getloadavg()[0]]), True
    until = time.monotonic() + asked.limit_s
    for name in asked.only or CHAPTERS:
        begin = time.monotonic()
        limit_s = min(CHAPTERS[name], until - begin)
        if limit_s <= 0:
            note = f"Left out: {asked.limit_s:.0f} s were over."
            found, is_done = [Figure(f"{name}: left out", "", {}, notes=[note]).about()], False
        else:
            print(f"{name} ...", flush=True)
            found, is_done = run_chapter(name, limit_s, is_quick=asked.quick)
        is_whole = is_whole and is_done
        results.figures += found
        results.seconds[name] = time.monotonic() - begin
    results.load.append(os.getloadavg()[0])
    print(write(results, asked.out))
    print(", ".join(f"{name} {spent:.0f} s" for name, spent in results.seconds.items()))
    return 0 if is_whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
