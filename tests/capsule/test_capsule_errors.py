"""What cannot travel is named, with the line that needs it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from nbautoml.capsule import build_capsule
from nbautoml.errors import CapsuleError

NET = "class Net:\n    def forward(self, x):\n        return use(thing)\n"
USE = "def use(x):\n    return x\n"


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("import socket\nthing = socket.socket()", "socket.socket"),
        ("thing = (i for i in range(3))", "generator"),
        ("import tempfile\nthing = tempfile.TemporaryFile()", "BufferedRandom"),
        ("import threading\nthing = threading.Lock()", "lock"),
        ("import threading\nthing = threading.Thread()", "threading.Thread"),
        ("import sqlite3\nthing = sqlite3.connect(':memory:')", "sqlite3.Connection"),
        ("import numpy as np\nthing = np.array([object()], dtype=object)", "dtype object"),
        ("thing = object()", "object"),
        ("thing = []\nthing.append(thing)", "nested"),
        ("async def f(): pass\nthing = f()", "coroutine"),
        ("thing = memoryview(b'a')", "memoryview"),
    ],
)
def test_error_names_the_value_its_kind_and_the_line(shell, made, kind):
    shell.run(made, USE, NET)
    try:
        with pytest.raises(CapsuleError) as caught:
            shell.capsule("Net")
    finally:
        thing = shell.names.get("thing")
        if hasattr(thing, "close"):
            thing.close()
    assert "'thing'" in caught.value.message
    assert kind in caught.value.message
    assert "needed by Net, line 3: return use(thing)" in caught.value.message
    assert caught.value.hint


def test_undefined_name_suggests_the_nearest(shell):
    shell.run("weights = 3", "class Net:\n    def forward(self, x):\n        return wieghts")
    with pytest.raises(
        CapsuleError, match="'wieghts' is not defined; needed by Net, line 3"
    ) as caught:
        shell.capsule("Net")
    assert "did you mean 'weights'?" in caught.value.hint


def test_root_that_is_not_there_is_named(shell):
    shell.run("a = 1")
    with pytest.raises(CapsuleError, match="'Net' is not defined"):
        shell.capsule("Net")


def test_class_without_source_is_named():
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(compile("class Net:\n    def forward(self, x): return x", "<nowhere>", "exec"), namespace)
    with pytest.raises(CapsuleError, match="the source of class Net was not found"):
        build_capsule(["Net"], namespace)


def test_large_value_is_refused_with_its_size_and_a_way_out(shell):
    shell.run(
        "import numpy as np\nbig = np.zeros(15_000_000)",
        "class Net:\n    def forward(self, x):\n        return big[0]",
    )
    with pytest.raises(CapsuleError, match=r"'big' \(114 MB\); the limit is 100 MB") as caught:
        shell.capsule("Net")
    assert "--data big" in caught.value.hint


def test_large_value_that_nobody_uses_stays_behind(shell):
    shell.run("import numpy as np\nbig = np.zeros(15_000_000)", "class Net:\n    pass")
    assert shell.capsule("Net").captured == {}


def test_value_of_some_size_is_a_warning(shell):
    shell.run(
        "import numpy as np\nbig = np.zeros(2_000_000)",
        "class Net:\n    def forward(self, x):\n        return big[0]",
    )
    with pytest.warns(UserWarning, match=r"takes 15 MB of values along.*'big'"):
        shell.capsule("Net")


def test_names_of_annotations_alone_may_be_missing(shell):
    shell.run(
        "from __future__ import annotations\nclass Net:\n    def __init__(self, x: Nowhere = 1): ..."
    )
    assert "Nowhere" in shell.capsule("Net").source


def test_lock_made_inside_is_fine(shell):
    shell.run(
        "import threading\nclass Net:\n    def __init__(self):\n        self.lock = threading.Lock()"
    )
    assert "import threading" in shell.capsule("Net").source


def test_a_thread_of_the_notebook_is_left_alone(shell):
    before = threading.active_count()
    shell.run("class Net:\n    pass")
    shell.capsule("Net")
    assert threading.active_count() == before


def test_arrays_are_not_changed_by_later_writes(shell):
    shell.run(
        "import numpy as np\nW = np.ones(3)",
        "class Net:\n    def forward(self, x):\n        return W",
    )
    capsule = shell.capsule("Net")
    shell.names["W"][:] = np.zeros(3)
    assert capsule.hash != shell.capsule("Net").hash
