"""Workers keep what they free, so that a step's memory is not asked for anew, and give it back when idle."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from engine_runs import wait_for_end

from nbautoml.spec import Budget, Float, Space

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(),
    reason="a setting of glibc's, and memory is read from /proc",
)
N_BYTES, PAGE_BYTES = 16 * 2**20, 4096
# Faults of a second block as large as the first, which was freed: a page's each, or hardly any.
FAULTS = f"""
import resource

def faults():
    def block():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytearray({N_BYTES})[::{PAGE_BYTES}] = bytes({N_BYTES} // {PAGE_BYTES})
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    block()
    return block()
"""


def said(code: str) -> list[str]:
    """Lines that a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", FAULTS + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_block_as_large_as_one_that_was_freed_costs_no_faults():
    without, kept = said("""
from nbautoml.engine.heap import keep_freed_memory
print(faults())
assert keep_freed_memory()
print(faults())
""")
    assert int(without) > N_BYTES / PAGE_BYTES / 2
    assert int(kept) < 100


def test_what_is_kept_can_be_given_back():
    before, after = said("""
from pathlib import Path
from nbautoml.engine.heap import give_freed_memory_back, keep_freed_memory
keep_freed_memory()
faults()
print(Path("/proc/self/statm").read_text().split()[1])
give_freed_memory_back()
print(Path("/proc/self/statm").read_text().split()[1])
""")
    assert int(before) - int(after) > 0.9 * N_BYTES / PAGE_BYTES


def test_the_workers_of_a_run_keep_what_they_free(runs, tmp_path):
    log = tmp_path / "faults"
    source = f"""
from torch import nn
{FAULTS}
class Net(nn.Module):
    def __init__(self, log):
        super().__init__()
        with open(log, "a") as file:
            print(faults(), file=file)
        self.layers = nn.Linear(13, 3)

    def forward(self, x):
        return self.layers(x)
"""
    folder = runs.submit(
        source,
        data="wine",
        space=Space({"lr": Float(1e-4, 1e-2, log=True)}),
        fixed={"epochs": 1, "log": str(log)},
        budget=Budget(n_trials=4),
    )
    assert wait_for_end(folder) == "finished"
    noted = list(map(int, log.read_text().split()))
    assert len(noted) >= 4
    assert max(noted) < 100
