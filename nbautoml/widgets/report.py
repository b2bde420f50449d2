"""A run as one HTML file that needs nothing else: ``%automl report NAME``.

The file says by its content security policy that nothing but its own style and its own short
script may act, and nothing be fetched; without the script all is there, only not sortable.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nbautoml.spec.recipe import Recipe
from nbautoml.widgets.front_picture import front_picture
from nbautoml.widgets.labels import (
    duration_label,
    number_label,
    one_line,
    printable,
    quantity_label,
    unit_of,
    value_label,
)
from nbautoml.widgets.markup import Markup, el, join
from nbautoml.widgets.pictures import curves_picture, history_picture, slice_picture
from nbautoml.widgets.protocol import Column, Snapshot
from nbautoml.widgets.report_style import SCRIPT, STYLE
from nbautoml.widgets.summary import (
    best_first,
    cells,
    front_line,
    front_marks,
    limits_line,
    progress_line,
    taken_at_label,
)
from nbautoml.widgets.svg import PALETTE

__all__ = ["report_html"]

_N_CURVES = 300
_MAX_SLICES = 24


def report_html(
    snapshot: Snapshot,
    recipe: Recipe,
    capsule_source: str,
    *,
    importance: Mapping[str, float] | None = None,
    failures: Mapping[int, str] | None = None,
    verdicts: Sequence[str] = (),
) -> str:
    """The whole report.

    Args:
        snapshot: the run with all its rows: ``build_snapshot(folder, limit_bytes=None)``.
        recipe: what was asked to run.
        capsule_source: the code that was trained.
        importance: share of each parameter in the spread of the results, where it was computed.
        failures: by trial, the traceback of what went wrong: the newest few are enough.
        verdicts: sentences about what was tried, the one about the whole first.
    """
    header = snapshot["header"]
    title = f"{one_line(header['name'], 100)} · nbautoml"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_policy()),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        # Both are constants of ours, and neither holds a closing tag.
        Markup(f"<style>{STYLE}</style>"),
    )
    body = el(
        "body",
        _top(snapshot),
        el(
            "main",
            _cards(snapshot),
            _best(snapshot, recipe),
            _verdicts(verdicts),
            _fronts(snapshot),
            _pictures(snapshot),
            _slices(snapshot, recipe),
            _importance(importance or {}, header["metric"]),
            _space(recipe),
            _data(recipe),
            _trials(snapshot),
            _failures(failures or {}),
            _code(capsule_source),
            _log(snapshot),
            _environment(recipe),
        ),
        Markup(f"<script>{SCRIPT}</script>"),
    )
    return f"<!DOCTYPE html>\n{el('html', head, body, lang='en')}\n"


def _policy() -> str:
    """Only our own style and script, by their hashes; no fetches, no forms."""

    def allowed(text: str) -> str:
        digest = hashlib.sha256(text.encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

    return (
        f"default-src 'none'; style-src {allowed(STYLE)}; script-src {allowed(SCRIPT)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _section(title: str, *children: str) -> Markup:
    return el("section", el("h2", title), *children)


def _pairs(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Words and what belongs to them."""
    rows = [el("tr", el("th", word, scope="row"), el("td", line)) for word, line in pairs]
    return el("table", el("tbody", *rows), class_="pairs")


def _top(snapshot: Snapshot) -> Markup:
    header = snapshot["header"]
    state = one_line(header["state"], 20)
    return el(
        "header",
        el("h1", one_line(header["name"], 200), " ", el("span", state, class_="state")),
        el("p", progress_line(header)),
        *([el("p", f"On the front: {line}.")] if (line := front_line(header)) else []),
        el(
            "p", f"{taken_at_label(snapshot)} · run {one_line(snapshot['run'], 60)}", class_="quiet"
        ),
    )


def _cards(snapshot: Snapshot) -> Markup:
    header = snapshot["header"]
    best = header["best"]
    counts: Any = header["counts"]
    value = quantity_label(best["value"], unit_of(header["metric"])) if best else "–"
    found = [
        (one_line(header["metric"] or "value", 40), value),
        ("trials", f"{sum(counts.values()):,}"),
        ("time", duration_label(header["elapsed_s"])),
        ("complete", f"{counts['complete']:,}"),
        ("stopped early", f"{counts['stopped_early']:,}"),
        ("failed", f"{counts['failed']:,}"),
    ]
    cards = [
        el("div", el("div", value, class_="figure"), el("div", word, class_="quiet"), class_="card")
        for word, value in found
    ]
    return el("div", *cards, class_="cards")


