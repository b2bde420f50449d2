"""The user's own files beside the notebook travel along; installed packages do not."""

from __future__ import annotations

import sys

import pytest

from nbautoml.errors import CapsuleError


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder beside the notebook, on the path while the test runs."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def said_elsewhere(shell, tmp_path, read_elsewhere):
    folder = tmp_path / "saved" / "capsule"
    shell.capsule("Net").save(folder)
    return read_elsewhere([("it", folder, "Net().forward(2)")])["it"]


def test_module_and_what_it_imports(shell, beside, tmp_path_factory, read_elsewhere):
    (beside / "mine_blocks.py").write_text(
        "from mine_ops import twice\ndef block(x): return twice(x) + 1\n"
    )
    (beside / "mine_ops.py").write_text("def twice(x): return 2 * x\n")
    shell.run(
        "from mine_blocks import block", "class Net:\n    def forward(self, x): return block(x)"
    )
    capsule = shell.capsule("Net")
    assert sorted(capsule.modules) == ["mine_blocks.py", "mine_ops.py"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert said_elsewhere(shell, elsewhere, read_elsewhere) == "5"


def test_package_with_relative_imports(shell, beside, tmp_path_factory, read_elsewhere):
    package = beside / "mine_package"
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import value\n")
    (package / "inner.py").write_text("from . import deep\nvalue = deep.VALUE\n")
    (package / "deep.py").write_text("VALUE = 7\n")
    shell.run(
        "import mine_package as mp", "class Net:\n    def forward(self, x): return mp.value + x"
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert said_elsewhere(shell, elsewhere, read_elsewhere) == "9"


def test_modules_that_functions_import_when_they_are_called(
    shell, beside, tmp_path_factory, read_elsewhere
):
    (beside / "mine_late.py").write_text(
        "def later(x):\n    import mine_later\n    return mine_later.ONE + x\n"
    )
    (beside / "mine_later.py").write_text("ONE = 1\n")
    shell.run(
        "class Net:\n    def forward(self, x):\n        import json\n"
        "        from mine_late import later\n        return later(x)"
    )
    capsule = shell.capsule("Net")
    assert "mine_later" not in sys.modules
    assert sorted(capsule.modules) == ["mine_late.py", "mine_later.py"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert said_elsewhere(shell, elsewhere, read_elsewhere) == "3"


def test_an_import_of_what_is_not_there_is_left_to_the_function(shell):
    shell.run(
        "class Net:\n    def forward(self, x):\n        try:\n            import not_installed_at_all"
        "\n        except ImportError:\n            return x"
    )
    assert shell.capsule("Net").modules == {}


def test_installed_packages_are_imported_by_name(shell):
    shell.run("import numpy as np", "class Net:\n    def forward(self, x): return np.ones(x)")
    assert shell.capsule("Net").modules == {}


def test_change_of_a_local_module_changes_the_hash(shell, beside):
    cells = ("import mine_changing", "class Net:\n    def forward(self, x): return mine_changing.K")
    (beside / "mine_changing.py").write_text("K = 1\n")
    shell.run(*cells)
    before = shell.capsule("Net").hash
    (beside / "mine_changing.py").write_text("K = 2\n")
    assert shell.capsule("Net").hash != before


def test_folder_of_much_source_is_refused(shell, beside):
    (beside / "mine_large.py").write_text("X = 1\n" + "# filler\n" * 300_000)
    shell.run("import mine_large", "class Net:\n    def forward(self, x): return mine_large.X")
    with pytest.raises(CapsuleError, match="more than 2 MB of source"):
        shell.capsule("Net")
