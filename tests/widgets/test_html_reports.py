"""The report: one file, all of it escaped, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nbautoml.spec import Choice, Space
from nbautoml.spec.objective import Objective
from nbautoml.widgets.labels import printable
from nbautoml.widgets.report import report_html
from nbautoml.widgets.report_style import SCRIPT, STYLE
from nbautoml.widgets.snapshot import build_snapshot

TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "main",
    "section",
    "div",
    "p",
    "span",
}
TAGS |= {
    "h1",
    "h2",
    "h3",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "pre",
    "code",
    "button",
    "script",
}
TAGS |= {"figure", "svg", "line", "circle", "rect", "text"}
VOID = {"meta", "br", "img", "hr"}
FIXTURES = Path(__file__).parents[1] / "fixtures"
TEXTS = [
    '"></script></style></pre></title><script>alert(1)</script><img src=x onerror=alert(1)>',
    *json.loads((FIXTURES / "hostile_texts.json").read_text(encoding="utf-8")),
]


class Read(HTMLParser):
    """Tags, attributes and the texts of an element, with a check that all is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data


@pytest.fixture
def report(record):
    record.trials(30)
    record.plan(30)
    record.start(30)
    record.end(30, None, "failed", error="the loss became NaN at step 12")
    record.finish()
    snapshot = build_snapshot(record.folder, limit_bytes=None)
    return report_html(
        snapshot, record.recipe, "class Net:\n    pass\n", importance={"lr": 0.7, "clip": 0.1}
    )


def test_report_is_well_formed(report):
    assert Read(report).tags[:2] == ["html", "head"]


def test_report_has_all_its_parts(report):
    headings = Read(report).texts["h2"]
    for title in ("Best trial", "Curves", "Parameters", "Importance", "Space", "Data", "Trials"):
        assert title in headings
    assert "Code" in headings
    assert "Environment" in headings


def test_report_lists_every_trial(report):
    body = report[report.index('id="trials"') :]
    assert body[: body.index("</table>")].count("<tr") == 1 + 31


def test_report_shows_the_code_and_the_error(report):
    assert "class Net:" in Read(report).texts["code"]
    assert "the loss became NaN at step 12" in report


def test_report_fetches_nothing(report):
    read = Read(report)
    assert not {"link", "iframe", "object", "embed", "form", "base"} & set(read.tags)
    assert not [value for name, value in read.attributes if name in {"src", "href", "action"}]


def test_report_allows_only_its_own_style_and_script(report):
    read = Read(report)
    [policy] = [v for _, v in read.attributes if v is not None and v.startswith("default-src")]
    for text in (STYLE, SCRIPT):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "style" not in {name for name, _ in read.attributes}


def test_report_is_the_same_for_the_same_run(record):
    record.trials(3)
    snapshot = build_snapshot(record.folder, limit_bytes=None, now=record.now)
    assert report_html(snapshot, record.recipe, "") == report_html(snapshot, record.recipe, "")


def test_a_compression_says_what_each_technique_did(report, record):
    said = ["trial 3: 4x faster", "int8_static: 1.2x slower (trial 5): not kept, slower here"]
    snapshot = build_snapshot(record.folder, limit_bytes=None)
    page = report_html(snapshot, record.recipe, "", verdicts=said)
    assert all(sentence in page for sentence in said)
    assert "Verdicts" not in report


def report_that_says(new_record, text: str) -> str:
    """A report of a run that says this wherever something can be said."""
    metric = " ".join(text.split())
    record = new_record(
        f"safe {len(text)}",
        space=Space({"optimizer": Choice(text, "sgd")}),
        objectives=(Objective(metric, "maximize"),),
        fixed={text: text},
        versions={text: text},
        sampler=text,
        stopper=text,
    ).begin()
    record.plan(0, {"optimizer": text, text: text})
    record.start(0)
    record.end(0, 0.5, metrics={text: 0.1})
    record.plan(1)
    record.start(1)
    record.end(1, None, "failed", error=text)
    snapshot = build_snapshot(record.folder, limit_bytes=None)
    for field in ("name", "state", "message", "data", "task", "device", "plan"):
        snapshot["header"][field] = text
    return report_html(
        snapshot,
        record.recipe,
        text,
        importance={text: 1.0},
        failures={1: text},
        verdicts=[text, text],
    )


def test_report_is_drawn_with_few_tags(new_record):
    assert set(Read(report_that_says(new_record, "plain")).tags) == TAGS


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_report_escapes_whatever_it_shows(new_record, text):
    read = Read(report_that_says(new_record, text))
    assert set(read.tags) <= TAGS
    assert read.tags.count("script") == 1
    assert read.texts["script"] == SCRIPT
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert {"src", "href", "action", "style", "srcdoc"}.isdisjoint(dict(read.attributes))
    shown = " ".join(printable(text).split())[:15]
    assert shown in " ".join(read.texts["code"].split())


def test_report_of_a_run_without_trials_is_whole(new_record):
    record = new_record("empty", data=None, space=Space({}))
    report = report_html(build_snapshot(record.folder, limit_bytes=None), record.recipe, "")
    assert "No trial has a value" in report
    assert Read(report).tags.count("svg") == 0


def test_script_and_style_hold_no_closing_tag():
    assert not re.search(r"</", SCRIPT + STYLE)
