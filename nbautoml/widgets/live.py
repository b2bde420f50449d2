"""The live link of a kernel: one thread between the records of runs and all browsers.

::

    browser --commands comm--> handler (any shell thread): puts it into a queue, nothing else
                                                              |
    records --read--> the thread: Hub.receive, Hub.tick  <----'
                                   |-- events comm --> all tabs        one message a tick
                                   |-- anywidget ----> its views
                                   '-- display(update) -> front ends without our extension

The thread starts with the first client or the first display of a run that goes on, and sleeps
without a timer while nobody watches.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from nbautoml.errors import NbAutomlError
from nbautoml.widgets.controller import Controller
from nbautoml.widgets.hub import Channel, Hub
from nbautoml.widgets.protocol import (
    COMMANDS_TARGET,
    EVENTS_COMM_ID,
    EVENTS_TARGET,
    ToBrowser,
)
from nbautoml.widgets.shown import Shown, ShownRuns
from nbautoml.widgets.snapshot import Tail
from nbautoml.widgets.source import RunSource

__all__ = ["LiveLink", "current_link", "open_to_any_shell", "start", "stop"]

logger = logging.getLogger(__name__)

# Between two looks at a run of which something was asked; the hub looks at the others less often.
# The server drops what exceeds a thousand messages a second.
TICK_S = 0.1
_MAX_ANSWERS_A_ROUND = 50

_link: LiveLink | None = None
_link_lock = threading.Lock()


def start(controller: Controller) -> LiveLink:
    """The kernel's live link, listening; starts no thread yet. A second call gives the same one.

    Args:
        controller: finds runs and takes commands; the newest call's is used.
    """
    global _link  # noqa: PLW0603 - one link a process, as there is one comm manager
    with _link_lock:
        if _link is None:
            _link = LiveLink(controller)
            _link.listen()
            atexit.register(stop)
        _link.hub.controller = controller
        return _link


def stop() -> None:
    """End the live link, if there is one."""
    global _link
    with _link_lock:
        link, _link = _link, None
    if link is not None:
        link.close()


def current_link() -> LiveLink | None:
    """The kernel's live link, or None before `start`."""
    return _link


