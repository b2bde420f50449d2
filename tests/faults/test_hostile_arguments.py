"""Code in arguments (T15): a word is a word, unless the option takes an expression of the notebook."""

from __future__ import annotations

import ast
import collections
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from capsule_shell import own_shell
from hostile_words import HOSTILE_WORDS

import nbautoml
from nbautoml.api import terminal
from nbautoml.api.parser import HelpAsked, Parser
from nbautoml.api.run import Run
from nbautoml.api.verb_table import VERBS
from nbautoml.api.words import words_of
from nbautoml.data import load_named, snapshot
from nbautoml.errors import NbAutomlError
from nbautoml.spec import FitSettings, Objective
from nbautoml.store import Home
from nbautoml.testing.store_events import tiny_recipe
from nbautoml.tune.portable import portable_code

PACKAGE = Path(nbautoml.__file__).parent

# The options whose words are Python of the person who types them, as the help says of each.
EXPRESSIONS = {"data", "model", "space", "params", "enqueue", "student"}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where the test stands; no file `marker` is made by what was said."""
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NBAUTOML_PREHEAT", "0")
    deep = tmp_path / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    yield deep
    assert not list(tmp_path.rglob("*marker*"))


def test_t15_only_the_options_that_say_so_take_expressions():
    for verb in VERBS.values():
        for option in verb.options:
            is_python = option.rules.read is None
            is_setting = option.kind == "setting"
            assert is_python == (option.name in EXPRESSIONS or is_setting), option.name
            if is_python and not is_setting:
                words = ("expression", "DataFrame", "dict", "Module")
                assert any(word in option.help + option.rules.takes for word in words)


@pytest.mark.parametrize("verb", VERBS)
def test_t15_every_flag_of_every_verb_reads_hostile_words_as_words(place, verb):
    n_read = 0
    for option in VERBS[verb].options:
        if option.rules.metavar == "":
            continue
        for text in HOSTILE_WORDS:
            places = ["x" for _ in VERBS[verb].places]
            line, words = words_of([verb, *places, option.flag, text])
            try:
                value = Parser(line).parse(words).values[option.name]
            except (NbAutomlError, HelpAsked):
                continue
            n_read += 1
            assert value == text or str(value) == str(Path(text).expanduser())
    assert n_read or not any(option.rules.metavar for option in VERBS[verb].options)


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if not verb.in_cell])
def test_t15_the_terminal_takes_hostile_names_as_names(place, capsys, verb):
    for text in HOSTILE_WORDS:
        places = [text for _ in VERBS[verb].places]
        assert terminal.main([verb, *places]) in {terminal.REFUSED, terminal.MISUSED, 0}
        said = capsys.readouterr()
        assert "Traceback" not in said.err


CELL = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)
    def forward(self, x):
        return self.layer(x)
"""


def test_t15_lines_of_the_magic_with_hostile_words_run_nothing(place, capsys):
    flags = {option.flag for option in VERBS["tune"].options if option.rules.metavar}
    flags -= {f"--{name}" for name in EXPRESSIONS} | {"--home"}
    n_refused = 0
    with own_shell() as shell:
        shell.run_line_magic("load_ext", "nbautoml")
        for text in HOSTILE_WORDS:
            if "\n" in text or "\x00" in text:
                continue  # no line
            for word in (text, repr(text), shlex.quote(text)):
                for line in (f"show {word}", f"runs --home {word}", f"tune {word} --data digits"):
                    n_refused += not shell.run_cell(f"%automl {line}").success
        for flag in sorted(flags):
            for text in ("`touch marker`", "$(touch marker)", "x; touch marker"):
                cell = f"%%automl tune x --data digits --trials 1 {flag} {text!r}\n{CELL}"
                n_refused += not shell.run_cell(cell).success
        shell.run_line_magic("unload_ext", "nbautoml")
    assert "Traceback" not in capsys.readouterr().err
    assert n_refused > 100
    assert not nbautoml.runs()


def test_t15_hostile_words_in_python_calls_are_refused(place):
    def objective(trial):
        return trial.suggest_float("x", 0, 1)

    for name in ("target", "metric", "device", "name", "task", "sampler", "executor", "data"):
        for text in HOSTILE_WORDS:
            with pytest.raises(NbAutomlError):
                nbautoml.tune(objective, **{"name": "x", "trials": 1, "wait": True, name: text})
    assert not nbautoml.runs()


