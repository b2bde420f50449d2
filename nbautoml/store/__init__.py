"""The record of runs: folders, the inbox, and the SQL record with its one writer and many readers.

::

    Home ---- runs/<id>/ = RunFolder ---- recipe.json, capsule/, artifacts/, supervisor.log
                                     |--- inbox/       Inbox: commands as files, renamed in whole
                                     |--- owner.lock   held by the one Writer
                                     '--- record.db    Writer (the supervisor) / Reader (everyone)

Importing this package loads no SQLAlchemy: that happens when a record is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbautoml.store.archive import export_run, import_archive
    from nbautoml.store.artifacts import (
        delete_artifact,
        load_artifact,
        save_artifact,
        sweep_artifacts,
    )
    from nbautoml.store.folder import RunFolder
    from nbautoml.store.home import Home
    from nbautoml.store.inbox import Inbox
    from nbautoml.store.owner import Owner
    from nbautoml.store.reader import Reader
    from nbautoml.store.rows import (
        ArtifactRow,
        Changes,
        CommandRow,
        Cursor,
        LogRow,
        Page,
        Points,
        RunInfo,
        RunRow,
        TrialRow,
    )
    from nbautoml.store.writer import Writer

_WHERE = {
    "ArtifactRow": "rows",
    "Changes": "rows",
    "CommandRow": "rows",
    "Cursor": "rows",
    "Home": "home",
    "Inbox": "inbox",
    "LogRow": "rows",
    "Owner": "owner",
    "Page": "rows",
    "Points": "rows",
    "Reader": "reader",
    "RunFolder": "folder",
    "RunInfo": "rows",
    "RunRow": "rows",
    "TrialRow": "rows",
    "Writer": "writer",
    "delete_artifact": "artifacts",
    "export_run": "archive",
    "import_archive": "archive",
    "load_artifact": "artifacts",
    "save_artifact": "artifacts",
    "sweep_artifacts": "artifacts",
}

__all__ = [
    "ArtifactRow",
    "Changes",
    "CommandRow",
    "Cursor",
    "Home",
    "Inbox",
    "LogRow",
    "Owner",
    "Page",
    "Points",
    "Reader",
    "RunFolder",
    "RunInfo",
    "RunRow",
    "TrialRow",
    "Writer",
    "delete_artifact",
    "export_run",
    "import_archive",
    "load_artifact",
    "save_artifact",
    "sweep_artifacts",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
