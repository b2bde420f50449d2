"""A teacher is asked about each row once, and its students are none the worse for it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from nbautoml.compress import Bench
from nbautoml.compress.remembered import Answers
from nbautoml.compress.sparse import Sieve, prune_gradually
from nbautoml.compress.training import Teaching, tune_module

N = 50  # of which 40 are trained on, in batches of 16: 16, 16, 8


class Counting(nn.Module):
    """A teacher that counts the rows that it is asked about."""

    def __init__(self, *, n_out: int = 3) -> None:
        super().__init__()
        self.layer, self.n_rows = nn.Linear(8, n_out), [0]

    def __deepcopy__(self, memo: object) -> Counting:
        twin = Counting(n_out=self.layer.out_features)
        twin.load_state_dict(self.state_dict())
        twin.n_rows = self.n_rows
        return twin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n_rows[0] += len(x)
        return self.layer(x)


@pytest.fixture
def bench(bench_for) -> Bench:
    x = torch.rand(N, 8, generator=torch.Generator().manual_seed(0))
    return bench_for(nn.Linear(8, 3), x)


@pytest.fixture
def teacher() -> Counting:
    torch.manual_seed(1)
    return Counting()


def student() -> nn.Module:
    torch.manual_seed(2)
    return nn.Linear(8, 3)


def tuned(bench: Bench, teaching: Teaching, *, epochs: int = 3) -> torch.Tensor:
    module = student()
    tune_module(module, bench, epochs=epochs, lr=0.1, teaching=teaching)
    return module.weight.detach()


def test_a_teacher_is_asked_about_each_row_once_from_pass_to_pass(bench, teacher):
    tuned(bench, Teaching(teacher=teacher), epochs=4)
    assert teacher.n_rows == [bench.data.train.n]


def test_and_from_fit_to_fit_with_the_same_teaching(bench, teacher):
    sieve, teaching = Sieve(sparsity=0.5), Teaching(teacher=teacher)
    prune_gradually(student(), bench, sieve, ramp_epochs=2, epochs=2, teaching=teaching)
    assert teacher.n_rows == [bench.data.train.n]


def test_what_is_remembered_changes_nothing_of_what_is_learnt(bench, teacher, monkeypatch):
    found = tuned(bench, Teaching(teacher=teacher))
    forgetful = Teaching(teacher=teacher)
    nothing = Answers(bench.data.train.n, most_bytes=0)
    monkeypatch.setattr(forgetful.memory, "answers", lambda *_: nothing)
    asked_anew = tuned(bench, forgetful)
    assert teacher.n_rows == [4 * bench.data.train.n]  # once, and in each of three passes
    torch.testing.assert_close(found, asked_anew)


def test_a_teacher_that_has_changed_is_asked_anew(bench, teacher):
    teaching = Teaching(teacher=teacher)
    first = tuned(bench, teaching)
    with torch.no_grad():
        teacher.layer.weight.neg_()
    assert not torch.allclose(first, tuned(bench, teaching))
    assert teacher.n_rows == [2 * bench.data.train.n]


def test_other_data_is_asked_about_anew(bench, teacher, bench_for):
    teaching = Teaching(teacher=teacher)
    first = tuned(bench, teaching)
    x = torch.rand(N, 8, generator=torch.Generator().manual_seed(5))
    other = bench_for(nn.Linear(8, 3), x)
    expected = tuned(other, Teaching(teacher=teacher))
    torch.testing.assert_close(tuned(other, teaching), expected)
    assert not torch.allclose(first, expected)


def test_a_teacher_whose_inner_layers_are_compared_is_asked_every_time(bench):
    def count(epochs: int) -> int:
        asked = []
        teacher = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3))
        teacher.__deepcopy__ = lambda _: teacher
        teacher.register_forward_hook(lambda *_: asked.append(1))
        module = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3))
        teaching = Teaching(teacher=teacher, transfer="hints")
        tune_module(module, bench, epochs=epochs, teaching=teaching)
        return len(asked)

    assert count(3) - count(2) == count(2) - count(1) == 3  # batches of a pass


def test_answers_that_need_too_much_memory_are_not_kept():
    rows, asked = torch.tensor([0, 1]), []
    answers = Answers(2, most_bytes=15)
    for _ in range(2):
        answers.note(rows)
        answers.ask(lambda: asked.append(1) or torch.zeros(2, 2))  # 16 bytes
    assert len(asked) == 2


def test_what_is_no_answer_a_row_is_not_kept():
    asked = []
    answers = Answers(2)
    for _ in range(2):
        answers.note(torch.tensor([0, 1]))
        answers.ask(lambda: asked.append(1) or torch.tensor(3.0))
    assert len(asked) == 2


def test_a_question_without_rows_goes_to_the_teacher():
    answers = Answers(2)
    answers.note(torch.tensor([1, 0]))
    answers.ask(lambda: torch.tensor([1.0, 0.0]))
    assert answers.ask(lambda: torch.tensor([7.0, 8.0])).tolist() == [7.0, 8.0]


def test_classes_are_weighed_while_answers_are_remembered(bench, teacher):
    own = dataclasses.replace(bench.settings, class_balance=1.0)
    weighed = dataclasses.replace(bench, settings=own)
    tuned(weighed, Teaching(teacher=teacher))
    assert teacher.n_rows == [bench.data.train.n]
