"""`RunPanel`: a run as an anywidget, to be composed with other widgets. The only module that loads anywidget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from nbautoml.errors import MissingExtraError
from nbautoml.widgets import live
from nbautoml.widgets.bounding import to_saved
from nbautoml.widgets.controller import Controller
from nbautoml.widgets.protocol import ToBrowser
from nbautoml.widgets.snapshot import build_snapshot
from nbautoml.widgets.source import RunSource
from nbautoml.widgets.static import to_html, to_text

__all__ = ["RunPanel", "panel"]

_STATIC = Path(__file__).parents[1] / "static"
_SCRIPT, _STYLE = _STATIC / "widget.js", _STATIC / "widget.css"

_panels: dict[str, RunPanel] = {}


def panel(folder: RunSource, controller: Controller) -> RunPanel:
    """The panel of a run: one a run, however often it is shown, so that the page holds one model.

    Raises:
        MissingExtraError: the front end was not built.
        StoreError: the record cannot be read.
    """
    found = _panels.get(folder.id)
    if found is None or found.comm is None:
        found = _panels[folder.id] = RunPanel(folder, controller)
    return found


class RunPanel(anywidget.AnyWidget):  # type: ignore[misc]
    """A live panel of a run. Get one from `panel`, or as ``run.panel()``.

    The messages are those of the wire (`nbautoml.widgets.protocol`), as custom messages.

    Args:
        folder: the run.
        controller: what the buttons act through.
    """

    _esm = _SCRIPT if _SCRIPT.is_file() else "export default {};"
    _css = _STYLE if _STYLE.is_file() else ""
    _link: live.LiveLink | None = (
        None  # none before it is made: `close` runs also on half-made ones
    )
    run = traitlets.Unicode().tag(sync=True)
    _snapshot = traitlets.Dict().tag(sync=True)

    def __init__(self, folder: RunSource, controller: Controller) -> None:
        if not _SCRIPT.is_file():
            raise MissingExtraError(
                f"the panel's front end is not built: {_SCRIPT} is missing",
                hint="install a released nbautoml, or build it in your clone: make front",
            )
        self._folder = folder
        link = self._link = live.start(controller)
        link.add_source(folder)
        self._channel = _PanelChannel(self)
        super().__init__(run=folder.id, _snapshot=dict(to_saved(build_snapshot(folder))))
        self.on_msg(self._received)

    def open(self) -> None:
        """Open the comm, so that its messages arrive also while a cell runs."""
        super().open()
        if self.comm is not None:
            live.open_to_any_shell(self.comm, self._handle_msg)

    def close(self) -> None:
        """Close the comm; views of it are gone."""
        if self._link is not None:
            self._link.forget(self._source)
        super().close()

    def _received(self, _: Any, content: Any, __: Any) -> None:
        """A custom message came; runs on whichever shell thread it came in."""
        if self._link is not None:
            self._link.post(content, self._channel, self._source)

    @property
    def _source(self) -> str:
        return f"panel-{id(self)}"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and for where there are no widgets the table and the text."""
        found = super()._repr_mimebundle_(**options)
        snapshot = build_snapshot(self._folder)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        texts = {"text/html": to_html(snapshot), "text/plain": to_text(snapshot)}
        return {**data, **texts}, metadata

    def __repr__(self) -> str:
        return f"RunPanel({self.run!r})"


class _PanelChannel:
    """The way to all views of one panel."""

    def __init__(self, owner: RunPanel) -> None:
        self._owner = owner

    def send(self, message: ToBrowser) -> None:
        self._owner.send(message)
