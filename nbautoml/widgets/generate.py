"""Writes ``js/src/protocol.ts`` from `nbautoml.widgets.protocol`: ``python -m nbautoml.widgets.generate [--check]``."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import types
from pathlib import Path
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from nbautoml.events.commands import COMMANDS
from nbautoml.events.facts import RUN_STATES, TRIAL_STATES
from nbautoml.widgets import protocol

__all__ = ["TARGET", "main", "render"]

TARGET = Path(__file__).parents[2] / "js" / "src" / "protocol.ts"

_WIDTH = 110

_HEAD = """\
// Generated from nbautoml/widgets/protocol.py by `python -m nbautoml.widgets.generate`. Do not edit.

"""

# Saving and reading back is the same on both sides, so it lives beside the types.
_TAIL = """\
/** What goes into the output of a cell. */
export function toSaved(snapshot: Snapshot): Saved {
  return {
    v: snapshot.v,
    run: snapshot.run,
    taken_at: snapshot.taken_at,
    text: JSON.stringify(snapshot),
  };
}

/** The snapshot in the output of a cell, or null where there is none that this version can read. */
export function fromSaved(data: unknown): Snapshot | null {
  const saved = data as Partial<Saved> | null | undefined;
  if (saved?.v !== PROTOCOL_VERSION || typeof saved.text !== 'string') return null;
  try {
    const snapshot = JSON.parse(saved.text) as Snapshot;
    return snapshot?.v === PROTOCOL_VERSION && snapshot.run === saved.run ? snapshot : null;
  } catch {
    return null;
  }
}
"""

_SIMPLE = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    Any: "unknown",
}


def typescript_of(hint: Any) -> str:
    """The TypeScript type of a Python annotation.

    >>> typescript_of(dict[str, list[float | None]])
    'Record<string, (number | null)[]>'
    """
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if is_typeddict(hint):
        return str(hint.__name__)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return typescript_of(arguments[0])
    if origin is Literal:
        return " | ".join(_quoted(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(typescript_of(item) for item in arguments))
    if origin is list:
        item = typescript_of(arguments[0])
        return f"({item})[]" if " | " in item else f"{item}[]"
    if origin is dict:
        return f"Record<string, {typescript_of(arguments[1])}>"
    raise TypeError(f"no TypeScript for {hint!r}")


def render() -> str:
    """The text of ``protocol.ts``."""
    parts = [_HEAD, *_constants(), "\n"]
    parts += [_interface(kind) for kind in protocol.TYPES]
    parts += [
        _union("ToBrowser", protocol.ToBrowser),
        _union("FromBrowser", protocol.FromBrowser),
        "\n",
    ]
    return "".join([*parts, _TAIL])


def main(arguments: list[str] | None = None) -> int:
    """Write the file, or with ``--check`` only say whether it is fresh.

    Returns:
        0, or 1 when ``--check`` found it stale.
    """
    parser = argparse.ArgumentParser(
        prog="python -m nbautoml.widgets.generate", description=__doc__
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    check = parser.parse_args(arguments).check
    text = render()
    if check:
        is_fresh = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text
        if not is_fresh:
            sys.stderr.write(f"{TARGET} is stale: run python -m nbautoml.widgets.generate\n")
        return 0 if is_fresh else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    return 0


def _constants() -> list[str]:
    values = {
        "MIME": protocol.MIME,
        "PROTOCOL_VERSION": protocol.PROTOCOL_VERSION,
        "EVENTS_TARGET": protocol.EVENTS_TARGET,
        "EVENTS_COMM_ID": protocol.EVENTS_COMM_ID,
        "COMMANDS_TARGET": protocol.COMMANDS_TARGET,
    }
    tables = {
        "RUN_STATES": RUN_STATES,
        "FINAL_STATES": protocol.FINAL_STATES,
        "TRIAL_STATES": TRIAL_STATES,
        "COMMANDS": tuple(COMMANDS),
    }
    lines = [f"export const {name} = {_quoted(value)};\n" for name, value in values.items()]
    return lines + [_table(name, words) for name, words in tables.items()]


def _table(name: str, words: tuple[str, ...]) -> str:
    """A constant list, laid out as the front end's formatter does it."""
    line = f"export const {name} = [{', '.join(map(_quoted, words))}] as const;\n"
    if len(line) <= _WIDTH:
        return line
    body = "".join(f"  {_quoted(word)},\n" for word in words)
    return f"export const {name} = [\n{body}] as const;\n"


def _interface(kind: type) -> str:
    hints = get_type_hints(kind, include_extras=True)
    body = "".join(
        f"  {name}{'?' if get_origin(hint) is NotRequired else ''}: {typescript_of(hint)};\n"
        for name, hint in hints.items()
    )
    return f"{_comment(kind)}export interface {kind.__name__} {{\n{body}}}\n\n"


def _comment(kind: type) -> str:
    text = re.sub(r"``|`", "`", inspect.cleandoc(kind.__doc__ or ""))
    lines = text.splitlines()
    if len(lines) == 1:
        return f"/** {lines[0]} */\n"
    return "/**\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */\n"


def _union(name: str, alias: Any) -> str:
    return f"export type {name} = {typescript_of(alias)};\n"


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return "'" + json.dumps(value)[1:-1].replace("'", "\\'") + "'"
    return json.dumps(value)


if __name__ == "__main__":
    raise SystemExit(main())
