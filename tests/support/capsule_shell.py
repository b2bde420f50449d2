"""A notebook's shell: one of a test's own, and one for tests of capsules."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator

from IPython.core.interactiveshell import InteractiveShell

from nbautoml.capsule import Capsule, build_capsule, cells_from_shell


@contextlib.contextmanager
def own_shell() -> Iterator[InteractiveShell]:
    """A shell while the block lasts: later files of tests find neither it, nor its names.

    It puts its own module in the place of __main__; processes of later tests need the real one.
    """
    main = sys.modules["__main__"]
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(colors="nocolor")
    shell.history_manager.enabled = False  # no history file
    try:
        yield shell
    finally:
        shell.history_manager.end_session()
        shell.reset(new_session=False)
        InteractiveShell.clear_instance()
        sys.modules["__main__"] = main


class Shell:
    """A notebook's shell, emptied between notebooks."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def run(self, *cells: str) -> None:
        self._shell.reset(new_session=False)
        self._shell.compile.reset_compiler_flags()
        for cell in cells:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                self._shell.run_cell(cell, store_history=True)

    @property
    def names(self) -> dict[str, object]:
        return self._shell.user_ns

    def capsule(self, *roots: str) -> Capsule:
        return build_capsule(roots, self.names, cells=cells_from_shell(self._shell))
