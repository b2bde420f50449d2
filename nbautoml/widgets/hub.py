"""Who watches which run, and what they are told: the live link without comms, threads or clocks.

Everything here runs on one thread (`live.LiveLink` owns it), or in a test on the test's own::

    browser  --hello-->  receive()  --welcome, snapshot-->  channel of that browser
                         tick()     --one Tick a channel--> all channels with clients
    browser  --command-> receive()  --> desk --> controller.command --ack-->

A *channel* is a way to browsers: the events comm, which reaches every tab, or one anywidget. A
*client* is one document that shows a run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from nbautoml.errors import NbAutomlError, RunNotFoundError
from nbautoml.events import WireError
from nbautoml.widgets.checking import read_message
from nbautoml.widgets.controller import Controller
from nbautoml.widgets.desk import Desk, ack
from nbautoml.widgets.protocol import (
    PROTOCOL_VERSION,
    CurvesRequest,
    Delta,
    Hello,
    ToBrowser,
    TrialRequest,
)
from nbautoml.widgets.snapshot import Tail
from nbautoml.widgets.source import RunSource

__all__ = ["Channel", "Hub"]

logger = logging.getLogger(__name__)

_MAX_CLIENTS = 32  # of one run: tabs that were closed without a word pile up
_SILENT_S = 90.0  # three signs of life were missed
_SLOW_POLL_S = 2.0  # for runs that are over unless somebody resumes them
_SELDOM_POLL_S = 60.0  # for those that are finished: see `look_soon`; their folder may go away
_TICK_BYTES = 1_000_000
# To read what is new, to send it and to draw it takes some 30 ms of the processors that train,
# however little is new; twice a second looks alive.
_LIVE_POLL_S = 0.5
_ASKED_S = 3.0  # so long after something was asked of a run, what becomes of it shows at once
# What is sent to a page that sleeps piles up in the server, and the page has to go through it when
# it wakes. Pages are not forgotten: of ipykernel 6, nothing that they say arrives while a cell runs.
_ASLEEP_SHARE = 0.05  # of the time for which nobody was heard
_ASLEEP_POLL_S = 10.0  # at most


class Channel(Protocol):
    """A way to browsers. `send` is called on the hub's thread only and must not block."""

    def send(self, message: ToBrowser) -> None:
        """Put a message on its way."""


@dataclass
class _Client:
    name: str
    channel: Channel
    source: str  # the connection it spoke on last, so that a closed one takes its clients along
    last_seen: float


@dataclass
class _Watched:
    """A run that somebody watches."""

    tail: Tail
    clients: dict[str, _Client] = field(default_factory=dict)
    writer: str = ""
    next_poll: float = 0.0
    asked_until: float = 0.0
    displays: int = 0


