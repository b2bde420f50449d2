"""What others send, and what must not get out (T2, T4, T9 to T12, T14 to T16, T18)."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest
from engine_runs import Runs, family, state_of, supervisor_pid, until, wait_for_end, watched
from fault_kernel import started_kernel
from fault_runs import OBJECTIVE, objective_words

import nbautoml
from nbautoml.api import terminal
from nbautoml.api.controlling import HomeController
from nbautoml.api.run import Run
from nbautoml.capsule import Capsule
from nbautoml.engine import client
from nbautoml.errors import CapsuleError, EngineError, NbAutomlError, StoreError
from nbautoml.events import Interrupt, LogLine, Resume, RunStateChanged, TrialEnded
from nbautoml.spec.recipe import Execution, Target
from nbautoml.store import Home, Owner
from nbautoml.testing.store_events import started, tiny_recipe, whole_trial

PACKAGE = Path(nbautoml.__file__).parent
NAMES = [
    "../../outside",
    "/etc/passwd",
    "..\\..\\outside",
    "%2e%2e%2fx",
    "a#b?c",
    "CON",
    "nul.txt",
    "\u202egnp.exe",
    "emoji 🎉 中文",
    "x; rm -rf ~",
    "$(touch marker) `touch marker`",
    "' OR 1=1 --",
    '"; DROP TABLE run; --',
    "<script>alert(1)</script>",
    "=HYPERLINK(1)",
    "{7*7} {{7*7}} %s %n",
    "-rf",
    ".hidden",
]
REFUSED = ["", " ", "x" * 300, "x" * 600, "é" * 600, "nul\x00", "two\nlines", "\ud800", "a\x1b[31m"]


# -- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_t10_a_hostile_name_is_a_label_everywhere(tmp_path, monkeypatch, name):
    place = tmp_path / "deep" / "deeper"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    home = Home(tmp_path / "home")
    folder = home.create_run(tiny_recipe(name), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([*whole_trial(0), RunStateChanged(state="finished")])
    assert folder.path.parent == home.runs_dir
    assert home.find(name).id == folder.id
    assert [info.name for info in home.runs()] == [name]
    archive = nbautoml.export(Run(folder, home))
    report = Run(folder, home).report()
    assert {archive.resolve().parent, report.resolve().parent} == {place}
    assert {path.name for path in tmp_path.iterdir()} == {"home", "deep"}
    assert not list(tmp_path.rglob("marker"))
    Home(tmp_path / "home").remove(name)
    assert home.runs() == []


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_t10_a_name_that_cannot_be_shown_is_refused(tmp_path, name):
    with pytest.raises(StoreError, match="name"):
        Home(tmp_path / "home").create_run(tiny_recipe(name), None)


@pytest.mark.parametrize("name", ["..", "../x", "runs/../../x", "%", "_", "' OR '1'='1", "*"])
def test_t11_a_name_that_nobody_has_finds_no_run(tmp_path, name):
    home = Home(tmp_path / "home")
    home.create_run(tiny_recipe("digits"), None)
    with pytest.raises(NbAutomlError, match="no run"):
        home.find(name)
    with pytest.raises(NbAutomlError, match="no run"):
        HomeController().load(name)


SQL = re.compile(
    r"\b(select\b.+\bfrom|insert\s+(or\s+\w+\s+)?into|replace\s+into|update\s+\S+\s+set|delete\s+from"
    r"|drop\s+(table|view|index|trigger)|create\s+(table|view|index|trigger|unique|temp)"
    r"|alter\s+table|attach\b|pragma\s+\w|vacuum|order\s+by|where\s+\S+\s*(=|<|>|like|in\b))",
    re.IGNORECASE | re.DOTALL,
)


def put_together(node: ast.AST) -> str:
    """The text of a string that is made of parts, ? for what is put in; "" for any other node."""
    if isinstance(node, ast.JoinedStr):
        parts = [str(v.value) if isinstance(v, ast.Constant) else "?" for v in node.values]
        return "".join(parts) if "?" in parts else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        sides = [
            s.value if isinstance(s, ast.Constant) and isinstance(s.value, str) else put_together(s)
            for s in (node.left, node.right)
        ]
        return " ? ".join(sides) if any(sides) else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        of = node.func.value
        if node.func.attr in {"format", "format_map", "join", "replace"} and isinstance(
            of, ast.Constant
        ):
            said = [str(a.value) for a in ast.walk(node) if isinstance(a, ast.Constant)]
            return " ? ".join([*said, "?"])
    return ""


def made_sql(source: str) -> list[tuple[int, str]]:
    return [
        (node.lineno, text)
        for node in ast.walk(ast.parse(source))
        if (text := put_together(node)) and SQL.search(text)
    ]


@pytest.mark.parametrize(
    "source",
    [
        "run(f'SELECT a FROM t WHERE name = {name}')",
        "run(f'select a from {table}')",
        "run('delete from t where x = ' + x)",
        "run('insert into t values (%s)' % x)",
        "run('Update t Set x = {}'.format(x))",
        "run(f'{head} order by {column}')",
        "run(' '.join(['drop table', name]))",
        "run('pragma user_version = ' + str(n))",
    ],
)
def test_t11_a_statement_that_is_put_together_is_seen(source):
    assert made_sql(source)
    assert not made_sql("run('select a from t where name = ?', [name])")


def test_t11_statements_of_sql_are_never_put_together_from_values():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in PACKAGE.rglob("*.py")
        for line, text in made_sql(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_t11_the_package_writes_no_csv():
    # What somebody opens in a spreadsheet would have to be told apart from formulas.
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert "csv" not in imported, path
            assert getattr(node, "attr", "") not in {"to_csv", "to_excel", "to_clipboard"}, path


def test_t11_a_table_of_hostile_texts_comes_back_as_it_was(tmp_path):
    home = Home(tmp_path / "home")
    folder = home.create_run(tiny_recipe("texts"), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        for number, text in enumerate(NAMES):
            end = TrialEnded(trial=number, state="failed", error=text, traceback=text)
            writer.apply([*started(number), LogLine(text=text, trial=number), end])
    run = Run(folder, home)
    assert [run.trial(number).row.error for number in range(len(NAMES))] == NAMES
    rows = list(csv.DictReader(io.StringIO(run.trials.to_csv())))
    assert len(rows) == len(NAMES)
    page = Run(folder, home).report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page


def test_t14_no_module_reads_yaml_pickle_or_runs_text():
    forbidden = {"yaml", "pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {node.module.partition(".")[0]}
            assert not names & forbidden, f"{path}:{node.lineno}: {names}"
            if isinstance(node, ast.keyword) and node.arg in {"shell", "allow_pickle"}:
                assert getattr(node.value, "value", True) is False, f"{path}:{node.lineno}"


# Who may read such files: `tensors` what others may have sent, `samples` what it wrote just now.
READERS = {
    "nbautoml/tensors.py: safetensors.torch.load",
    "nbautoml/data/samples.py: np.load",
}


def test_t2_no_other_reader_of_weights_is_there():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = path.relative_to(PACKAGE.parent)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("safetensors"):
                readers = {name.name for name in node.names} - {"save", "SafetensorError"}
                found |= {f"{place}: {node.module}.{name}" for name in readers}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = ast.unparse(node.func)
                if name in {"torch.load", "np.load", "numpy.load", "pd.read_pickle"}:
                    found.add(f"{place}: {name}")
    assert found == READERS


# -- runs of somebody else ------------------------------------------------------------------


@pytest.fixture
def trap(runs: Runs, acked, light, tmp_path, monkeypatch):
    """An interrupted run of another user, whose code leaves a marker when it is executed."""
    marker = tmp_path / "marker"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "of another"))
    source = OBJECTIVE.replace(
        "    import json", f"    open({str(marker)!r}, 'a').close()\n    import json"
    )
    folder = runs.submit(source, **objective_words(200, execution=Execution(n_workers=1)))
    until(marker.exists, what="the first trial")
    processes = family(supervisor_pid(folder))
    client.send(folder, Interrupt())
    until(lambda: state_of(folder) == "interrupted", what="the interruption")
    psutil.wait_procs(processes, timeout=20)
    marker.unlink()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "ours"))
    return folder, marker


def bytes_of(place: Path) -> dict[str, tuple[int, str]]:
    """Mode and digest of everything below a folder, folders and links included.

    Without the index of a log that its writer left behind: it says nothing of the run, and SQLite
    makes it anew for whoever reads.
    """
    return {
        str(path.relative_to(place)): (
            path.lstat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(place.rglob("*"))
        if not path.name.endswith("-shm")
    }


def look_at(run: Run, page: Path) -> None:
    """All that shows a run."""
    assert len(run.trials) > 0
    assert "open(" in str(run.code)
    assert run.report(page).exists()
    assert repr(run)
    assert run._repr_mimebundle_()
    if (run.trials["state"] == "complete").any():
        assert run.best.params is not None
    assert run.study.trials
    assert run.curves is not None
    assert terminal.main(["show", run.id, "--home", str(run.folder.path.parents[1])]) == 0
    assert terminal.main(["runs", "--home", str(run.folder.path.parents[1])]) == 0
    for line in (
        "code",
        "report",
    ):  # of an objective there is no cell; a report is a file elsewhere
        terminal.main([line, run.id, "--home", str(run.folder.path.parents[1])])


@pytest.mark.parametrize("state", ["finished", "interrupted", "killed"])
def test_t4_looking_at_a_run_of_somebody_else_changes_no_byte_of_it(tmp_path, monkeypatch, state):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "of another"))
    theirs, home = Home(tmp_path / "theirs"), Home(tmp_path / "home")
    capsule = Capsule(source="def objective(trial):\n    return open('x')\n", roots=("objective",))
    target = Target(role="objective", symbol="objective", capsule_hash=capsule.hash)
    folder = theirs.create_run(tiny_recipe("theirs", target=target), capsule)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([event for n in range(5) for event in whole_trial(n)])
        if state == "killed":  # as it lay there at that moment, its log beside it
            shutil.copytree(theirs.path, home.path)
        else:
            writer.apply([RunStateChanged(state=state)])
    if state != "killed":
        shutil.copytree(theirs.path, home.path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "ours"))
    before = bytes_of(home.path)
    look_at(Run(home.find(folder.id), home), tmp_path / "page.html")
    assert bytes_of(home.path) == before


def test_t4_a_run_of_somebody_else_is_shown_and_not_executed(runs, trap, tmp_path, monkeypatch):
    folder, marker = trap
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = Run(folder, runs.home)
    before = bytes_of(runs.home.path)
    look_at(run, marker.with_name("page.html"))
    assert bytes_of(runs.home.path) == before
    controller = HomeController()
    controller.add_home(runs.home)
    for going_on in (run.resume, lambda: controller.command(run.id, Resume())):
        with pytest.raises(EngineError, match="not submitted by you") as caught:
            going_on()
        assert "--run-code" in caught.value.hint
    assert not marker.exists()
    run.resume(run_code=True)
    until(marker.exists, what="the trusted code")
    run.stop()
    assert wait_for_end(folder) == "stopped"
    assert folder.is_ours  # said once, remembered


@pytest.mark.nightly
def test_t4_a_run_from_an_archive_is_asked_for(runs, trap, tmp_path):
    folder, marker = trap
    archive = nbautoml.export(Run(folder, runs.home), tmp_path / "run.zip")
    run = nbautoml.import_run(archive, home=tmp_path / "other")
    with pytest.raises(EngineError, match="not submitted by you"):
        run.resume()
    assert not marker.exists()


@pytest.mark.nightly
def test_t4_our_own_run_is_not_ours_when_its_code_was_changed(runs, acked, light):
    folder = runs.submit(OBJECTIVE, **objective_words(2, execution=Execution(n_workers=1)))
    assert wait_for_end(folder) == "finished"
    assert folder.is_ours
    manifest = folder.capsule_dir / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version"', ' "version"'))
    assert not folder.is_ours
    code = folder.capsule_dir / "capsule.py"
    code.write_text(code.read_text() + "\nprint('more')\n")
    with pytest.raises(CapsuleError):
        str(Run(folder, runs.home).code)


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("../outside", b"x"),
        ("/outside", b"x"),
        ("run/../../outside", b"x"),
        ("run/capsule/../../../outside", b"x"),
        ("run/signature", b"x"),
        ("run/store.json", b'{"url": "postgresql://evil/x"}'),
        ("run/inbox/00000000000000000000-1-abc.json", b'{"type": "Stop"}'),
        ("run/artifacts/..\\..\\outside", b"x"),
        ("data/x/outside", b"x"),
    ],
)
def test_t4_an_archive_with_a_hostile_member_is_refused_whole(tmp_path, member, content):
    import json

    home = Home(tmp_path / "home")
    folder = home.create_run(tiny_recipe(), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
    good = home.export(folder.id, tmp_path / "good.zip")
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        manifest = json.loads(old.read("manifest.json"))
        manifest["sha256"][member] = hashlib.sha256(content).hexdigest()
        for name in old.namelist():
            if name != "manifest.json":
                new.writestr(name, old.read(name))
        new.writestr(member, content)
        new.writestr("manifest.json", json.dumps(manifest))
    other = Home(tmp_path / "other")
    with pytest.raises(StoreError):
        other.import_archive(bad)
    assert other.runs() == []
    assert not list(tmp_path.rglob("outside"))


def test_t4_an_archive_with_a_link_is_refused(tmp_path):
    import json

    home = Home(tmp_path / "home")
    folder = home.create_run(tiny_recipe(), None)
    good = home.export(folder.id, tmp_path / "good.zip")
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        manifest = json.loads(old.read("manifest.json"))
        link = zipfile.ZipInfo("run/artifacts/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        manifest["sha256"][link.filename] = hashlib.sha256(b"/etc").hexdigest()
        for name in old.namelist():
            if name != "manifest.json":
                new.writestr(name, old.read(name))
        new.writestr(link, b"/etc")
        new.writestr("manifest.json", json.dumps(manifest))
    with pytest.raises(StoreError):
        Home(tmp_path / "other").import_archive(bad)


# -- what must not get out ------------------------------------------------------------------


@pytest.mark.nightly
def test_t12_secrets_stay_where_they_are(tmp_path, monkeypatch, acked, light):
    canaries = [secrets.token_hex(12) for _ in range(4)]
    in_environment, in_variable, in_url, in_line = canaries
    monkeypatch.setenv("NBAUTOML_PREHEAT", "0")
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLOUD_TOKEN", in_environment)
    kernel = started_kernel(tmp_path)
    published = []
    try:
        for cell in (
            f"password = {in_variable!r}; url = 'https://ann:{in_line}@host/x'",
            "%%automl tune hills --trials 4 --minimize --wait\n"
            + OBJECTIVE.replace(
                "    return value",
                "    if trial.number == 1:\n"
                f"        print('postgresql://ann:{{}}@db/x'.format({in_url[:12]!r} + {in_url[12:]!r}))\n"
                f"        raise OSError('no postgresql://ann:' + {in_url[:12]!r} + {in_url[12:]!r} + '@db')\n"
                "    return value",
            ),
            "hills.trials",
            "hills.best",
            "hills.curves",
            "hills",
            "%automl report hills",
            "%automl code hills",
            "%automl runs",
        ):
            said = kernel.run(cell, may_fail=True)
            published.append(str(said))
    finally:
        kernel.shutdown()
    written = {
        str(path): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and path.parent != acked.folder
    }
    assert any("record.db" in path for path in written)
    for canary in canaries:
        assert not [text[:300] for text in published[1:] if canary in text]
        assert not [path for path, data in written.items() if canary.encode() in data]


def test_t12_a_store_that_cannot_be_reached_does_not_tell_its_password(tmp_path, monkeypatch):
    canary = secrets.token_hex(12)
    url = f"postgresql://ann:{canary}@127.0.0.1:9/none?connect_timeout=1"
    monkeypatch.setenv("NBAUTOML_STORE", url)
    home = Home(tmp_path / "home")
    folder = home.create_run(tiny_recipe(), None)
    with pytest.raises(NbAutomlError) as caught:
        folder.reader()
    said = [caught.value]
    while said[-1].__cause__ or said[-1].__context__:
        said.append(said[-1].__cause__ or said[-1].__context__)
    assert not [text for text in map(str, said) if canary in text]
    assert canary not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())


def test_t16_files_and_folders_of_a_run_are_its_owners_alone(runs, acked, light):
    before = os.umask(0o022)
    try:
        folder = runs.submit(OBJECTIVE, **objective_words(3, execution=Execution(n_workers=1)))
        assert wait_for_end(folder) == "finished"
    finally:
        os.umask(before)
    for path in [runs.home.path, *runs.home.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0 or path.name == ".gitignore", f"{path} has {mode:o}"


def sockets_of(process: psutil.Process) -> list[str]:
    """Names of a process's unix sockets; those of a pair have none."""
    found = (str(item.laddr) for item in process.net_connections(kind="unix") if item.laddr)
    return [place.replace("\0", "@") for place in found]


