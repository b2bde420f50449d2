"""The verbs in a terminal: the same table, the same words, answers on standard output.

Exit codes: 0 done, 1 refused (no such run, a damaged record) or not verified, 2 the words are off,
130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from nbautoml.api import verbs
from nbautoml.api.help import help_on
from nbautoml.api.parser import HelpAsked, Order, Parser
from nbautoml.api.run import Run
from nbautoml.api.words import words_of
from nbautoml.errors import NbAutomlError, UsageError

__all__ = ["main"]

DONE, REFUSED, MISUSED, INTERRUPTED = 0, 1, 2, 130
PREFIX = "python -m nbautoml "


def main(arguments: list[str]) -> int:
    """Obey the words; returns the exit code."""
    try:
        line, words = words_of(arguments)
        order = Parser(line, prefix=PREFIX).parse(words)
        if order.verb.name not in _ACTIONS:
            raise UsageError(
                f"{order.verb.name} needs the notebook or Python",
                hint=f"%%automl {order.verb.name} in a cell, nbautoml.{order.verb.name}(...) "
                "in a script",
            )
        answer = _ACTIONS[order.verb.name](order)
        _tell(answer)
        if isinstance(answer, _Verified) and not answer.is_equal:
            return REFUSED
    except HelpAsked as asked:
        _tell(help_on(asked.verb, in_terminal=True))
    except NbAutomlError as error:
        sys.stderr.write(f"{error}\n")
        return MISUSED if isinstance(error, UsageError) else REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # what reads us has seen enough, as `head` does
    return DONE


def _tell(answer: object) -> None:
    if answer is not None:
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _run(order: Order) -> Run:
    return verbs.load(order.values["NAME"], home=order.values.get("home"))


def _show(order: Order) -> str:
    from nbautoml.widgets.snapshot import build_snapshot
    from nbautoml.widgets.static import to_text

    return to_text(build_snapshot(_run(order).folder))


def _rm(order: Order) -> str:
    name, is_for_good = order.values["NAME"], "yes" in order.values
    place = verbs.remove(name, for_good=is_for_good, home=order.values.get("home"))
    return f"run {name!r} is {'deleted' if is_for_good else f'in the trash: {place}'}"


def _code(order: Order) -> str:
    from nbautoml.api.portable import portable_code

    return portable_code(_run(order), order.values.get("trial"))


class _Verified(str):
    """What verify found, as text, and whether it is well."""

    __slots__ = ("is_equal",)
    is_equal: bool


def _verify(order: Order) -> _Verified:
    values = order.values
    found = verbs.verify(_run(order), values.get("trials"), run_code="run_code" in values)
    told = _Verified(json.dumps(found.to_json(), indent=1) if "json" in values else repr(found))
    told.is_equal = found.is_equal
    return told


def _export(order: Order) -> str:
    values = order.values
    path = verbs.export(_run(order), values.get("path"), with_data="with_data" in values)
    return str(path.absolute())


_ACTIONS: Mapping[str, Callable[[Order], Any]] = {
    "runs": lambda order: verbs.runs(home=order.values.get("home")),
    "show": _show,
    "stop": lambda order: _run(order).stop(),
    "pause": lambda order: _run(order).pause(),
    "resume": lambda order: _run(order).resume(
        more=order.values.get("more"),
        time=order.values.get("time"),
        run_code="run_code" in order.values,
    ),
    "rm": _rm,
    "code": _code,
    "report": lambda order: _run(order).report(order.values.get("path")),
    "verify": _verify,
    "compare": lambda order: verbs.compare(
        order.values["A"], order.values["B"], home=order.values.get("home")
    ),
    "export": _export,
    "import": lambda order: verbs.import_run(order.values["FILE"], home=order.values.get("home")),
}