class LiveLink:
    """Owns the thread on which all panels of a kernel are served.

    Args:
        controller: finds runs and takes commands.
        events: where news for all tabs go; by default the events comm, once `listen` was called.
    """

    def __init__(self, controller: Controller, events: Channel | None = None) -> None:
        self.hub = Hub(controller, self._looked)
        self.shown = ShownRuns()
        self._events: Channel = events or _Nowhere()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._targets: list[tuple[Any, Any]] = []

    # -- from any thread ----------------------------------------------------------------------

    def listen(self) -> None:
        """Register the comms; where there is no kernel nothing ever comes."""
        import comm

        self._events = _EventsComm()
        manager = comm.get_comm_manager()
        manager.register_target(COMMANDS_TARGET, self._opened)
        self._targets.append((manager, self._opened))

    def post(self, message: Any, channel: Channel | None, source: str) -> None:
        """Take a browser's message; it is answered by the thread.

        Args:
            message: as it came.
            channel: where the answer goes; None for the events comm.
            source: the connection, for `forget`.
        """
        way = channel or self._events
        self._do(lambda: self.hub.receive(message, way, source, time.monotonic()))

    def forget(self, source: str) -> None:
        """A connection is closed."""
        if self._thread is not None:
            self._do(lambda: self.hub.forget(source, time.monotonic()))

    def show(self, source: RunSource, shown: Shown) -> None:
        """Keep a display of a run up to date where no browser with our extension does."""
        # At once: whoever waits for the run refreshes its displays before the thread has run.
        self.shown.remember(source.id, shown)
        self._do(lambda: self._follow(source, shown))

    def look_soon(self, run_id: str) -> None:
        """Show what becomes of a run of which something was asked just now."""
        if self._thread is not None:
            self._do(lambda: self.hub.look_soon(run_id, time.monotonic()))

    def add_source(self, source: RunSource) -> None:
        """Make a run known that lies outside of the controller's home."""
        self.hub.add_source(source)

    def close(self) -> None:
        """End the thread; waits for what it is doing."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        for manager, target in self._targets:
            with contextlib.suppress(KeyError):
                manager.unregister_target(COMMANDS_TARGET, target)
        if thread is None:
            self.hub.close()
            return
        self._queue.put(None)
        thread.join(5.0)

    @property
    def is_running(self) -> bool:
        """Whether the thread was started and lives."""
        return self._thread is not None and self._thread.is_alive()

    def _do(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._thread is None:
                # What the thread prints or warns belongs to the cell that started it, and not
                # to whichever cell runs at that moment.
                context = contextvars.copy_context()
                self._thread = threading.Thread(
                    target=context.run, args=(self._loop,), name="nbautoml-live", daemon=True
                )
                self._thread.start()
        self._queue.put(job)

    def _opened(self, comm: Any, _: Any) -> None:
        """A front end opened its commands comm; runs on whichever shell thread it came in."""
        source = f"comm-{comm.comm_id}"
        open_to_any_shell(comm, lambda message: self.post(_data(message), None, source))
        comm.on_close(lambda _: self.forget(source))

    # -- on the thread ------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while True:
                job = self._next_job()
                if job is None:
                    return
                self._guarded(job)
                for _ in range(_MAX_ANSWERS_A_ROUND):
                    try:
                        job = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if job is None:
                        return
                    self._guarded(job)
                self._guarded(self._tick)
        finally:
            self.hub.close()

    def _next_job(self) -> Callable[[], None] | None:
        """The next thing to do; None ends the thread. Waits for ever while nobody watches."""
        try:
            return self._queue.get(timeout=self._pause_s())
        except queue.Empty:
            return _nothing

    def _pause_s(self) -> float | None:
        due = self.hub.next_due(time.monotonic())
        return None if due is None else max(due, TICK_S / 10)

    @staticmethod
    def _guarded(job: Callable[[], None]) -> None:
        """Do a job; a fault in one must not leave every panel of the kernel dead."""
        try:
            job()
        except Exception:
            logger.exception("the live link could not finish something; it goes on")

    def _tick(self) -> None:
        self.hub.tick(time.monotonic(), every_s=TICK_S)

    def _follow(self, source: RunSource, shown: Shown) -> None:
        self.hub.add_source(source)
        try:
            tail = self.hub.watch(source.id)
        except NbAutomlError as error:
            logger.warning("run %s is not followed: %s", source.id, error)
            return
        self.shown.add(source.id, shown)
        self._looked(tail)

    def _looked(self, tail: Tail) -> None:
        """Redraw the displays of a run that moved: the last time when it is over."""
        has_clients = self.hub.has_clients(tail.run_id)
        done = self.shown.redraw(tail, has_clients=has_clients, now=time.monotonic())
        for _ in range(done):
            self.hub.unwatch(tail.run_id)


class _EventsComm:
    """The way to all tabs: a comm with the same constant id on both sides, which nobody opens."""

    def __init__(self) -> None:
        import comm

        self._comm = comm.create_comm(
            target_name=EVENTS_TARGET, comm_id=EVENTS_COMM_ID, primary=False
        )
        open_to_any_shell(self._comm, _ignore)

    def send(self, message: ToBrowser) -> None:
        self._comm.send(message)


class _Nowhere:
    """The way to all tabs where there is no kernel."""

    def send(self, message: ToBrowser) -> None:
        logger.debug("nobody is there for a message of type %s", message["type"])


def open_to_any_shell(comm: Any, handler: Callable[[Any], None]) -> None:
    """Give a comm a handler that is called at once, also while a cell runs.

    ipykernel 7.4 sends a comm's messages to the shell that last published on it, which is the
    blocked one; the attribute that decides it can be switched off. The handler takes the place of
    ``handle_msg``, which would fire the shell's ``post_execute`` hooks: from another thread these
    flush the figures that the running cell is still drawing.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = None  # noqa: SLF001 - there is no public switch
    comm.handle_msg = handler


def _data(message: Any) -> Any:
    return message["content"]["data"]


def _ignore(_: Any) -> None:
    """Nobody answers on the events comm."""


_nothing = partial(_ignore, None)
