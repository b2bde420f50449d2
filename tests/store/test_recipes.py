"""Recipes as earlier versions wrote them, with settings of their own kind: read, stored, written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbautoml.spec.recipe import Recipe
from nbautoml.store import Owner

FOLDER = Path(__file__).parents[1] / "fixtures" / "recipes"


@pytest.fixture(params=sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def written(request) -> dict:
    found: dict = json.loads(request.param.read_text(encoding="utf-8"))
    return found


def test_a_recipe_is_written_as_it_was_read(written):
    assert json.loads(json.dumps(Recipe.from_json(written).to_json())) == written


def test_settings_lie_in_the_run_as_they_were_given(written, home):
    folder = home.create_run(Recipe.from_json(written), None)
    assert dict(folder.recipe().settings) == written["settings"]
    assert folder.recipe().space == Recipe.from_json(written).space


def test_a_record_is_made_of_it(written, home):
    folder = home.create_run(Recipe.from_json(written), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
    with folder.reader() as reader:
        assert reader.run().name == written["name"]
