"""``%automl`` and ``%%automl``: parse, call, show, return."""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from nbautoml.api.namespace import evaluate
from nbautoml.api.parser import HelpAsked, Order, Parser
from nbautoml.api.words import Word
from nbautoml.errors import NbAutomlError
from nbautoml.magics.actions import ACTIONS, asked_help, start_run
from nbautoml.magics.names import check_name_free
from nbautoml.magics.tokens import expand, split_words

__all__ = ["AutomlMagics"]


@magics_class
class AutomlMagics(Magics):  # type: ignore[misc]
    """The magic; ``%automl help`` tells what it can do."""

    @no_var_expand  # type: ignore[untyped-decorator]
    @line_cell_magic  # type: ignore[untyped-decorator]
    def automl(self, line: str, cell: str | None = None) -> Any:
        """Tune and train PyTorch models from a cell; ``%automl help`` lists everything."""
        line, cell, n_above = _continued(line, cell)
        try:
            order = self.parse(line, cell)
        except HelpAsked as asked:
            return asked_help(asked.verb, line)
        if order.verb.in_cell:
            return start_run(self.shell, order, cell, n_above)
        return ACTIONS[order.verb.name](self.shell, order)

    def parse(self, line: str, cell: str | None) -> Order:
        """The order that the words give.

        Raises:
            UsageError: points at the word that is off.
            HelpAsked: the words ask for help.
        """
        prefix = "%automl " if cell is None else "%%automl "
        words = expand(
            split_words(line, prefix=prefix), self.shell.user_ns, line=line, prefix=prefix
        )
        parser = Parser(line, prefix=prefix)
        order = parser.parse(words, _parameters(words, cell, self.shell.user_ns))
        if cell is not None and not order.verb.in_cell:
            raise parser.error(
                f"{order.verb.name} takes no cell", words[0], "use one %: %automl " + line.strip()
            )
        if "NAME" in order.values and order.verb.in_cell:
            check_name_free(order, self.shell.user_ns)
        return order


def _continued(line: str, cell: str | None) -> tuple[str, str | None, int]:
    """The magic's line with the lines that a backslash at its end goes on to.

    Returns:
        The line, the rest of the cell, and how many lines stand above that.
    """
    n_above = 1
    if cell is not None:
        while line.rstrip().endswith("\\") and cell:
            more, _, cell = cell.partition("\n")
            line = f"{line.rstrip()[:-1]} {more.strip()}"
            n_above += 1
    return line, cell, n_above


def _parameters(
    words: Collection[Word], cell: str | None, namespace: dict[str, Any]
) -> Collection[str]:
    """Names that the model takes, known before anything runs: from the cell's text, or --model."""
    names: set[str] = set()
    if cell is not None:
        names = _arguments_in(cell)
    listed = list(words)
    for place, word in enumerate(listed[:-1]):
        if word == "--model":
            names |= _arguments_of(listed[place + 1], namespace)
    return names


def _arguments_in(cell: str) -> set[str]:
    """The arguments of every ``__init__`` in a cell; none when it is no Python (yet to be told)."""
    try:
        tree = ast.parse("\n".join(_without_magics(cell)))
    except SyntaxError:
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = node.args
            found |= {item.arg for item in (*arguments.args[1:], *arguments.kwonlyargs)}
    return found


def _without_magics(cell: str) -> list[str]:
    return ["" if line.lstrip().startswith(("%", "!")) else line for line in cell.splitlines()]


def _arguments_of(word: Word, namespace: dict[str, Any]) -> set[str]:
    from nbautoml.spec.reading import read_parameters

    try:
        model = word.value if word.is_expanded else evaluate(str(word), namespace)
        return set(read_parameters(model).names)
    except (NbAutomlError, TypeError):
        return set()  # what is off with --model is told when it is read