def _best(snapshot: Snapshot, recipe: Recipe) -> Markup:
    best = snapshot["header"]["best"]
    if best is None:
        return _section("Best trial", el("p", "No trial has a value."))
    pairs = [(name, value_label(value, 200)) for name, value in best["params"].items()]
    fixed = [(name, value_label(value, 200)) for name, value in recipe.fixed.items()]
    parts = [_pairs(pairs) if pairs else el("p", "Nothing varied.")]
    if fixed:
        parts += [el("h3", "Fixed"), _pairs(fixed)]
    return _section(f"Best trial: {best['trial']}", *parts)


def _verdicts(lines: Sequence[str]) -> Markup:
    if not lines:
        return Markup()
    return _section("Verdicts", *(el("p", printable(line)) for line in lines))


def _fronts(snapshot: Snapshot) -> Markup:
    """The first objective against each of the others."""
    n_aims = len(snapshot["header"].get("aims", []))
    found = [front_picture(snapshot, across=at, width=500, height=300) for at in range(1, n_aims)]
    words = "Diamonds: no other trial is better in all objectives."
    if limits := limits_line(snapshot["header"]):
        words += f" {limits}."
    figures = _figures("Front", found)
    return join(figures, el("p", words, class_="quiet")) if figures else Markup()


def _pictures(snapshot: Snapshot) -> Markup:
    metric = snapshot["header"]["metric"]
    shown = {line["name"] for line in snapshot["curves"]["lines"]}
    names = [name for name in (metric, "loss", *sorted(shown)) if name in shown]
    size = {"width": 500, "height": 250, "max_lines": _N_CURVES}
    found = [history_picture(snapshot, width=500, height=250)]
    found += [curves_picture(snapshot, name, **size) for name in dict.fromkeys(names)]
    return _figures("Curves", found)


def _slices(snapshot: Snapshot, recipe: Recipe) -> Markup:
    columns = [column for column in snapshot["columns"] if column["group"] == "param"]
    found = [
        slice_picture(
            snapshot, column, is_log=bool(getattr(recipe.space.get(column["key"]), "log", False))
        )
        for column in columns[:_MAX_SLICES]
    ]
    return _figures("Parameters", found)


def _figures(title: str, pictures: Iterable[str | None]) -> Markup:
    # The drawings are built as nodes (`svg.Plot`), so their texts are escaped already.
    found = [el("figure", Markup(svg)) for svg in pictures if svg is not None]
    return _section(title, el("div", *found, class_="figures")) if found else Markup()


def _importance(importance: Mapping[str, float], metric: str) -> Markup:
    if not importance:
        return Markup()
    largest = max(*importance.values(), 1e-12)
    rows = [
        el(
            "tr",
            el("th", one_line(name, 60), scope="row"),
            el("td", _bar(share / largest)),
            el("td", number_label(share), class_="number"),
        )
        for name, share in sorted(importance.items(), key=lambda item: -item[1])
    ]
    return _section(
        "Importance",
        el(
            "p",
            f"Which parameter decided about {one_line(metric or 'the value', 60)}.",
            class_="quiet",
        ),
        el("table", el("tbody", *rows), class_="pairs"),
    )


def _bar(share: float) -> Markup:
    width = round(200 * min(max(share, 0.0), 1.0), 1)
    bar = el("rect", x="0", y="2", width=str(width), height="10", rx="2", fill=PALETTE[0])
    return el("svg", bar, width="200", height="14", viewBox="0 0 200 14", aria_hidden="true")


def _space(recipe: Recipe) -> Markup:
    dimensions = [(name, printable(repr(item), 500)) for name, item in recipe.space.items()]
    budget = [
        f"{recipe.budget.n_trials:,} trials" if recipe.budget.n_trials else "",
        duration_label(recipe.budget.wall_seconds),
        f"{duration_label(recipe.budget.trial_seconds)} a trial"
        if recipe.budget.trial_seconds
        else "",
    ]
    how = [
        ("objective", ", ".join(f"{item.direction} {item.metric}" for item in recipe.objectives)),
        ("budget", ", ".join(part for part in budget if part) or "none"),
        ("sampler", recipe.sampler),
        ("stopper", recipe.stopper),
        ("seed", str(recipe.seed)),
    ]
    parts = [_pairs(dimensions)] if dimensions else []
    return _section(
        "Space and search", *parts, _pairs((word, one_line(line)) for word, line in how)
    )


