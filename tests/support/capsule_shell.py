"""A notebook's shell for tests of capsules."""

from __future__ import annotations

import contextlib
import io

from IPython.core.interactiveshell import InteractiveShell

from nbautoml.capsule import Capsule, build_capsule, cells_from_shell


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
