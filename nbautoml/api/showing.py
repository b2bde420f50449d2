"""Runs below a cell: the bundle, its live link, the composable panel. One controller a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbautoml.api.controlling import HomeController

if TYPE_CHECKING:
    from nbautoml.api.run import Run

__all__ = ["CONTROLLER", "bundle_for", "listen", "look_soon", "panel_for", "refresh", "show"]

CONTROLLER = HomeController()


def listen() -> None:
    """Let panels in this kernel's front ends find their runs, also those of saved outputs."""
    from nbautoml.widgets import live

    live.start(CONTROLLER)


def bundle_for(run: Run) -> dict[str, Any]:
    """The run as it stands, for live panels, for HTML and for text."""
    from nbautoml.widgets.snapshot import build_snapshot
    from nbautoml.widgets.static import mime_bundle

    CONTROLLER.add_home(run.home)
    return mime_bundle(build_snapshot(run.folder))


def show(run: Run) -> None:
    """Show it below the cell that is running, and keep it up to date."""
    from nbautoml.widgets import display

    CONTROLLER.add_home(run.home)
    display.show(run.folder, CONTROLLER)


def refresh(run: Run) -> None:
    """Bring what is shown of it up to date, now: a cell that waited is about to end."""
    from nbautoml.widgets import live

    if live.current_link() is not None:
        from nbautoml.widgets import display

        display.refresh(run.folder)


def look_soon(run: Run) -> None:
    """Let panels of it that are open see at once what becomes of it."""
    from nbautoml.widgets import live

    link = live.current_link()
    if link is not None:
        link.look_soon(run.id)


def panel_for(run: Run) -> Any:
    """Its panel as a widget."""
    from nbautoml.widgets.panel import panel

    CONTROLLER.add_home(run.home)
    return panel(run.folder, CONTROLLER)
