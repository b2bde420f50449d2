"""`--deterministic`: the same trial table, whoever is faster, and whenever the supervisor is killed."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from shuffled_pool import ShuffledPool, run_shuffled, table_of

from nbautoml.errors import RecipeError
from nbautoml.spec import Budget, Choice, Float, Int, Objective, Space
from nbautoml.spec.recipe import Execution, Recipe, Target
from nbautoml.store import Home
from nbautoml.study import SAMPLERS, STOPPERS, Study

SPACE = Space(
    {
        "lr": Float(1e-4, 1e-1, log=True),
        "hidden": Int(8, 64),
        "optimizer": Choice("sgd", "adam", "adamw"),
        "momentum": Float(0.0, 0.9, when=("optimizer", "sgd")),
    }
)
PLAIN = Space({name: SPACE[name] for name in ("lr", "hidden", "optimizer")})
ACCURACY_AND_SIZE = (Objective("accuracy", "maximize"), Objective("n_parameters", "minimize"))
DETERMINISTIC = Execution(deterministic=True)


@pytest.fixture
def submit(tmp_path):
    home = Home(tmp_path / ".nbautoml")

    def make(sampler="tpe", stopper="asha", execution=DETERMINISTIC, n_trials=28, **changes):
        given = {
            "kind": "tune",
            "name": "run",
            "run_id": "",
            "target": Target(role="module", symbol="Net", capsule_hash=""),
            "data": None,
            "space": SPACE if SAMPLERS[sampler].takes_conditions else PLAIN,
            "fixed": {"epochs": 9},
            "objectives": (Objective("accuracy", "maximize"),),
            "budget": Budget(n_trials=n_trials),
            "seed": 5,
            "sampler": sampler,
            "stopper": stopper,
            "execution": execution,
        }
        return home.create_run(Recipe(**(given | changes)), None)

    return make


def finished(folder, n_workers, seed):
    n_values = len(folder.recipe().objectives)
    pool = ShuffledPool(n_workers, seed, n_values=n_values)
    assert run_shuffled(folder, lambda: pool) == "finished"
    return table_of(folder)


def with_kills(folder, seed):
    """The table of a run whose supervisor is killed again and again."""
    chance = random.Random(seed)
    for _ in range(100):
        n_workers, turns = chance.randint(1, 6), chance.randint(1, 120)
        pool_seed = chance.randrange(1000)
        state = run_shuffled(
            folder,
            lambda n=n_workers, s=pool_seed, t=turns: ShuffledPool(
                n, s, t, len(folder.recipe().objectives)
            ),
        )
        if state == "finished":
            return table_of(folder)
    raise AssertionError("never finished")


@pytest.mark.parametrize(
    ("sampler", "stopper"),
    [
        *((name, "asha") for name in SAMPLERS if name != "brute"),
        *(("tpe", name) for name in STOPPERS if name != "asha"),
        ("random", "none"),
        ("nsga2", "hyperband"),
    ],
)
def test_table_hangs_neither_on_workers_nor_on_kills(submit, sampler, stopper):
    n_trials = 17 if sampler == "gp" else 28
    alone = finished(submit(sampler, stopper, n_trials=n_trials), 1, 0)
    assert len(alone) == n_trials
    assert finished(submit(sampler, stopper, n_trials=n_trials), 4, 1) == alone
    assert with_kills(submit(sampler, stopper, n_trials=n_trials), 2) == alone


@pytest.mark.parametrize("seed", range(6))
def test_kills_at_any_turn_change_nothing(submit, seed):
    alone = finished(submit(), 1, 0)
    assert {state for _, _, state, _, _ in alone} == {"complete", "stopped_early"}
    assert with_kills(submit(), seed) == alone


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_trials_of_two_objectives_are_stopped_the_same_on_any_workers_and_after_kills(
    submit, sampler
):
    two = {"objectives": ACCURACY_AND_SIZE, "sampler": sampler}
    alone = finished(submit(**two), 1, 0)
    assert {state for _, _, state, _, _ in alone} == {"complete", "stopped_early"}
    assert finished(submit(**two), 4, 1) == alone
    assert with_kills(submit(**two), 2) == alone


def test_without_it_the_table_hangs_on_who_was_faster(submit):
    tables = [finished(submit(execution=Execution()), 4, seed) for seed in range(4)]
    assert any(table != tables[0] for table in tables)


def test_stacks_of_a_round_have_the_same_width_on_any_number_of_workers(submit):
    execution = Execution(deterministic=True, executor="vectorized")
    alone = finished(submit(execution=execution), 1, 0)
    assert finished(submit(execution=execution), 4, 3) == alone
    assert finished(submit(), 4, 3) == alone


def test_points_that_were_enqueued_come_first_after_a_kill_too(submit):
    enqueued = tuple({"lr": 0.001 * n, "hidden": n, "optimizer": "adam"} for n in range(8, 20))
    alone = finished(submit(enqueued=enqueued), 1, 0)
    assert [row[1]["hidden"] for row in alone[:12]] == list(range(8, 20))
    assert with_kills(submit(enqueued=enqueued), 1) == alone


def test_grid_ends_when_all_was_tried_though_the_last_round_is_short(submit):
    space = Space({"lr": Choice(0.001, 0.01), "hidden": Int(8, 12)})
    more = {"n_trials": 11, "space": space}
    alone = finished(submit("grid", "asha", **more), 1, 0)
    assert len(alone) == 10
    assert with_kills(submit("grid", "asha", **more), 3) == alone


def test_stopper_knows_earlier_rounds_and_the_trial_itself_only():
    study = Study(
        Space({"lr": Float(0, 1)}),
        [Objective("accuracy", "maximize")],
        sampler="random",
        stopper="asha",
        max_epochs=9,
        n_trials=30,
        is_deterministic=True,
    )
    first = [study.ask()[0] for _ in range(8)]
    assert not any(study.report(n, epoch, n / 10) for n in first for epoch in range(1, 10))
    for n in first:
        study.tell(n, "complete", n / 10)
    second = [study.ask()[0] for _ in range(8)]
    assert not study.report(second[0], 2, 0.9)
    assert study.report(second[1], 2, 0.01)
    # Eight better ones in its own round do not count against it.
    assert not study.report(second[2], 2, 0.65)


def test_trial_that_starts_again_hears_what_it_heard():
    study = Study(
        Space({"lr": Float(0, 1)}),
        [Objective("accuracy", "maximize")],
        stopper="median",
        n_trials=30,
        is_deterministic=True,
    )
    for _ in range(8):
        number, _ = study.ask()
        for epoch in (1, 2, 3):
            study.report(number, epoch, 0.5 + number / 100)
        study.tell(number, "complete", 0.5)
    number, _ = study.ask()
    heard = [study.report(number, epoch, 0.1) for epoch in (1, 2, 3)]
    assert heard == [study.report(number, epoch, 0.1) for epoch in (1, 2, 3)]
    assert True in heard


@pytest.mark.parametrize("stopper", ["asha", "median", "hyperband"])
def test_trial_that_was_to_stop_when_the_supervisor_died_stops_at_the_same_epoch(stopper):
    def study():
        return Study(
            Space({"lr": Float(0, 1)}),
            [Objective("accuracy", "maximize")],
            sampler="random",
            stopper=stopper,
            max_epochs=9,
            n_trials=40,
            is_deterministic=True,
        )

    live, rows = study(), []
    for number in range(8):
        params = live.ask()[1]
        rows.append((number, params, "complete", dict.fromkeys(range(1, 10), 0.5 + number / 100)))
    for number, _, _, curve in rows:
        for epoch, value in curve.items():
            live.report(number, epoch, value)
    for number, _, state, curve in rows:
        live.tell(number, state, curve[9])
    rows += [(number, live.ask()[1], "waiting", {}) for number in range(8, 16)]
    heard = {n: [live.report(n, epoch, 0.1) for epoch in range(1, 10)] for n in range(8, 16)}
    # Under hyperband not all are stopped: some have a bracket in which hardly anybody stood.
    victim, said = next((number, words) for number, words in heard.items() if True in words)
    curve = dict.fromkeys(range(1, said.index(True) + 2), 0.1)
    rows[victim] = (victim, rows[victim][1], "waiting", curve)

    resumed = study()
    resumed.restore(
        (SimpleNamespace(number=n, state=state, params=p, value=curve.get(9)), curve)
        for n, p, state, curve in rows
    )
    assert [resumed.report(victim, epoch, 0.1) for epoch in range(1, 10)] == said


def long_study():
    return Study(
        Space({"x": Float(-1, 1), "y": Float(-1, 1)}),
        [Objective("loss", "minimize")],
        sampler="tpe",
        stopper="none",
        seed=3,
        is_deterministic=True,
    )


def one_round(study):
    together = [study.ask() for _ in range(8)]
    for number, params in together:
        study.tell(number, "complete", params["x"] ** 2 + params["y"] ** 2)
    return together


def test_what_the_sampler_sees_of_a_long_study_is_the_same_after_a_resume():
    """It sees a selection, renewed now and then: this must not hang on when it was resumed."""
    study = long_study()
    history = [trial for _ in range(131) for trial in one_round(study)]
    rows = [
        SimpleNamespace(number=n, state="complete", params=p, value=p["x"] ** 2 + p["y"] ** 2)
        for n, p in history
    ]
    resumed = long_study()
    resumed.restore(rows[:1016])
    assert [one_round(resumed) for _ in range(4)] == [
        history[at : at + 8] for at in range(1016, 1048, 8)
    ]


def test_objectives_are_refused():
    with pytest.raises(RecipeError, match="asks for its values while it runs"):
        Study(Space(), [Objective("loss", "minimize")], is_deterministic=True)


def study_of_two(stopper):
    return Study(
        Space({"lr": Float(0, 1)}),
        ACCURACY_AND_SIZE,
        sampler="random",
        stopper=stopper,
        seed=1,
        max_epochs=9,
        n_trials=64,
        is_deterministic=True,
    )


def lived(study, n_rounds, dice):
    """Rounds of trials whose epochs come in any order; what each heard, by trial and epoch."""
    heard, told = {}, []
    for _ in range(n_rounds):
        running = {study.ask()[0]: 0 for _ in range(8)}
        states = {}
        while running:
            number = dice.choice(list(running))
            running[number] += 1
            epoch = running[number]
            heard[number, epoch] = study.report(number, epoch, two_values(number, epoch))
            if heard[number, epoch] or epoch == 9:
                states[number] = "stopped_early" if heard[number, epoch] else "complete"
                del running[number]
        for number, state in sorted(states.items()):
            study.tell(number, state, two_values(number, 9))
            told.append((number, state))
    return heard, told


def two_values(number, epoch):
    return ((number * 37 % 64) / 64 + epoch / 1000, float(number * 23 % 64))


@pytest.mark.parametrize("stopper", ["asha", "hyperband"])
def test_with_two_objectives_who_is_faster_changes_nothing(stopper):
    heard, told = lived(study_of_two(stopper), 6, random.Random(1))
    assert {state for _, state in told} == {"complete", "stopped_early"}
    for seed in (2, 3):
        assert lived(study_of_two(stopper), 6, random.Random(seed)) == (heard, told)


@pytest.mark.parametrize("stopper", ["asha", "hyperband"])
def test_with_two_objectives_a_resume_changes_nothing(stopper):
    whole, told = lived(study_of_two(stopper), 6, random.Random(1))
    resumed = study_of_two(stopper)
    rows = [
        SimpleNamespace(
            number=n,
            state=state,
            params={"lr": 0.5},
            value=two_values(n, 9)[0],
            values=two_values(n, 9) if state == "complete" else (),
        )
        for n, state in told[:32]
    ]
    resumed.restore(rows)
    for row in rows:
        curve = {epoch: two_values(n, epoch) for n, epoch in whole if n == row.number}
        resumed.recall(row.number, curve)
    rest, _ = lived(resumed, 2, random.Random(5))
    assert rest == {key: said for key, said in whole.items() if key[0] >= 32}