def _data(recipe: Recipe) -> Markup:
    data = recipe.data
    if data is None:
        return Markup()
    inputs = ", ".join(f"{item.name}: {list(item.shape)} {item.dtype}" for item in data.inputs)
    rows = f"{data.n_rows:,} rows; {data.n_train:,} trained on, {data.n_valid:,} validated on"
    pairs = [
        ("data", data.description),
        ("task", data.task),
        ("rows", rows),
        ("inputs", inputs),
        ("target", f"{list(data.target_shape)} {data.target_dtype}"),
        ("classes", ", ".join(data.classes[:100])),
        ("sha256", data.digest),
    ]
    notes = [el("li", printable(note)) for note in data.notes]
    table = _pairs((word, one_line(line, 2_000)) for word, line in pairs if line)
    return _section("Data", table, *([el("ul", *notes)] if notes else []))


def _trials(snapshot: Snapshot) -> Markup:
    params = [column for column in snapshot["columns"] if column["group"] == "param"]
    metrics = [
        column
        for column in snapshot["columns"]
        if column["group"] == "metric" and column["key"] != snapshot["header"]["metric"]
    ]
    metric = snapshot["header"]["metric"] or "value"
    heads = ["trial", "state", metric, "time", *(c["label"] for c in [*params, *metrics]), "error"]
    places = best_first(snapshot)
    marks = front_marks(snapshot, places)
    if marks:
        heads.insert(2, "front")
    head = el("tr", *(el("th", el("button", one_line(text, 60), type="button")) for text in heads))
    rows = [
        _trial_row(snapshot, place, params, metrics, marks[at] if marks else None)
        for at, place in enumerate(places)
    ]
    table = el("table", el("thead", head), el("tbody", *rows), class_="trials", id="trials")
    left_out = snapshot["n_trials_left_out"]
    note = [el("p", f"{left_out:,} trials are left out.")] if left_out else []
    return _section("Trials", el("div", table, class_="wide"), *note)


def _trial_row(
    snapshot: Snapshot,
    place: int,
    params: list[Column],
    metrics: list[Column],
    mark: str | None,
) -> Markup:
    trials, best = snapshot["trials"], snapshot["header"]["best"]
    number = trials["number"][place]
    texts = cells(snapshot, place, params)
    sortable = [
        number,
        None,
        trials["value"][place],
        trials["duration_s"][place],
        *(trials["params"].get(c["key"], {place: None})[place] for c in params),
        *(trials["metrics"].get(c["key"], {place: None})[place] for c in metrics),
    ]
    measured = sortable[4 + len(params) :]
    texts += [
        quantity_label(value, column.get("unit", ""))
        for column, value in zip(metrics, measured, strict=True)
    ]
    found = [_cell(text, raw) for text, raw in zip(texts, sortable, strict=True)]
    if mark is not None:
        found.insert(2, el("td", mark))
    error = printable(trials["error"].get(str(number), ""))
    is_best = best is not None and best["trial"] == number
    return el("tr", *found, el("td", error), **({"class_": "best"} if is_best else {}))


def _cell(text: str, raw: Any) -> Markup:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        return el("td", text)
    return el("td", text, class_="number", data_value=repr(raw))


def _code(source: str) -> Markup:
    if not source.strip():
        return Markup()
    return _section("Code", el("pre", el("code", printable(source, 2_000_000))))


def _failures(failures: Mapping[int, str]) -> Markup:
    parts = [
        join(el("h3", f"trial {number}"), el("pre", printable(text, 50_000)))
        for number, text in sorted(failures.items())
    ]
    return _section("Failures", *parts) if parts else Markup()


def _log(snapshot: Snapshot) -> Markup:
    lines = [
        f"{entry['level']}: {entry['text']}"
        + ("" if entry["trial"] is None else f" (trial {entry['trial']})")
        for entry in snapshot["log"]
    ]
    if not lines:
        return Markup()
    return _section("Log, last lines", el("pre", join(*(f"{printable(line)}\n" for line in lines))))


def _environment(recipe: Recipe) -> Markup:
    versions = [(str(name), str(version)) for name, version in sorted(recipe.versions.items())]
    more = [("device asked for", recipe.execution.device), ("run id", recipe.run_id)]
    return _section(
        "Environment", _pairs((one_line(a), one_line(b)) for a, b in [*versions, *more])
    )
