"""What the README shows first, typed as it stands there, in a kernel."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def first_cells() -> list[str]:
    """The cells under "In 30 seconds"."""
    text = README.read_text(encoding="utf-8")
    chapter = text.split("## In 30 seconds")[1].split("\n## ")[0]
    return [part.split("```")[0] for part in chapter.split("```python\n")[1:]]


def test_the_first_cells_do_what_they_say(kernel):
    cells = first_cells()
    assert len(cells) == 3
    said = [kernel.run(cell) for cell in cells]
    # A magic tells what is wrong on stderr; the last one has a comment behind it.
    bad = [one for cell in said for one in cell if "stderr" in (one["type"], one.get("name"))]
    assert bad + [one for cell in said for one in cell if one["type"] == "error"] == []
    (told,) = kernel.run("print(type(digits).__name__, digits.state, len(digits.trials))")
    assert told["text"] == "Run finished 40\n"
    (told,) = kernel.run("print(type(digits.best_model).__name__, digits.best.values[0] > 0.9)")
    assert told["text"] == "Net True\n"
