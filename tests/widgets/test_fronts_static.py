"""The front where nothing is live: in text, in plain HTML, in a report, in a picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from nbautoml.widgets.front_picture import front_picture
from nbautoml.widgets.report import report_html
from nbautoml.widgets.static import to_html, to_text

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def snapshot(fixture_json):
    return fixture_json("snapshot_front")


def marks(picture, tag):
    return ET.fromstring(picture).findall(f"{SVG}{tag}")


def polygons(picture, *, is_open):
    found = [mark for mark in marks(picture, "polygon") if mark.get("stroke") == "#D55E00"]
    return [mark for mark in found if (mark.get("fill") == "none") is is_open]


def test_text_marks_the_front_and_says_units_limits_and_what_was_before(snapshot):
    lines = to_text(snapshot).splitlines()
    assert "limits: accuracy ≥ 0.95, before: 0.985; latency_ms ≤ 2 ms, before: 3.2 ms" in lines[6]
    head = next(line for line in lines if "trial  state" in line)
    at = head.index("front")
    rows = lines[lines.index(head) + 1 :][:10]
    marked = [int(row.split()[0]) for row in rows if "◆" in row]
    shown = [int(row.split()[0]) for row in rows]
    assert marked == [number for number in shown if number in snapshot["header"]["front"]]
    assert any(row[at : at + 5].strip() == "◆" for row in rows)
    assert "2.753 ms" in rows[0]
    assert "309.1 KB" in rows[0]


def test_html_has_the_marks_and_a_picture_that_says_what_it_shows(snapshot):
    html = to_html(snapshot)
    assert html.count("<td>◆</td>") == 7
    words = "accuracy against latency_ms of the trials; on the front: trials 0, 8, 2, 4, 1, 12, 7"
    assert f'alt="{words}' in html
    assert len(html) < 40_000


def test_one_broken_model_does_not_squeeze_the_picture_but_stands_at_its_edge(snapshot):
    trials, broken = snapshot["trials"], 9  # stopped early, and on no front
    trials["value"][broken] = 0.1
    picture = front_picture(snapshot)
    texts = [text.text for text in marks(picture, "text")]
    assert "0.2" not in texts
    assert "0.96" in texts
    at_edge = [mark for mark in marks(picture, "polygon") if len(mark.get("points").split()) == 3]
    assert len(at_edge) == 1


def test_picture_joins_what_no_other_beats_on_its_axes_and_marks_the_rest_of_the_front(snapshot):
    picture = front_picture(snapshot)
    assert len(polygons(picture, is_open=False)) == 6
    assert len(polygons(picture, is_open=True)) == 1  # trial 12 is on the front by its size
    assert len(marks(picture, "circle")) == 5
    texts = [text.text for text in marks(picture, "text")]
    assert {"≤ 2 ms", "≥ 0.95", "before", "2 ms"} <= set(texts)
    title = ET.fromstring(picture).find(f"{SVG}title").text
    assert title == "accuracy against latency_ms, size: size_bytes"


@pytest.mark.parametrize(("direction", "turns_first"), [("minimize", "across"), ("maximize", "up")])
def test_steps_never_promise_what_no_trial_reached(snapshot, direction, turns_first):
    trials, header = snapshot["trials"], snapshot["header"]
    for aim, way in zip(header["aims"], ("maximize", direction, "minimize"), strict=True):
        aim.update(direction=way, least=None, most=None, before=None)
    header["front"] = [0, 1]
    sign = 1 if direction == "minimize" else -1
    trials["value"][:2] = [0.9, 0.5]
    trials["metrics"]["latency_ms"][:2] = [5.0 * sign, 1.0 * sign]
    [line] = [
        mark
        for mark in marks(front_picture(snapshot), "polyline")
        if mark.get("stroke") == "#D55E00"
    ]
    (x1, y1), (x2, y2), (x3, y3) = (
        tuple(map(float, pair.split(","))) for pair in line.get("points").split()
    )
    assert x1 < x3
    assert (x2, y2) == ((x3, y1) if turns_first == "across" else (x1, y3))
    assert y2 == max(y1, y3)  # further down is worse


def test_wide_values_are_drawn_by_their_powers_of_ten(snapshot):
    sizes = snapshot["trials"]["metrics"]["size_bytes"]
    sizes[:] = [None if size is None else 10.0 ** (2 + at / 2) for at, size in enumerate(sizes)]
    snapshot["header"]["aims"][2]["before"] = None
    texts = [text.text for text in marks(front_picture(snapshot, across=2), "text")]
    assert {"100 B", "10 KB", "1 MB"} <= set(texts)


def test_there_is_no_picture_without_several_objectives_or_values(snapshot, fixture_json):
    assert front_picture(fixture_json("snapshot")) is None
    assert front_picture(snapshot, across=3) is None
    snapshot["trials"]["value"] = [None] * 14
    assert front_picture(snapshot) is None
    assert "◆" not in to_text(fixture_json("snapshot"))


def test_report_has_a_picture_for_each_other_objective_and_a_sortable_mark(snapshot, new_record):
    page = report_html(snapshot, new_record("small", kind="compress").recipe, "")
    titles = re.findall(r"<title>(accuracy against [^<]*)</title>", page)
    assert titles == [
        "accuracy against latency_ms, size: size_bytes",
        "accuracy against size_bytes, size: latency_ms",
    ]
    rows = re.findall(r"<tr[^>]*>.*?</tr>", page[page.index('id="trials"') :])
    assert sum("<td>◆</td>" in row for row in rows) == 7
    assert ">front</button>" in rows[0]
    size = snapshot["trials"]["metrics"]["size_bytes"][8]
    assert f'data-value="{size!r}">{size / 1000:.4g} KB<' in page


def test_report_of_one_objective_has_no_front(fixture_json, new_record):
    page = report_html(fixture_json("snapshot"), new_record().recipe, "")
    assert "<h2>Front</h2>" not in page
    assert ">front</button>" not in page