class Hub:
    """Answers clients and brings them news.

    Args:
        controller: finds runs and takes commands.
        on_look: called with the tail of each run that was looked at, for displays of it.
    """

    def __init__(
        self, controller: Controller, on_look: Callable[[Tail], None] | None = None
    ) -> None:
        self.controller = controller
        self._on_look = on_look
        self._watched: dict[str, _Watched] = {}
        self._sources: dict[str, RunSource] = {}
        self._desk = Desk()

    # -- who watches --------------------------------------------------------------------------

    def add_source(self, source: RunSource) -> None:
        """Make a run known that the controller might look for elsewhere."""
        self._sources[source.id] = source

    def watch(self, run_id: str) -> Tail:
        """Follow a run also without clients, until `unwatch`.

        Raises:
            NbAutomlError: it is not found, or its record cannot be read.
        """
        watched = self._open(run_id)
        watched.displays += 1
        return watched.tail

    def unwatch(self, run_id: str) -> None:
        """Undo a `watch`."""
        watched = self._watched.get(run_id)
        if watched is not None:
            watched.displays -= 1
            self._close_unwatched(run_id)

    def look_soon(self, run_id: str, now: float) -> None:
        """Something was asked of the run, or it ended: who watches it sees at once what becomes of it.

        A finished one, looked at seldom, may go on with more.
        """
        watched = self._watched.get(run_id)
        if watched is not None:
            watched.next_poll, watched.asked_until = now, now + _ASKED_S

    def has_clients(self, run_id: str) -> bool:
        """Whether a browser with our extension shows the run."""
        watched = self._watched.get(run_id)
        return watched is not None and bool(watched.clients)

    @property
    def is_idle(self) -> bool:
        """Whether nobody watches anything."""
        return not self._watched

    def next_due(self, now: float) -> float | None:
        """Seconds until `tick` has something to look at; None when nobody watches."""
        if not self._watched:
            return None
        return max(min(watched.next_poll for watched in self._watched.values()) - now, 0.0)

    def close(self) -> None:
        """Let go of all records."""
        for watched in self._watched.values():
            watched.tail.close()
        self._watched.clear()

    def _open(self, run_id: str) -> _Watched:
        watched = self._watched.get(run_id)
        if watched is None:
            source = self._sources.get(run_id) or self.controller.load(run_id)
            watched = self._watched[run_id] = _Watched(Tail(source))
        return watched

    def _close_unwatched(self, run_id: str) -> None:
        watched = self._watched[run_id]
        if not watched.clients and watched.displays <= 0:
            del self._watched[run_id]
            watched.tail.close()

    # -- what they say ------------------------------------------------------------------------

    def receive(self, raw: Any, channel: Channel, source: str, now: float) -> None:
        """Take a message from a browser, and answer on its channel."""
        try:
            message = read_message(raw)
        except WireError as error:
            self._refuse(raw, channel, error.message)
            return
        if message["type"] == "hello":
            self._hello(message, channel, source, now)
        elif message["type"] == "bye":
            self._bye(message["run"], message["client"], now)
        elif message["type"] == "command":
            channel.send(self._desk.answer(message, self.controller))
            self.look_soon(message["run"], now)
        elif message["type"] == "trial":
            self._trial(message, channel)
        else:
            self._curves(message, channel)

    def forget(self, source: str, now: float) -> None:
        """A connection was closed: its clients are gone."""
        for run_id, watched in list(self._watched.items()):
            for client in list(watched.clients.values()):
                if client.source == source:
                    self._bye(run_id, client.name, now)

    def _hello(self, message: Hello, channel: Channel, source: str, now: float) -> None:
        run_id, name = message["run"], message["client"]
        if message["v"] != PROTOCOL_VERSION:
            text = f"this page speaks version {message['v']}, the kernel {PROTOCOL_VERSION}"
            self._ack(channel, name, message["cid"], ok=False, text=f"{text}: reload the page")
            return
        try:
            watched = self._open(run_id)
        except NbAutomlError as error:
            if not isinstance(error, RunNotFoundError):
                logger.warning("run %s cannot be shown: %s", run_id, error)
            channel.send(
                {
                    "type": "unknown",
                    "v": PROTOCOL_VERSION,
                    "to": name,
                    "cid": message["cid"],
                    "run": run_id,
                }
            )
            return
        watched.next_poll = now  # it may have been followed at a display's slow pace
        is_new = name not in watched.clients
        watched.clients[name] = _Client(name, channel, source, now)
        while len(watched.clients) > _MAX_CLIENTS:
            oldest = min(watched.clients.values(), key=lambda client: client.last_seen)
            del watched.clients[oldest.name]
        before = watched.writer
        self._elect(watched, name if is_new else "", now)
        self._welcome(watched, name, message["cid"])
        if before not in ("", watched.writer, name) and before in watched.clients:
            self._welcome(watched, before, None)
        self._catch_up(watched, watched.clients[name], message["have"])

    def _catch_up(self, watched: _Watched, client: _Client, have: int | None) -> None:
        """Bring one client to where all others are."""
        if have == watched.tail.seq:
            # The record says no more, but who owns the run may have died since.
            delta = watched.tail.header_delta()
            self._tick_to(client.channel, [delta], client.name)
            return
        client.channel.send(
            {
                "type": "snapshot",
                "v": PROTOCOL_VERSION,
                "to": client.name,
                "snapshot": watched.tail.snapshot(),
            }
        )

    def _elect(self, watched: _Watched, newcomer: str, now: float) -> None:
        """Exactly one client may write the notebook: the newest that gives signs of life.

        A page that is reloaded says hello under a new name and never says bye under the old one;
        so a newcomer always wins.
        """
        writer = watched.clients.get(watched.writer)
        if newcomer:
            watched.writer = newcomer
        elif writer is None or now - writer.last_seen > _SILENT_S:
            newest = max(
                watched.clients.values(), key=lambda client: client.last_seen, default=None
            )
            watched.writer = newest.name if newest is not None else ""

    def _welcome(self, watched: _Watched, name: str, cid: str | None) -> None:
        watched.clients[name].channel.send(
            {
                "type": "welcome",
                "v": PROTOCOL_VERSION,
                "to": name,
                "cid": cid,
                "run": watched.tail.run_id,
                "seq": watched.tail.seq,
                "writer": watched.writer == name,
            }
        )

    def _bye(self, run_id: str, name: str, now: float) -> None:
        watched = self._watched.get(run_id)
        if watched is None or watched.clients.pop(name, None) is None:
            return
        if watched.clients and watched.writer == name:
            self._elect(watched, "", now)
            self._welcome(watched, watched.writer, None)
        self._close_unwatched(run_id)

    def _watched_by(
        self, message: CurvesRequest | TrialRequest, channel: Channel
    ) -> _Watched | None:
        watched = self._watched.get(message["run"])
        if watched is None:
            text = "say hello before asking for curves or trials"
            self._ack(channel, message["client"], message["cid"], ok=False, text=text)
        return watched

    def _trial(self, message: TrialRequest, channel: Channel) -> None:
        watched = self._watched_by(message, channel)
        if watched is None:
            return
        try:
            kept = watched.tail.kept(message["trial"])
        except NbAutomlError as error:
            self._ack(channel, message["client"], message["cid"], ok=False, text=str(error))
            return
        channel.send(
            {
                "type": "trial",
                "v": PROTOCOL_VERSION,
                "to": message["client"],
                "cid": message["cid"],
                "run": message["run"],
                "trial": message["trial"],
                **kept,
            }
        )

    def _curves(self, message: CurvesRequest, channel: Channel) -> None:
        watched = self._watched_by(message, channel)
        if watched is None:
            return
        channel.send(
            {
                "type": "lines",
                "v": PROTOCOL_VERSION,
                "to": message["client"],
                "cid": message["cid"],
                "run": message["run"],
                "name": message["name"],
                "lines": watched.tail.lines(message["trials"], message["name"]),
            }
        )

    def _refuse(self, raw: Any, channel: Channel, text: str) -> None:
        """Tell the sender of something unreadable, if it said who it is."""
        client, cid = (raw.get("client"), raw.get("cid")) if isinstance(raw, dict) else (None, None)
        if isinstance(client, str) and isinstance(cid, str) and len(client) + len(cid) < 500:
            self._ack(channel, client, cid, ok=False, text=text)
        else:
            logger.debug("a message that cannot be read was left out: %s", text)

    @staticmethod
    def _ack(channel: Channel, client: str, cid: str, *, ok: bool, text: str) -> None:
        channel.send(ack(client, cid, ok=ok, text=text))

    # -- what they are told -------------------------------------------------------------------

    def tick(self, now: float, *, every_s: float = 0.1) -> None:
        """Look at all runs that are due, and send what is new: one message a channel.

        A run that does not fit into the message any more waits for the next tick.
        """
        news: dict[int, tuple[Channel, list[Delta]]] = {}
        n_bytes = 0
        for run_id, watched in list(self._watched.items()):
            if watched.next_poll > now or n_bytes > _TICK_BYTES:
                continue
            delta = self._read(run_id, watched)
            watched.next_poll = now + self._pause_s(watched, now, every_s)
            if delta is not None and watched.clients:
                n_bytes += len(json.dumps(delta))
                for channel in _channels(watched.clients.values()):
                    news.setdefault(id(channel), (channel, []))[1].append(delta)
            if self._on_look is not None and run_id in self._watched:
                self._on_look(watched.tail)
        for channel, deltas in news.values():
            self._tick_to(channel, deltas, None)

    @staticmethod
    def _pause_s(watched: _Watched, now: float, every_s: float) -> float:
        if watched.tail.is_final:
            return _SELDOM_POLL_S if watched.tail.state == "finished" else _SLOW_POLL_S
        if not watched.clients:
            return max(every_s, 1.0)
        silent_s = now - max(client.last_seen for client in watched.clients.values())
        if silent_s > _SILENT_S:
            return max(every_s, min(_ASLEEP_SHARE * silent_s, _ASLEEP_POLL_S))
        return every_s if now < watched.asked_until else max(every_s, _LIVE_POLL_S)

    def _read(self, run_id: str, watched: _Watched) -> Delta | None:
        try:
            return watched.tail.delta()
        except NbAutomlError as error:
            # The folder was removed, or its disk is away: its panels stay as they are.
            logger.warning("run %s is not followed any more: %s", run_id, error)
            del self._watched[run_id]
            watched.tail.close()
            return None

    @staticmethod
    def _tick_to(channel: Channel, deltas: list[Delta], to: str | None) -> None:
        channel.send({"type": "tick", "v": PROTOCOL_VERSION, "to": to, "runs": deltas})


def _channels(clients: Iterable[_Client]) -> list[Channel]:
    return list({id(client.channel): client.channel for client in clients}.values())
