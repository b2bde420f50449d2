"""The one thing that a panel can act through; whoever shows panels hands it in."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from nbautoml.events import Command
from nbautoml.spec.recipe import Recipe
from nbautoml.widgets.source import RunSource

__all__ = ["Controller"]


@runtime_checkable
class Controller(Protocol):
    """What a panel may ask for: to start, to command, and to find runs.

    Obligations of an implementation:

    * All three are called on the live link's own thread, not on the kernel's main one, and must
      not touch the display, the namespace or plots.
    * They return soon (a file is written or read, nothing waits for training): while one of
      them works, no panel of the kernel moves.
    * What the user can mend is raised as an `NbAutomlError`; its text is shown beside the button.
    """

    def submit(self, recipe: Recipe, capsule: Any) -> RunSource:
        """Start a new run and return it; it may not have begun yet.

        Raises:
            NbAutomlError: it cannot be started.
        """

    def command(self, run_id: str, command: Command) -> str:
        """Ask a run to do something; returns a line for people that says what was asked.

        The command is obeyed later, by the run's supervisor; a `CommandObeyed` event says when.
        Asking a run that is over, or whose supervisor is gone, is an error and not silence.

        Raises:
            RunNotFoundError: there is no such run here.
            NbAutomlError: nobody is there to obey.
        """

    def load(self, run_id: str) -> RunSource:
        """The run with that id, wherever this kernel keeps runs.

        The id comes from a notebook that anyone may have written: it is no path, and must not
        become one without a check.

        Raises:
            RunNotFoundError: there is no such run here.
        """
