"""Static renderings: readable everywhere, and nothing in them but text."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import nbformat
import pytest
from nbconvert import HTMLExporter

from nbautoml.events import LogLine, PlanChosen
from nbautoml.spec.objective import Objective
from nbautoml.widgets.labels import printable
from nbautoml.widgets.protocol import MIME
from nbautoml.widgets.snapshot import build_snapshot
from nbautoml.widgets.static import mime_bundle, to_html, to_text
from nbautoml.widgets.svg import PALETTE, Axis, Plot, ticks

FIXTURES = Path(__file__).parents[1] / "fixtures"
HOSTILE = json.loads((FIXTURES / "hostile_texts.json").read_text(encoding="utf-8"))
NUMBERS = [f"text-{n}" for n in range(len(HOSTILE))]
TAGS = {"div", "b", "i", "table", "tr", "td", "img"}
SVG_TAGS = {"svg", "title", "line", "text", "polyline", "polygon", "circle"}


class Read(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def pictures(self) -> list[ET.Element]:
        prefix = "data:image/svg+xml;base64,"
        return [
            ET.fromstring(base64.b64decode(value.removeprefix(prefix)))
            for name, value in self.attributes
            if name == "src"
        ]


@pytest.fixture
def hostile(new_record):
    """A run that says something hostile wherever something can be said."""

    def make(text: str):
        metric = text.replace("\n", " ")
        record = new_record("safe", objectives=(Objective(metric, "maximize"),)).begin()
        record.apply(PlanChosen(text=text), LogLine(text=text))
        for number in range(3):
            record.plan(number, {text: text, "optimizer": text, "lr": 0.1})
            record.start(number)
            event = record.epoch_event(number, 1)
            record.apply(type(event)(**{**vars(event), "metrics": {metric: 0.5, text: 0.1}}))
        record.end(0, 0.5)
        record.end(1, None, "failed", error=text, traceback=text)
        record.finish()
        snapshot = build_snapshot(record.folder)
        header = snapshot["header"]
        for field in ("name", "message", "task", "data", "device", "sampler", "stopper", "state"):
            header[field] = text
        return snapshot

    return make


@pytest.mark.parametrize("text", HOSTILE, ids=NUMBERS)
def test_html_holds_no_tag_and_no_attribute_of_a_name(hostile, text):
    read = Read(to_html(hostile(text)))
    assert set(read.tags) <= TAGS
    assert {name for name, _ in read.attributes} <= {"src", "alt"}


@pytest.mark.parametrize("text", HOSTILE, ids=NUMBERS)
def test_html_shows_the_name_as_text(hostile, text):
    shown = " ".join(printable(text).split())[:50]
    assert shown in Read(to_html(hostile(text))).text


@pytest.mark.parametrize("text", HOSTILE, ids=NUMBERS)
def test_pictures_hold_only_drawing_and_text(hostile, text):
    for picture in Read(to_html(hostile(text))).pictures():
        for node in picture.iter():
            assert node.tag.removeprefix("{http://www.w3.org/2000/svg}") in SVG_TAGS
            assert not any(name.startswith("on") or "href" in name for name in node.attrib)


@pytest.mark.parametrize("text", HOSTILE, ids=NUMBERS)
def test_terminal_gets_no_character_that_acts(hostile, text):
    shown = to_text(hostile(text))
    assert not [char for char in shown if char != "\n" and not char.isprintable()]
    assert max(map(len, shown.splitlines())) <= 110


def test_html_survives_nbconverts_sanitiser(big_run):
    html = to_html(build_snapshot(big_run))
    output = nbformat.v4.new_output("display_data", {"text/html": html})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    page, _ = HTMLExporter(sanitize_html=True).from_notebook_node(notebook)
    rows = page[page.index("<table>") : page.index("</table>")]
    assert rows.count("<tr>") == 21
    assert len(re.findall("<td>[▁-█]+</td>", rows)) == 20
    assert "accuracy of the trials; the best reached" in page


def test_html_uses_nothing_that_sanitisers_drop(big_run):
    read = Read(to_html(build_snapshot(big_run)))
    assert {name for name, _ in read.attributes} == {"src", "alt"}


def test_html_shows_the_best_twenty_and_counts_the_rest(big_run):
    read = Read(to_html(build_snapshot(big_run)))
    assert read.tags.count("tr") == 21
    assert "and 980 more trials" in read.text


def test_html_counts_trials_that_the_snapshot_left_out(huge_run):
    assert "and 9,980 more trials" in Read(to_html(build_snapshot(huge_run))).text


def test_html_is_small(big_run):
    assert len(to_html(build_snapshot(big_run))) < 50_000


def test_run_without_trials_has_no_table(record):
    assert "table" not in Read(to_html(build_snapshot(record.folder))).tags


def test_run_without_curves_shows_its_history(record):
    for number in range(3):
        record.plan(number)
        record.start(number)
        record.end(number, number / 3)
    [picture] = Read(to_html(build_snapshot(record.folder))).pictures()
    assert "best so far" in "".join(picture.itertext())


def test_text_of_a_run(fixture_json):
    assert to_text(fixture_json("snapshot")) == (
        "digits · running · 3 of 20 trials · best accuracy 0.913 (trial 0) · 9.0 s · about 42 s left\n"
        "  trials: 1 running, 1 waiting, 1 stopped early, 1 failed\n"
        "  data: 1,797 rows, 64 inputs, 10 classes\n"
        "  device: cpu\n"
        "  plan: process x 2: 2 trials at once, 1 thread each\n"
        "  trial  state          accuracy  curve   time  hidden  optimizer       lr  momentum\n"
        "      0  complete          0.913  ▄▇█    2.4 s      64       adam  0.00213\n"
        "      1  stopped early      0.41  ▁      0.9 s      16        sgd      0.1       0.9\n"
        "      3  running                  ▂                128      adamw    0.001\n"
        "      4  waiting                                    32       adam     0.01\n"
        "      2  failed                          0.1 s     256        sgd      3.5       0.5\n"
        "  as of 2026-09-21 14:13:30 UTC, while it was going on"
    )


def test_notebook_with_a_thousand_trials_stays_under_300_kb(big_run):
    bundle = mime_bundle(build_snapshot(big_run))
    output = nbformat.v4.new_output("display_data", bundle)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    assert len(nbformat.writes(notebook).encode()) < 300_000


def test_bundle_can_be_read_back(big_run):
    snapshot = build_snapshot(big_run)
    assert json.loads(mime_bundle(snapshot)[MIME]["text"]) == snapshot


def test_ticks_are_round():
    assert ticks(0.13, 0.94) == [0.2, 0.4, 0.6, 0.8]


def test_wild_values_lie_at_the_edge():
    axis = Axis(low=0, high=1)
    assert (axis.share(1e9), axis.share(-1e9)) == (1.0, 0.0)


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0], [1e-300, 1e300], [float("inf")], [None]])
@pytest.mark.parametrize("is_log", [False, True])
def test_axis_can_be_drawn_around_anything(values, is_log):
    axis = Axis.around(values, is_log=is_log)
    plot = Plot(width=200, height=100, x=axis, y=axis)
    plot.line([1.0] * len(values), values, PALETTE[0])
    assert ET.fromstring(plot.text()) is not None
