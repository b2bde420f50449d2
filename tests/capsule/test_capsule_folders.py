"""Capsules as folders: what is written comes back, and what was tampered with is refused unread."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbautoml.capsule import Capsule, import_capsule
from nbautoml.errors import CapsuleError

CELLS = (
    "import numpy as np\nW = np.arange(3000.)",
    "K = 4\ndef scale(x): return x * K",
    "class Net:\n    def forward(self, x):\n        return scale(x) + W[1]",
)
WITHOUT_PICKLE = """
import pickle, sys
def no(*a, **k): raise AssertionError('pickle')
pickle.load = pickle.loads = pickle.Unpickler = no
from pathlib import Path
from nbautoml.capsule import import_capsule
print(import_capsule(Path(sys.argv[1])).Net().forward(2))
"""


@pytest.fixture
def folder(shell, tmp_path) -> Path:
    shell.run(*CELLS)
    shell.capsule("Net").save(tmp_path / "capsule")
    return tmp_path / "capsule"


def test_loaded_capsule_is_the_one_that_was_saved(shell, folder):
    assert Capsule.load(folder).hash == shell.capsule("Net").hash


def test_loading_executes_nothing(shell, tmp_path):
    mark = tmp_path / "executed"
    shell.run(f"class Net:\n    made = open({str(mark)!r}, 'w').close()")
    capsule = shell.capsule("Net")
    mark.unlink()
    capsule.save(tmp_path / "capsule")
    Capsule.load(tmp_path / "capsule")
    assert not mark.exists()
    import_capsule(tmp_path / "capsule")
    assert mark.exists()


def manifest(folder: Path, **changes: object) -> None:
    found = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**found, **changes}))


def test_changed_source_is_refused(folder):
    source = folder / "capsule.py"
    source.write_text(source.read_text() + "\nimport os\n")
    with pytest.raises(CapsuleError, match="was changed since it was written"):
        import_capsule(folder)


def test_source_that_was_changed_with_its_checksum_is_refused(folder):
    text = (folder / "capsule.py").read_text() + "\nimport os\n"
    (folder / "capsule.py").write_text(text)
    found = json.loads((folder / "manifest.json").read_text())
    found["files"]["capsule.py"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(CapsuleError, match="its hash differs"):
        import_capsule(folder)


@pytest.mark.parametrize(
    "path",
    [
        "../outside.py",
        "/etc/passwd",
        "modules/../../x.py",
        "captured/0-0.npy/../../x",
        "C:\\x.py",
        "modules/a\x00.py",
        "",
    ],
)
def test_file_outside_the_folder_is_refused(folder, path):
    found = json.loads((folder / "manifest.json").read_text())
    manifest(folder, files={**found["files"], path: "0" * 64})
    with pytest.raises(CapsuleError, match="no part of one"):
        Capsule.load(folder)


def test_link_out_of_the_folder_is_refused(folder, tmp_path):
    secret = tmp_path / "secret.py"
    secret.write_text("token = 1")
    (folder / "modules").mkdir()
    os.symlink(secret, folder / "modules" / "x.py")
    found = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    manifest(folder, files={**found["files"], "modules/x.py": digest})
    with pytest.raises(CapsuleError, match="a link that leads out"):
        Capsule.load(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "{",
        '{"version": 1}',
        '{"version": "x", "hash": 1, "roots": 2, "files": 3, "captured": 4}',
        "\x00\xff",
    ],
)
def test_manifest_of_another_form_is_refused(folder, text):
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(CapsuleError):
        Capsule.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"roots": 3},
        {"roots": [3]},
        {"captured": {}},
        {"captured": [{"name": "W"}]},
        {"captured": [3]},
        {"files": {"capsule.py": 3}},
        {"hash": None},
    ],
)
def test_manifest_with_fields_of_another_form_is_refused(folder, changes):
    manifest(folder, **changes)
    with pytest.raises(CapsuleError):
        Capsule.load(folder)


def test_newer_format_asks_for_an_upgrade(folder):
    manifest(folder, version=99)
    with pytest.raises(CapsuleError, match="format 99") as caught:
        Capsule.load(folder)
    assert "upgrade" in caught.value.hint


def test_missing_file_is_named(folder):
    place = next((folder / "captured").iterdir())
    place.unlink()
    with pytest.raises(CapsuleError, match=place.name):
        Capsule.load(folder)


def test_no_value_is_ever_unpickled(folder):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PICKLE, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "9.0", done.stderr


def test_diff_shows_what_changed(shell, folder):
    old = Capsule.load(folder)
    shell.run(*CELLS[:1], "K = 5\ndef scale(x): return x * K", *CELLS[2:])
    lines = old.diff(shell.capsule("Net")).splitlines()
    assert "-K = 4" in lines
    assert "+K = 5" in lines
    assert old.diff(old) == ""


def test_diff_tells_of_values(shell, folder):
    old = Capsule.load(folder)
    shell.run("import numpy as np\nW = np.ones(3001)", *CELLS[1:])
    assert "captured W: ndarray 3000 -> ndarray 3001" in old.diff(shell.capsule("Net"))


def test_traceback_of_the_capsule_shows_its_lines(shell, tmp_path):
    shell.run("class Net:\n    def forward(self, x):\n        return 1 / x  # the culprit")
    shell.capsule("Net").save(tmp_path / "capsule")
    module = import_capsule(tmp_path / "capsule")
    import traceback

    with pytest.raises(ZeroDivisionError) as caught:
        module.Net().forward(0)
    assert "# the culprit" in "".join(traceback.format_tb(caught.value.__traceback__))
