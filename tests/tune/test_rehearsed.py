"""What the forkserver finds out for all workers."""

from __future__ import annotations

import subprocess
import sys

from nbautoml.engine.forking import PRELOAD

CODE = """
import psutil, torch
n_before = psutil.Process().num_threads()
import nbautoml.tune.rehearsed
assert psutil.Process().num_threads() == n_before, "it cannot be forked any more"
assert not torch.cuda.is_initialized()
from torch.overrides import _get_overridable_functions
assert _get_overridable_functions.cache_info().currsize == 1
"""


def test_table_of_functions_is_there_and_no_thread_begun():
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=120)


def test_forkserver_loads_it():
    assert "nbautoml.tune.rehearsed" in PRELOAD