def test_t16_a_socket_without_an_owner_is_seen():
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("\0nbautoml-of-a-test")
        made.listen()
        assert [name for name in sockets_of(psutil.Process()) if name == "@nbautoml-of-a-test"]


@pytest.fixture
def nobody() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Makes this process another user's for a while; its rights to files and sockets, that is."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    @contextmanager
    def become() -> Iterator[None]:
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    yield become
    assert os.geteuid() == 0


@pytest.fixture
def place_of_all() -> Iterator[Path]:
    """A folder that everybody may enter, in one that everybody may enter."""
    place = Path(tempfile.mkdtemp(prefix="nbautoml-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def test_t16_another_user_can_neither_read_a_run_nor_connect_to_it(
    place_of_all, acked, light, nobody
):
    before = os.umask(0o022)
    with watched(place_of_all) as runs:
        try:
            words = objective_words(300, execution=Execution(n_workers=2))
            folder = runs.submit(OBJECTIVE, **words)
            until(lambda: len(acked.ends()) > 2, what="trials")
        finally:
            os.umask(before)
        files = [path for path in runs.home.path.rglob("*") if path.is_file()]
        sockets = [s for p in family(supervisor_pid(folder)) for s in sockets_of(p)]
        assert {"record.db", "recipe.json", "owner.lock"} <= {path.name for path in files}
        assert sockets
        open_to_all = place_of_all / "open"
        open_to_all.write_text("x")
        with nobody():
            assert open_to_all.read_text() == "x"
            for path in files:
                with pytest.raises(PermissionError):
                    path.open("rb")
            with pytest.raises(PermissionError):
                list(runs.home.path.iterdir())
            for place in sockets:
                with socket.socket(socket.AF_UNIX) as mine, pytest.raises(PermissionError):
                    mine.connect(place)
        Run(folder, runs.home).stop()
        wait_for_end(folder)


def test_t16_a_run_listens_nowhere_that_others_can_reach(runs, acked, light):
    folder = runs.submit(OBJECTIVE, **objective_words(300, execution=Execution(n_workers=2)))
    until(lambda: len(acked.ends()) > 2, what="trials")
    for process in family(supervisor_pid(folder)):
        assert not process.net_connections(kind="inet"), process.cmdline()
        for place in sockets_of(process):
            # One in the abstract namespace has no owner: whoever is on the machine may connect.
            assert place.startswith("/"), place
            assert stat.S_IMODE(Path(place).parent.stat().st_mode) & 0o077 == 0, place
    Run(folder, runs.home).stop()
    wait_for_end(folder)


def test_t18_importing_loading_and_running_need_no_network(tmp_path):
    code = (
        "import nbautoml\n"
        "def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n"
        "if __name__ == '__main__':\n"
        "    run = nbautoml.tune(objective, trials=2, minimize=True, name='alone', wait=True)\n"
        "    print(run.state, len(run.trials))\n"
    )
    assert "finished 2" in run_without_a_network(code, tmp_path)


@pytest.mark.nightly
def test_t18_the_magic_and_a_run_of_torch_need_no_network(tmp_path):
    cell = (
        "%%automl tune alone --data digits --trials 2 --epochs 1 --wait\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, hidden: Int(4, 8) = 4):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))\n"
        "    def forward(self, x):\n"
        "        return self.layers(x)\n"
    )
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "if __name__ == '__main__':\n"
        "    shell = InteractiveShell.instance(colors='nocolor')\n"
        "    assert shell.run_cell('%load_ext nbautoml').success\n"
        f"    assert shell.run_cell({cell!r}).success\n"
        "    run = shell.user_ns['alone']\n"
        "    run.report('page.html')\n"
        "    print(run.state, len(run.trials), run.best.value > 0)\n"
    )
    assert "finished 2 True" in run_without_a_network(code, tmp_path)


def run_without_a_network(code: str, tmp_path: Path) -> str:
    """What a script prints where there is no network, not even this machine's own."""
    script = tmp_path / "script.py"
    script.write_text(code)
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"]).returncode:
        pytest.skip("this user cannot make a namespace without a network")
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "IPYTHONDIR": str(tmp_path)},
        timeout=250,
    )
    return done.stdout + done.stderr
