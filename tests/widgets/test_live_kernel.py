"""The comms of a real kernel: what a browser sees, also while a cell blocks the main thread."""

from __future__ import annotations

import json
import os
import queue
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.manager import KernelManager

from nbautoml.store import Home
from nbautoml.widgets.protocol import COMMANDS_TARGET, EVENTS_COMM_ID

TIMEOUT_S = 60

SETUP = """
from nbautoml.store import Home
from nbautoml.widgets import display, live

class Folders:
    def __init__(self, path): self.home = Home(path)
    def submit(self, recipe, capsule): raise NotImplementedError
    def load(self, run_id): return self.home.find(run_id)
    def command(self, run_id, command):
        self.load(run_id).inbox.drop(command)
        return "asked"

controller = Folders({path!r})
link = live.start(controller)
"""


class Front:
    """A front end: a kernel's channels, and what came over them."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.seen: list[dict[str, Any]] = []
        self.subshell: str | None = None

    def run(self, code: str) -> None:
        """Execute a cell and wait for its end."""
        asked = self.client.execute(code, store_history=False)
        reply = self.wait_for(
            lambda m: m["channel"] == "shell" and m["parent_header"].get("msg_id") == asked
        )
        assert reply["content"]["status"] == "ok", "\n".join(reply["content"]["traceback"])

    def begin(self, code: str) -> None:
        """Execute a cell, and come back once it runs."""
        asked = self.client.execute(code, store_history=False)
        self.wait_for(
            lambda m: m["msg_type"] == "execute_input" and m["parent_header"].get("msg_id") == asked
        )

    def send(self, kind: str, content: dict[str, Any], channel: str = "shell") -> str:
        message = self.client.session.msg(kind, content)
        message["header"]["subshell_id"] = self.subshell
        getattr(self.client, f"{channel}_channel").send(message)
        return str(message["header"]["msg_id"])

    def open_subshell(self) -> None:
        """As a front end does, where the kernel has subshells (from ipykernel 7 on)."""
        asked = self.client.kernel_info()
        info = self.wait_for(
            lambda m: m["channel"] == "shell" and m["parent_header"].get("msg_id") == asked
        )
        if "kernel subshells" not in info["content"].get("supported_features", ()):
            return
        asked = self.send("create_subshell_request", {}, "control")
        reply = self.wait_for(
            lambda m: m["channel"] == "control" and m["parent_header"].get("msg_id") == asked
        )
        self.subshell = reply["content"]["subshell_id"]

    def open_commands(self) -> str:
        comm_id = uuid.uuid4().hex
        self.send("comm_open", {"comm_id": comm_id, "target_name": COMMANDS_TARGET, "data": {}})
        return comm_id

    def say(self, comm_id: str, **message: Any) -> None:
        self.send("comm_msg", {"comm_id": comm_id, "data": message})

    def event(self, kind: str, since: int = 0, **wanted: Any) -> dict[str, Any]:
        """The first message of that kind on the events comm."""

        def fits(message: dict[str, Any]) -> bool:
            if message["msg_type"] != "comm_msg":
                return False
            if message["content"]["comm_id"] != EVENTS_COMM_ID:
                return False
            data = message["content"]["data"]
            return data["type"] == kind and all(data.get(k) == v for k, v in wanted.items())

        return dict(self.wait_for(fits, since)["content"]["data"])

    def wait_for(self, fits: Callable[[dict[str, Any]], bool], since: int = 0) -> dict[str, Any]:
        for message in self.seen[since:]:
            if fits(message):
                return message
        while True:
            message = self._next()
            self.seen.append(message)
            if fits(message):
                return message

    def _next(self) -> dict[str, Any]:
        for _ in range(TIMEOUT_S * 20):
            for name in ("iopub", "shell", "control"):
                try:
                    message = getattr(self.client, f"{name}_channel").get_msg(timeout=0.05)
                except queue.Empty:
                    continue
                return {**message, "channel": name}
        raise AssertionError(
            f"nothing came in {TIMEOUT_S} s; seen: {[m['msg_type'] for m in self.seen]}"
        )


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def front(kernel: KernelManager, home: Home) -> Iterator[Front]:
    client = kernel.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT_S)
    front = Front(client)
    front.run(SETUP.format(path=str(home.path)))
    front.open_subshell()
    yield front
    front.subshell = None
    front.run("live.stop()")
    client.stop_channels()


@pytest.fixture
def recorder(record: Any) -> Any:
    """A run whose first trial runs."""
    record.plan(0)
    record.start(0)
    record.epoch(0, 1)
    return record


def hello(run_id: str, have: int | None = None, client: str = "tab-1") -> dict[str, Any]:
    return {
        "type": "hello",
        "v": 1,
        "client": client,
        "cid": uuid.uuid4().hex,
        "run": run_id,
        "have": have,
    }


@pytest.fixture
def blocked(front: Front, tmp_path: Any) -> Iterator[Front]:
    """The kernel while a cell blocks its main thread."""
    if front.subshell is None:
        pytest.skip("this ipykernel has no subshells: what comes while a cell blocks has to wait")
    door = tmp_path / "door"
    os.mkfifo(door)
    subshell, front.subshell = front.subshell, None
    front.begin(f"_ = open({str(door)!r}).read()")
    front.subshell = subshell
    yield front
    door.write_text("go on")


def test_hello_is_answered_while_a_cell_blocks(blocked: Front, recorder: Any):
    comm_id = blocked.open_commands()
    blocked.say(comm_id, **hello(recorder.folder.id))
    assert blocked.event("welcome", to="tab-1")["writer"] is True
    snapshot = blocked.event("snapshot", to="tab-1")["snapshot"]
    assert snapshot["trials"]["state"] == ["running"]


def test_news_arrive_while_a_cell_blocks(blocked: Front, recorder: Any):
    comm_id = blocked.open_commands()
    blocked.say(comm_id, **hello(recorder.folder.id))
    base = blocked.event("snapshot", to="tab-1")["snapshot"]["seq"]
    recorder.epoch(0, 2)
    [delta] = blocked.event("tick")["runs"]
    assert (delta["base"], delta["seq"]) == (base, base + 1)


def test_command_reaches_the_inbox_while_a_cell_blocks(blocked: Front, recorder: Any):
    comm_id = blocked.open_commands()
    blocked.say(comm_id, **hello(recorder.folder.id))
    blocked.event("snapshot", to="tab-1")
    # A second message: the kernel has published since, and must still not route it to the cell.
    blocked.say(
        comm_id,
        type="command",
        client="tab-1",
        cid="c-1",
        run=recorder.folder.id,
        command={"type": "Stop"},
    )
    assert blocked.event("ack", cid="c-1")["ok"] is True
    [(_, command)] = recorder.folder.inbox.take()
    assert type(command).__name__ == "Stop"


def test_run_that_is_not_here_is_unknown(front: Front):
    comm_id = front.open_commands()
    front.say(comm_id, **hello("20200101-000000-ffffff"))
    assert front.event("unknown", to="tab-1")["run"] == "20200101-000000-ffffff"


def test_closed_connection_ends_the_watching(front: Front, recorder: Any):
    comm_id = front.open_commands()
    front.say(comm_id, **hello(recorder.folder.id))
    front.event("snapshot", to="tab-1")
    front.send("comm_close", {"comm_id": comm_id, "data": {}})
    other = front.open_commands()
    front.say(other, **hello("20200101-000000-eeeeee", client="tab-2"))
    front.event("unknown", to="tab-2")
    front.subshell = None
    front.run("assert link.hub.is_idle")


def test_display_without_our_extension_shows_the_end(front: Front, recorder: Any):
    subshell, front.subshell = front.subshell, None
    front.run(f"display.show(controller.load({recorder.folder.id!r}), controller)")
    first = front.wait_for(lambda m: m["msg_type"] == "display_data")
    recorder.end(0, 0.9)
    recorder.finish()
    front.wait_for(
        lambda m: (
            m["msg_type"] == "update_display_data"
            and m["content"]["transient"] == first["content"]["transient"]
            and "finished" in m["content"]["data"]["text/plain"]
        )
    )
    front.subshell = subshell


def test_messages_carry_no_parts_that_json_lacks(front: Front, recorder: Any):
    recorder.epoch(0, 2)
    comm_id = front.open_commands()
    front.say(comm_id, **hello(recorder.folder.id))
    json.dumps(front.event("snapshot", to="tab-1"), allow_nan=False)


def test_executed_notebook_shows_the_end_of_its_run(home: Home, tmp_path: Any, monkeypatch: Any):
    """Programs that execute notebooks keep only updates that come while a cell runs."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    recorder = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from conftest import Recorder, make_recipe\n"
        "record = Recorder(controller.home, make_recipe()).begin()\n"
    )
    watch = (
        "import threading\nfrom IPython.display import display as publish\n"
        "over = threading.Event()\n"
        "def shown(bundle, **options):\n"
        "    publish(bundle, **options)\n"
        "    if 'finished' in bundle['text/plain']: over.set()\n"
    )
    cells = [
        SETUP.format(path=str(home.path)) + recorder + watch,
        "_ = display.show(record.folder, controller, shown)",
        "_ = record.finish(); assert over.wait(60)",
        "live.stop()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    [output] = notebook.cells[1].outputs
    assert "finished" in output["data"]["text/plain"]
    assert "widgets" not in notebook.metadata
