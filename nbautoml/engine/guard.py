"""The last to leave: when a supervisor is killed, what its trials had started goes with it.

Workers of a killed supervisor end by themselves, but not the processes that the user's code had
started. The forkserver, in which this module is preloaded, outlives its supervisor by a moment;
it ends everything of the session that the supervisor had opened for itself. A process that opens
a session of its own is meant to stay, and does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal

import psutil

from nbautoml.engine.forking import SESSION_VARIABLE

__all__ = ["end_session", "opened_session"]


def opened_session() -> int | None:
    """The session that this process leads; None where it leads none, and must end nobody's."""
    if not hasattr(os, "getsid") or os.getsid(0) != os.getpid():
        return None
    return os.getpid()


def end_session(session: int) -> None:
    """Kill what is left of a supervisor's session, but this process."""
    for _ in range(2):  # one that was just being started
        for pid in psutil.pids():
            # Gone meanwhile, or somebody else's.
            with contextlib.suppress(OSError, psutil.Error):
                is_left = os.getsid(pid) == session and pid not in {session, os.getpid()}
                # Python's own, which ends with the last of them, has semaphores to remove.
                if is_left and "resource_tracker" not in " ".join(psutil.Process(pid).cmdline()):
                    os.kill(pid, signal.SIGKILL)


def _end_ours(session: int, preloaded_in: int) -> None:
    # A child that user code forked leaves through the same handlers.
    if os.getpid() == preloaded_in and os.getsid(0) == session:
        end_session(session)
        os._exit(0)  # to take torch down in order takes seconds


if os.environ.get(SESSION_VARIABLE, "").isdigit():
    atexit.register(_end_ours, int(os.environ[SESSION_VARIABLE]), os.getpid())
