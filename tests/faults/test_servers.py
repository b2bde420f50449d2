"""A PostgreSQL server that goes away under a run (F33): restarts, cut connections, a read-only one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from engine_runs import family, supervisor_pid, until
from fault_kernel import started_kernel
from fault_runs import OBJECTIVE, check_nothing_lost, n_points, objective_words, pause_for, rng

from nbautoml.errors import StoreError
from nbautoml.spec.recipe import Execution
from nbautoml.store import Reader, RunFolder
from nbautoml.testing.postgres_server import PostgresServer, find_postgres

psycopg = pytest.importorskip("psycopg")
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200 if n_points(0) else 600)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """Where the runs of a test keep their records."""
    binaries = find_postgres(install=True)
    if binaries is None:
        pytest.skip("no PostgreSQL here, and Debian's package cannot be installed")
    made = PostgresServer(binaries)
    monkeypatch.setenv("NBAUTOML_STORE", made.url())
    yield made
    made.close()


def asked(folder: RunFolder, what: Callable[[Reader], Any]) -> Any:
    """What a reader says; None while the server is away."""
    try:
        with folder.reader() as reader:
            return what(reader)
    except StoreError:
        return None


def n_ended(folder: RunFolder) -> int | None:
    return asked(folder, lambda reader: sum(row.ended_at is not None for row in reader.trials()))


def state(folder: RunFolder) -> str | None:
    return asked(folder, lambda reader: reader.run().state)


def ask(server: PostgresServer, *statements: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_t12_the_password_of_the_server_is_nowhere(server, tmp_path, monkeypatch, acked, light):
    monkeypatch.setenv("NBAUTOML_PREHEAT", "0")
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "home"))
    kernel = started_kernel(tmp_path)
    cells = ["%%automl tune hills --trials 4 --minimize --wait\n" + OBJECTIVE]
    cells += ["hills", "hills.trials", "hills.curves", "hills.best", "hills.recipe", "hills.folder"]
    cells += ["%automl runs", "%automl report hills", "%automl code hills", "%automl export hills"]
    cells += ["import nbautoml; nbautoml.runs()", "hills.study", "repr(hills)", "hills.best_model"]
    try:
        notebook = [{"cell": cell, "outputs": kernel.run(cell, may_fail=True)} for cell in cells]
        server.stop()  # what is said of a server that is away must not tell it either
        away = ("hills.trials", "hills", "%automl runs", "%automl show hills")
        notebook += [{"cell": cell, "outputs": kernel.run(cell, may_fail=True)} for cell in away]
        server.start()
    finally:
        kernel.shutdown()
    (tmp_path / "made.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    said = json.dumps(notebook)
    assert "hills" in said
    assert "complete" in said
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {".html", ".zip", ".ipynb"} <= {path.suffix for path in kept}
    for path in list(kept):
        if path.suffix == ".zip":
            shutil.unpack_archive(path, tmp_path / "unpacked")
    kept += [path for path in (tmp_path / "unpacked").rglob("*") if path.is_file()]
    secrets = {server.password, quote(server.password, safe=""), server.password[5:]}
    for path in kept:
        data = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in data], path
    tables = "select table_schema, table_name from information_schema.tables where table_schema not like 'pg%'"
    with psycopg.connect(server.url()) as connection:
        for table in connection.execute(tables).fetchall():
            found = psycopg.sql.Identifier(*table)
            rows = connection.execute(psycopg.sql.SQL("select * from {}").format(found)).fetchall()
            assert not [secret for secret in secrets if secret in str(rows)], table


def check(folder: RunFolder, acked, n_trials: int) -> None:
    until(lambda: state(folder) == "finished", what="the end")
    rows = check_nothing_lost(folder, acked, n_trials)
    assert {(row.state, row.attempt) for row in rows} == {("complete", 1)}


@pytest.fixture
def folder(runs, server, acked, light) -> Iterator[RunFolder]:
    """A run that goes on."""
    words = objective_words(N_TRIALS, execution=Execution(n_workers=2))
    made = runs.submit(OBJECTIVE, **words)
    until(lambda: n_ended(made), what="finished trials")
    yield made
    if state(made) not in {"finished", "stopped"}:
        for process in family(supervisor_pid(made)):
            process.kill()


N_TRIALS = 200 if n_points(0) < 100 else 3000


def test_f33_a_server_that_restarts_again_and_again_loses_nothing(folder, server, acked, figures):
    generator, n_restarts = rng("F33 restarts"), max(2, n_points(2) // 10)
    for _ in range(n_restarts):
        server.stop()
        pause_for(generator.uniform(0, 2), lambda: False)
        server.start()
        before = until(lambda: n_ended(folder), what="the server")
        until(lambda before=before: (n_ended(folder) or 0) > before, what="going on")
    check(folder, acked, N_TRIALS)
    figures.add("F33 restarts", restarts=n_restarts, lost=0, doubled=0, stuck=0)


def test_f33_connections_that_are_cut_at_any_moment_lose_nothing(folder, server, acked, figures):
    generator, n_cuts = rng("F33 cuts"), 0
    while n_cuts < n_points(5) and state(folder) != "finished":
        ask(
            server,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        n_cuts += 1
        pause_for(generator.uniform(0, 0.5), lambda: False)
    check(folder, acked, N_TRIALS)
    figures.add("F33 cuts", cuts=n_cuts, lost=0, doubled=0, stuck=0)
    assert n_cuts > 1


def test_f33_a_run_waits_while_its_server_only_reads_and_goes_on(folder, server, acked):
    ask(
        server,
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    )
    before = -1
    while (now := n_ended(folder)) != before:  # what was on its way
        before = now
        pause_for(3.0, lambda: False)
    assert before < N_TRIALS
    assert state(folder) == "running"
    ask(
        server,
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    )
    check(folder, acked, N_TRIALS)
