"""What a person asked for, by a magic or by a call, before anything was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from nbautoml.api.kinds import one_of
from nbautoml.api.options import DEFAULT_MODELS, DEFAULT_TRIALS
from nbautoml.api.verb_table import VERBS, in_python
from nbautoml.errors import UsageError
from nbautoml.store import Home

__all__ = ["Ask", "checked_options"]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call of `tune`, `train` or `compress`.

    Attributes:
        verb: "tune", "train" or "compress".
        model: the class or function; to compress, a trained module or a run.
        symbol: its name, when that is known; "" to look it up.
        options: every option of the verb but the settings, checked.
        settings: values and dimensions that were said beside the space: flags, keyword arguments.
        cell: names that the cell assigned.
        cell_source: the cell as valid Python, for the capsule.
        data_text: the data as it was typed, for descriptions and for plain code.
        line: the magic's line, kept with the run.
    """

    verb: str
    model: Any
    options: Mapping[str, Any]
    symbol: str = ""
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    cell: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    cell_source: str = ""
    data_text: str = ""
    line: str = ""

    @property
    def home(self) -> Home:
        """Where the run is to lie."""
        return Home(self.options["home"])

    @property
    def direction(self) -> str | None:
        """What was said about the direction."""
        if self.options.get("maximize"):
            return "maximize"
        return "minimize" if self.options.get("minimize") else None

    @property
    def n_trials(self) -> int | None:
        """How many trials; None where another limit ends the run."""
        if self.verb == "train":
            return 1
        said: int | None = self.options["trials"]
        if said is not None:
            return said
        if self.verb == "compress":
            if self.options["method"] != "auto":
                return 2  # the original, and what was named
            return None if self.options["time"] is not None else DEFAULT_MODELS
        is_listed = self.options["sampler"] in {"grid", "brute"}
        return None if self.options["time"] is not None or is_listed else DEFAULT_TRIALS


def checked_options(verb: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments as (options with their defaults, the rest: settings and parameters).

    Raises:
        UsageError: a value of the wrong kind, or no option, or both directions.

    >>> options, settings = checked_options("tune", {"trials": 5, "time": "1m", "lr": 0.1})
    >>> options["trials"], options["time"], options["seed"], settings
    (5, 60.0, 0, {'lr': 0.1})
    """
    known = {option.name: option for option in in_python(VERBS[verb])}
    options = {name: option.default for name, option in known.items()}
    settings: dict[str, Any] = {}
    for name, value in given.items():
        option = known.get(name)
        if option is None:
            settings[name] = value
        elif value is not None:
            checked = option.rules.checked(name, value)
            options[name] = one_of(name, checked, option.choices) if option.choices else checked
    if options.get("maximize") and options.get("minimize"):
        raise UsageError("maximize and minimize are both True", hint="leave one of them out")
    return options, settings
