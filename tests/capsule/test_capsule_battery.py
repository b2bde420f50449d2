"""What people write in cells, and the same in another process by way of its capsule."""

from __future__ import annotations

import sys

import pytest
from capsule_cases import CASES as CODE_CASES
from capsule_shell import Shell
from capsule_value_cases import VALUE_CASES

CASES = [*CODE_CASES, *VALUE_CASES]


@pytest.fixture(scope="module")
def answers(one_shell, tmp_path_factory, read_elsewhere):
    """By case: what the session says, and what the capsule says elsewhere."""
    shell, ours = one_shell
    main, sys.modules["__main__"] = sys.modules["__main__"], ours
    here, asked = {}, []
    try:
        for number, case in enumerate(CASES):
            notebook = Shell(shell)
            notebook.run(*case.cells)
            try:
                capsule = notebook.capsule(*case.roots)
            except Exception as error:
                here[case.name] = (repr(error), "no capsule")
                continue
            folder = tmp_path_factory.mktemp(f"case{number}") / "capsule"
            capsule.save(folder)
            here[case.name] = (repr(eval(case.asked, notebook.names)), capsule.source)
            asked.append((case.name, folder, case.asked))
    finally:
        sys.modules["__main__"] = main
    return here, read_elsewhere(asked)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_capsule_says_what_the_session_says(answers, name):
    here, elsewhere = answers
    said, source = here[name]
    assert elsewhere.get(name) == said, source


def test_every_case_has_a_name_of_its_own():
    assert len({case.name for case in CASES}) == len(CASES)
