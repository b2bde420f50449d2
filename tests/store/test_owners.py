"""Owners: is the process that answers for a run still that process?"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from nbautoml.store import Owner


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def owner_of(process, **changes):
    ours = Owner.this_process()
    started = psutil.Process(process.pid).create_time()
    return Owner(**{"pid": process.pid, "started_at": started, "host": ours.host, **changes})


def test_this_process_is_alive():
    assert Owner.this_process().pid == os.getpid()
    assert Owner.this_process().is_alive()


def test_owner_by_the_wall_clock_is_known_too(child):
    assert owner_of(child).is_alive()


def test_killed_process_is_dead(child):
    owner = owner_of(child)
    child.kill()
    child.wait()
    assert not owner.is_alive()


def test_zombie_is_dead(child):
    owner = owner_of(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.is_alive()


def test_later_process_of_the_same_number_is_another(child):
    before = owner_of(child, started_at=psutil.Process(child.pid).create_time() - 5)
    assert not before.is_alive()


def test_process_from_before_the_last_boot_is_dead():
    ours = Owner.this_process()
    name = ours.host.partition("#")[0]
    assert not Owner(ours.pid, ours.started_at, f"{name}#00000000").is_alive()


def test_process_of_another_host_lives_by_its_heartbeat():
    elsewhere = Owner(1, 1.0, "some-other-host#12345678")
    assert elsewhere.is_alive(time.time() - 30)
    assert not elsewhere.is_alive(time.time() - 90)
    assert elsewhere.is_alive(None)


def test_setting_the_clock_changes_no_owner(monkeypatch):
    owner = Owner.this_process()
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 1.0)
    assert owner.is_alive()
