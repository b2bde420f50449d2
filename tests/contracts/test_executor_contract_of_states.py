"""A trial's numbers are its own: the other kinds of modules, in a file that another core can take."""

from __future__ import annotations

import pytest

from nbautoml.testing.executor_contract import ExecutorContract
from nbautoml.testing.small_modules import KINDS

pytestmark = pytest.mark.slow


class TestOurExecutors(ExecutorContract):
    kinds = tuple(KINDS)[2:]
