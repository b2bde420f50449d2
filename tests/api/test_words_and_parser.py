"""Words to orders: by the table, with errors that point at the word."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from nbautoml.api.ask import checked_options
from nbautoml.api.help import help_on
from nbautoml.api.options import SAMPLER_NAMES, STOPPER_NAMES
from nbautoml.api.parser import HelpAsked, Order, Parser
from nbautoml.api.verb_table import VERBS, in_python
from nbautoml.api.verbs import train, tune
from nbautoml.api.words import words_of
from nbautoml.errors import UsageError
from nbautoml.spec import SETTING_NAMES


def parse(*arguments: str, parameters: tuple[str, ...] = ()) -> Order:
    line, words = words_of(list(arguments))
    return Parser(line, prefix="%automl ").parse(words, parameters)


def refusal(*arguments: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    return caught.value


def under_carets(error: UsageError) -> str:
    _, line, carets = error.message.splitlines()
    return "".join(a for a, b in zip(line.ljust(len(carets)), carets, strict=False) if b == "^")


def test_flags_come_in_any_order():
    before = parse("tune", "--trials", "5", "digits", "--detach", "--metric", "f1")
    after = parse("tune", "digits", "--metric", "f1", "--detach", "--trials", "5")
    assert dict(before.values) == dict(after.values)
    assert before.values["trials"] == 5


@pytest.mark.parametrize(
    ("words", "at", "hint"),
    [
        (("tnue", "a"), "tnue", "did you mean tune?"),
        (("tune", "a", "--metrc", "f1"), "--metrc", "did you mean --metric?"),
        (("tune", "a", "--trials", "many"), "many", "a whole number, at least 1"),
        (("tune", "a", "--trials", "0"), "0", "a whole number, at least 1"),
        (("tune", "a", "--time", "5 parsecs"), "5 parsecs", "90s, 10m, 1h30m"),
        (("tune", "a", "--valid", "2"), "2", "between 0 and 1"),
        (("tune", "a", "--sampler", "tpee"), "tpee", "did you mean 'tpe'?"),
        (("tune", "a", "--trials"), "--trials", "a whole number"),
        (("tune", "a", "--trials", "--wait"), "--trials", "a whole number"),
        (("tune", "a", "b"), "b", "tune takes NAME"),
        (("tune", "a", "metric", "f1"), "metric", "did you mean --metric?"),
        (("tune", "a", "--trials", "1", "--trials", "2"), "--trials", "leave one of them out"),
        (("tune", "a", "--maximize", "--minimize"), "--minimize", ""),
        (("tune", "my-run"), "my-run", "my_run"),
        (("tune", "class"), "class", "run_class"),
        (("train", "a", "--trials", "3"), "--trials", "--trials belongs to tune"),
        (("help", "tine"), "tine", "did you mean tune?"),
        (("runs", "x"), "x", "runs takes no name"),
    ],
)
def test_error_points_at_the_word_and_says_what_to_do(words, at, hint):
    error = refusal(*words)
    assert under_carets(error) == at
    assert hint in error.hint


def test_what_is_missing_is_pointed_at_behind_the_line():
    assert refusal("show").message.startswith("show needs NAME")


def test_underscores_in_flags_are_as_good_as_dashes():
    assert parse("train", "a", "--batch_size", "8").values["batch_size"] == "8"


def test_a_negative_number_is_a_value():
    assert parse("train", "a", "--lr", "-1e-3").values["lr"] == "-1e-3"


def test_flags_are_never_abbreviated():
    assert under_carets(refusal("tune", "a", "--tri", "3")) == "--tri"


def test_parameters_of_the_model_are_flags_too():
    order = parse("train", "a", "--channels", "8", parameters=("channels",))
    assert order.values["channels"] == "8"


def test_argparse_cannot_end_the_kernel():
    for verb in VERBS:
        for words in ((verb,), (verb, "a", "b", "c"), (verb, "--nope")):
            with pytest.raises((UsageError, HelpAsked)):
                parse(*words, "--nope")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_lists_its_flags(verb):
    with pytest.raises(HelpAsked) as caught:
        parse(verb, "--help")
    assert caught.value.verb is VERBS[verb]
    text = repr(help_on(VERBS[verb]))
    assert all(option.flag in text for option in VERBS[verb].options)
    assert max(map(len, text.splitlines())) <= 100


def test_help_of_everything_lists_every_verb():
    text = repr(help_on(None))
    assert all(verb in text for verb in VERBS)


def test_names_of_samplers_and_stoppers_are_those_of_the_study():
    from nbautoml.study import SAMPLERS, STOPPERS

    assert set(SAMPLER_NAMES) == {"auto", *SAMPLERS}
    assert set(STOPPER_NAMES) == {"auto", *STOPPERS}


@pytest.mark.parametrize("verb", ["tune", "train"])
def test_every_setting_of_the_trainer_is_a_flag(verb):
    assert {o.name for o in VERBS[verb].options if o.kind == "setting"} == set(SETTING_NAMES)


@pytest.mark.parametrize(("verb", "call"), [("tune", tune), ("train", train)])
def test_signature_and_docstring_state_the_table(verb, call):
    parameters = inspect.signature(call).parameters
    for option in in_python(VERBS[verb]):
        assert parameters[option.name].default == option.default
        assert f"{option.name}: " in call.__doc__


def test_python_arguments_are_checked_as_words_are():
    options, settings = checked_options("tune", {"time": "10m", "hidden": 3})
    assert (options["time"], settings) == (600.0, {"hidden": 3})
    with pytest.raises(UsageError, match=r"trials is 2\.5"):
        checked_options("tune", {"trials": 2.5})
    with pytest.raises(UsageError, match="sampler is 'tpee'"):
        checked_options("tune", {"sampler": "tpee"})


@pytest.mark.parametrize(
    "first", ["import nbautoml.tune.driver", "import nbautoml.train.frames", ""]
)
def test_calls_stay_calls_whatever_is_imported(first):
    code = f"import nbautoml; {first or 'pass'}; import nbautoml.train, nbautoml.tune; "
    code += "from nbautoml import tune; print(callable(nbautoml.train), tune.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "tune"]
