"""A run's inbox: commands as small files, written aside, renamed in whole, taken in order."""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from nbautoml.errors import NbAutomlError, StoreError
from nbautoml.events import Command, command_from_json
from nbautoml.events.wire import WireError, dumps
from nbautoml.store.files import make_folder, os_errors, read_small, write_whole

__all__ = ["Inbox"]

LIMIT_BYTES = 64 * 1024
MAX_DEPTH = 20
_REFUSED = "refused"

logger = logging.getLogger(__name__)


class Inbox:
    """Commands that wait for the run's supervisor.

    Anyone who may write the folder drops commands; the supervisor alone takes them.

    >>> import tempfile; from nbautoml.events import Pause
    >>> inbox = Inbox(Path(tempfile.mkdtemp()) / "inbox")
    >>> key = inbox.drop(Pause())
    >>> inbox.has_any(), [command for _, command in inbox.take()], inbox.has_any()
    (True, [Pause()], False)
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def drop(self, command: Command) -> str:
        """Leave a command; returns the id that its acknowledgement will carry.

        Raises:
            StoreError: the folder cannot be written, or the command is over 64 KB.
        """
        data = dumps(command).encode()
        if len(data) > LIMIT_BYTES:
            raise StoreError(
                f"the command {type(command).__name__} has {len(data):,} bytes, "
                f"more than {LIMIT_BYTES:,}"
            )
        make_folder(self.path)
        # 20 digits keep names in the order of time until the year 5138.
        key = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(3)}"
        # No fsync: a click that a power cut undoes is clicked again, and a drop costs 0.1 ms.
        write_whole(self.path / f"{key}.json", data, is_synced=False)
        return key

    def has_any(self) -> bool:
        """Whether something waits; cheap enough to ask at every turn of a loop."""
        try:
            with os.scandir(self.path) as entries:
                return any(_is_command(entry.name) for entry in entries)
        except OSError:
            return False

    def take(
        self, on_refused: Callable[[str, str], None] | None = None
    ) -> list[tuple[str, Command]]:
        """Read and remove what waits, oldest first, as (id, command).

        What is no command (malformed, over 64 KB, a link) is moved to ``refused/``.

        Args:
            on_refused: told (file name, reason) of each such file; else they are logged.

        Raises:
            StoreError: the folder cannot be read or a file cannot be removed.
        """
        if not self.path.is_dir():
            return []
        with os_errors("read", self.path):
            names = sorted(path.name for path in self.path.iterdir() if _is_command(path.name))
        taken = []
        for name in names:
            path = self.path / name
            try:
                command = _parsed(read_small(path, limit=LIMIT_BYTES))
            except NbAutomlError as error:
                self._refuse(path)
                reason = error.message
                if on_refused is not None:
                    on_refused(name, reason)
                else:
                    logger.warning("inbox: %r is no command and was put aside: %s", name, reason)
                continue
            with os_errors("remove", path):
                path.unlink(missing_ok=True)
            taken.append((path.stem, command))
        return taken

    def forget(self, kinds: tuple[type[Command], ...]) -> None:
        """Remove what waits of these kinds; the rest stays, what is no command included.

        Raises:
            StoreError: a file cannot be removed.
        """
        if not self.path.is_dir():
            return
        for path in [path for path in self.path.iterdir() if _is_command(path.name)]:
            try:
                command = _parsed(read_small(path, limit=LIMIT_BYTES))
            except NbAutomlError:
                continue  # `take` puts it aside and tells
            if isinstance(command, kinds):
                with os_errors("remove", path):
                    path.unlink(missing_ok=True)

    def _refuse(self, path: Path) -> None:
        aside = make_folder(self.path / _REFUSED)
        with os_errors("put aside", path):
            path.replace(aside / path.name)


def _is_command(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _parsed(data: bytes) -> Command:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a JSON message: {error}") from error
    if _depth(found) > MAX_DEPTH:
        raise WireError(f"nested deeper than {MAX_DEPTH}")
    return command_from_json(found)


def _depth(value: object) -> int:
    """How deeply lists and objects are nested, counted without recursion."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