@pytest.mark.parametrize(
    "text", ["a\x00b", "\ud800/x", "x" * 600], ids=["NUL", "surrogate", "long"]
)
def test_t15_a_path_that_no_system_has_is_refused_in_words(place, text):
    home = Home(place / "home")
    folder = home.create_run(tiny_recipe(), None)
    for act in (
        lambda: nbautoml.runs(home=text),
        lambda: nbautoml.load("x", home=text),
        lambda: nbautoml.import_run(text),
        lambda: home.export(folder.id, text),
        lambda: Run(folder, home).report(text),
    ):
        with pytest.raises(NbAutomlError) as caught:
            act()
        assert len(str(caught.value)) < 1500


def calls_in(code: str) -> collections.Counter[str]:
    return collections.Counter(
        ast.unparse(node.func) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)
    )


@pytest.mark.parametrize("text", HOSTILE_WORDS, ids=ascii)
def test_t15_written_code_calls_what_it_calls_without_hostile_words(place, tmp_path, text):
    spec = snapshot(load_named("digits"), home_data=tmp_path / "data", name="digits")
    source = (
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, word):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)\n"
    )

    def written(said: str) -> str:
        return portable_code(
            source=source,
            symbol="Net",
            data=spec,
            settings=FitSettings(epochs=1),
            objective=Objective(metric="accuracy", direction="maximize"),
            seed=0,
            arguments={"word": said},
            data_text="",
            title=f"run {said}",
            captured=(said,),
        )

    if "\x00" in text:  # no run has such a name, and no Python such a text
        with pytest.raises(NbAutomlError, match="null"):
            written(text)
    else:
        assert calls_in(written(text)) == calls_in(written("plain"))
    with pytest.raises(NbAutomlError):
        portable_code(
            source=source,
            symbol=text,
            data=spec,
            settings=FitSettings(),
            objective=Objective(metric="accuracy", direction="maximize"),
            seed=0,
        )


# -- where code is made of text, and where programs are started -------------------------------

RUNS_TEXT = ("eval", "exec", "compile", "__import__", "execfile")
STARTS = ("os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "pty.")
STARTS += ("subprocess.", "runpy.", "code.Inter", "importlib.import_module", "torch.hub")
STARTS += ("asyncio.create_subprocess", "torch.utils.cpp_extension")

ALLOWED = {
    "api/cell.py: exec": "the body of the user's own cell",
    "api/namespace.py: compile": "an expression of the user's own line",
    "api/namespace.py: eval": "the same",
    "api/models.py: importlib.import_module": "packages of a run whose code may be run",
    "capsule/container.py: compile": "a capsule, in a worker or where its user trusts it",
    "capsule/container.py: exec": "the same",
    "capsule/replay.py: compile": "a call of the user's own notebook, run once more",
    "capsule/replay.py: eval": "the same",
    "compress/pipeline.py: importlib.import_module": "our own table of techniques",
    "compress/saved.py: importlib.import_module": "torch's layers",
    "compress/work.py: importlib.import_module": "packages of a run, in its worker",
    "engine/again.py: subprocess.Popen": "this Python, with our own words",
    "engine/client.py: subprocess.Popen": "this Python, with our own words",
    "engine/devices.py: subprocess.run": "nvidia-smi",
    "engine/driver.py: importlib.import_module": "our own table of drivers",
    "engine/worker.py: importlib.import_module": "modules of nbautoml",
    "measure/exported.py: importlib.import_module": "an optional package, named by us",
    "spec/signature.py: eval": "an annotation of the user's own class, as Python does",
    "testing/postgres_server.py: subprocess.run": "PostgreSQL, for tests",
    "testing/store_contract.py: subprocess.Popen": "this Python, for tests",
    "tune/portable.py: compile": "to see that written code is Python; it is not run",
}


def test_t15_text_becomes_code_and_programs_start_in_known_places_only():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.Name, ast.Attribute)):
                continue
            name = ast.unparse(node)
            if name in RUNS_TEXT or (name.startswith(STARTS) and "." in name):
                found.add((path.relative_to(PACKAGE).as_posix(), name))
    used = {
        f"{path}: {name}"
        for path, name in found
        if not name.startswith("subprocess.") or name.split(".")[1] in {"Popen", "run", "call"}
    }
    assert used == set(ALLOWED)
