"""What each verb of ``%automl`` does: calls of `nbautoml.api`, and what is shown of their answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from IPython.display import display

from nbautoml.api import verbs
from nbautoml.api.ask import Ask, checked_options
from nbautoml.api.cell import CellBody, run_cell_body
from nbautoml.api.help import help_on
from nbautoml.api.option import Verb
from nbautoml.api.parser import Order
from nbautoml.api.run import Run
from nbautoml.api.verb_table import in_python
from nbautoml.errors import DataError, RecipeError, UsageError
from nbautoml.magics.names import check_name_free, why_not_bound
from nbautoml.magics.settings import data_of, expressions_of, settings_of

__all__ = ["ACTIONS", "asked_help", "start_run"]


def asked_help(verb: Verb | None, line: str) -> Any:
    """Help on a verb; on everything, with the runs that there are, when nothing was said."""
    display(help_on(verb))
    if not line.strip():
        display(verbs.runs())
    return None


def start_run(shell: Any, order: Order, cell: str | None, n_above: int) -> Run:
    """Run the cell, submit what it defines, bind and show the run: tune and train."""
    namespace = shell.user_ns
    body = None if cell is None else run_cell_body(shell, cell, n_lines_above=n_above)
    check_name_free(order, namespace)  # the cell itself may have taken the name
    ask = _ask(order, body, namespace)
    try:
        run = verbs.start(ask)
    except (RecipeError, DataError, UsageError) as error:
        raise order.explained(error) from error.__cause__
    namespace[order.values["NAME"]] = run
    _say(run.notes)
    return run.show_once()


def _ask(order: Order, body: CellBody | None, namespace: Mapping[str, Any]) -> Ask:
    said = expressions_of(order, namespace)
    data, data_text = data_of(order, namespace)
    model = said.pop("model", None)
    symbol = ""
    if model is None:
        if body is None:
            raise order.error(
                "model",
                f"%automl {order.verb.name} needs a model",
                "say --model Net, or define it in a cell under %%automl",
            )
        symbol, model = body.model()
    known = {option.name for option in in_python(order.verb)}
    plain = {name: value for name, value in order.values.items() if name in known}
    options, _ = checked_options(
        order.verb.name, {**plain, **said, "data": data, "name": order.values["NAME"]}
    )
    return Ask(
        verb=order.verb.name,
        model=model,
        symbol=symbol,
        options=options,
        settings=settings_of(order, namespace),
        cell=body.names if body else {},
        cell_source=body.source if body else "",
        data_text=data_text,
        line=order.prefix + order.line,
    )


def _show(shell: Any, order: Order) -> Run:
    run = _load(order)
    _bind(shell, run)
    return run.show_once()


def _runs(_shell: Any, order: Order) -> Any:
    return verbs.runs(home=order.values.get("home"))


def _steer(order_of: Callable[[Run], Run]) -> Callable[..., None]:
    def act(_shell: Any, order: Order) -> None:
        run = order_of(_load(order))
        _say([repr(run)])

    return act


def _resume(shell: Any, order: Order) -> Run:
    values = order.values
    run = _load(order).resume(
        more=values.get("more"), time=values.get("time"), run_code="run_code" in values
    )
    _bind(shell, run)
    return run.show_once()


def _rm(shell: Any, order: Order) -> None:
    name, home = order.values["NAME"], order.values.get("home")
    run = _load(order)
    place = verbs.remove(run.id, for_good="yes" in order.values, home=home)
    if "yes" in order.values:
        _say([f"run {name!r} is deleted"])
    else:
        _say(
            [
                f"run {name!r} is in the trash: {place}",
                f"nbautoml.restore({place.name!r}) brings it back",
            ]
        )
    found = shell.user_ns.get(name)
    if isinstance(found, Run) and found.id == run.id:
        del shell.user_ns[name]


def _code(shell: Any, order: Order) -> None:
    from nbautoml.api.portable import portable_code

    code = portable_code(_load(order), order.values.get("trial"))
    shell.set_next_input(code, replace=False)


def _report(_shell: Any, order: Order) -> None:
    path = _load(order).report(order.values.get("path"))
    _say([f"the report is written: {path}"])


def _verify(_shell: Any, order: Order) -> Any:
    values = order.values
    found = verbs.verify(_load(order), values.get("trials"), run_code=values.get("run_code", False))
    if values.get("json"):
        _say([json.dumps(found.to_json(), indent=1)])
        return None
    return found


def _compare(_shell: Any, order: Order) -> Any:
    values = order.values
    return verbs.compare(values["A"], values["B"], home=values.get("home"))


def _export(_shell: Any, order: Order) -> None:
    values = order.values
    path = verbs.export(_load(order), values.get("path"), with_data=values.get("with_data", False))
    _say([f"the archive is written: {path.absolute()} ({path.stat().st_size / 1e6:.1f} MB)"])


def _import(shell: Any, order: Order) -> Run:
    run = verbs.import_run(order.values["FILE"], home=order.values.get("home"))
    _bind(shell, run)
    return run.show_once()


def _load(order: Order) -> Run:
    """The run that is named."""
    return verbs.load(order.values["NAME"], home=order.values.get("home"))


def _bind(shell: Any, run: Run) -> None:
    """Bind the run's name, where it can be a variable and belongs to nobody else."""
    reason = why_not_bound(run.name, shell.user_ns)
    if reason:
        _say([f"{reason}: nbautoml.load({run.name!r}) gives the run"])
    else:
        shell.user_ns[run.name] = run


def _say(lines: Any) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


ACTIONS: Mapping[str, Callable[..., Any]] = {
    "runs": _runs,
    "show": _show,
    "stop": _steer(Run.stop),
    "pause": _steer(Run.pause),
    "resume": _resume,
    "rm": _rm,
    "code": _code,
    "report": _report,
    "verify": _verify,
    "compare": _compare,
    "export": _export,
    "import": _import,
}
"""One function a verb that takes no cell, called as ``(shell, order)``."""
