"""Data that workers share: what the kernel says of the memory of two processes that train on one snapshot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nbautoml.data import snapshot
from nbautoml.data.loading import _GATHERED_BYTES

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="memory is read from /proc"
)
# Reads every row of one snapshot after the other in batches, and tells of its memory when asked.
READER = """
import json, sys
from pathlib import Path
from nbautoml.data import open_data
from nbautoml.spec.data import DataSpec

def anonymous():
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith(("Anonymous:", "Swap:"))) * 1024

def of_file(ending):
    found, is_ours = dict.fromkeys(("Rss", "Pss", "Private_Dirty"), 0), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            is_ours = line.endswith(ending)
        elif is_ours and name[:-1] in found:
            found[name[:-1]] += int(values[0]) * 1024
    return found

for said in sys.argv[2:]:
    data = part = None  # what the snapshot before left is no part of this one's
    spec, before = DataSpec.from_json(json.loads(said)), anonymous()
    data = open_data(spec, Path(sys.argv[1]), device_limit_bytes=1 << 40)
    for part in (data.train, data.valid):
        for inputs, target in part.batches(256):
            pass
    del inputs, target
    print("read", flush=True)
    sys.stdin.readline()
    told = {**of_file(f"{spec.digest}/train_0.npy"), "own": anonymous() - before}
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
"""


def told_by_two(home, *specs):
    """What each of two readers says of each snapshot, while both have read all of it."""
    said = [json.dumps(spec.to_json()) for spec in specs]
    # What is freed goes back to the system: pieces kept for later would hide what comes after.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(home), *said], cwd=Path(__file__).parents[2],
            env=env, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        for _ in specs:
            assert [reader.stdout.readline() for reader in readers] == ["read\n"] * 2
            for reader in readers:
                reader.stdin.write("tell\n")
            yield [json.loads(reader.stdout.readline()) for reader in readers]
            for reader in readers:
                reader.stdin.write("go on\n")
    finally:
        for reader in readers:
            reader.communicate()


def images(n_bytes):
    """Pixels of a few megabytes' worth of different rows, repeated."""
    rows = np.random.default_rng(0).integers(0, 255, (1024, 1, 32, 32), dtype=np.uint8)
    x = np.tile(rows, (n_bytes // rows.nbytes + 1, 1, 1, 1))
    return x, np.arange(len(x)) % 3


def test_workers_share_the_pages_of_large_data_and_gather_small_data(home):
    """As the README says; were small data not copied, the figures of the large would tell nothing."""
    large, small = images(_GATHERED_BYTES), images(_GATHERED_BYTES // 2)
    told = told_by_two(home, *(snapshot(value, home_data=home) for value in (large, small)))
    n_bytes = large[0].nbytes
    for worker in next(told):
        assert worker["Rss"] > 0.99 * n_bytes  # all of it was read
        assert worker["Private_Dirty"] == 0  # and nothing of it copied
        assert worker["Pss"] == pytest.approx(n_bytes / 2, rel=0.05)  # half of the pages each
        assert worker["own"] < n_bytes / 2  # pieces of four megabytes, the rows' order, code
    for worker in next(told):
        assert worker["own"] > small[0].nbytes
    assert not list(told)
