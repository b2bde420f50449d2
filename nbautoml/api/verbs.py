"""The verbs, as Python calls: the same words as the magics', usable from a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nbautoml.api.ask import Ask, checked_options
from nbautoml.api.help import arguments_doc
from nbautoml.api.kinds import KINDS
from nbautoml.api.listing import Comparison, RunList
from nbautoml.api.parser import signature_of
from nbautoml.api.run import Run
from nbautoml.api.verb_table import VERBS, in_python
from nbautoml.api.waiting import WaitingStopped
from nbautoml.errors import UsageError
from nbautoml.store import Home

if TYPE_CHECKING:
    from nbautoml.api.verification import Verification

__all__ = [
    "compare",
    "compress",
    "export",
    "import_run",
    "load",
    "remove",
    "restore",
    "runs",
    "start",
    "train",
    "tune",
    "verify",
]

_F = TypeVar("_F", bound=Callable[..., Any])


def _told_by(verb: str, *, by_place: Sequence[str] = ()) -> Callable[[_F], _F]:
    """Give a call the signature and the ``Args`` that the table of options states.

    Args:
        verb: whose options.
        by_place: those that may also stand after the model, without their names.
    """
    options = in_python(VERBS[verb])

    def decorate(function: _F) -> _F:
        function.__signature__ = signature_of(options, "model", by_place)  # type: ignore[attr-defined]
        function.__doc__ = (function.__doc__ or "").replace(
            "    {options}", _indented(arguments_doc(options))
        )
        return function

    return decorate


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


@_told_by("tune")
def tune(model: Any, /, *more: Any, **options: Any) -> Run:
    """Find the values with which a model is best; returns at once, with the run that goes on.

    What varies stands in the annotations of the model's ``__init__`` or in ``space``; a further
    keyword is a setting of the trainer (``lr``, ``epochs``, ...) or a parameter of the model, and
    varies when it is an `Int`, `Float` or `Choice`.

    {options}
        settings: lr, optimizer, epochs ..., and parameters of the model.

    The model is an ``nn.Module`` class, a function that makes a module, a function
    ``objective(trial)``, or a scikit-learn class or function that makes a pipeline.

    Example::

        run = nbautoml.tune(Net, data=(X, y), space={"lr": Float(1e-4, 0.1, log=True)}, trials=60)
        run.wait().best
    """
    _refuse_by_place("tune", more)
    return start(_ask("tune", model, options))


@_told_by("train")
def train(model: Any, /, *more: Any, **options: Any) -> Run:
    """Train a model once; returns at once, with the run that goes on.

    A further keyword is a setting of the trainer (``lr``, ``epochs``, ...) or a parameter of the
    model. What the model's signature lets vary takes its default.

    {options}
        settings: lr, optimizer, epochs ..., and parameters of the model.

    Example::

        run = nbautoml.train(Net, data=(X, y), epochs=30, **best.params)
        run.wait().best_model
    """
    _refuse_by_place("train", more)
    return start(_ask("train", model, options))


@_told_by("compress", by_place=("method",))
def compress(model: Any, /, method: Any = None, **options: Any) -> Run:
    """Make a trained model smaller and faster, and prove it; returns at once, with the run.

    Every model that is tried is exported, judged on the validation rows and timed beside the
    original. ``method`` is "auto" (a search), words ("prune,quantize": applied once, or,
    with ``trials`` or ``time``, searched among), or a list of configs of
    `nbautoml.compress`; it may stand second, without its name.

    {options}
        settings: of the fine-tuning: lr, optimizer, batch_size, epochs (its longest) ...

    The model is a trained ``nn.Module``, or a run whose best model (and data) is taken.

    Example::

        small = nbautoml.compress(run, max_drop=0.01, max_latency="2ms").wait()
        small.best_model
        nbautoml.compress(net, [Pruning(0.5), Quantization("int8")], data=(X, y))
    """
    return start(_ask("compress", model, {"method": method, **options}))


def _refuse_by_place(verb: str, more: Sequence[Any]) -> None:
    if more:
        raise UsageError(
            f"{verb} takes the model alone without a name, and got {len(more)} more",
            hint=f"{verb}(Net, data=(X, y), ...)",
        )


def _ask(verb: str, model: Any, given: dict[str, Any]) -> Ask:
    options, settings = checked_options(verb, given)
    return Ask(verb=verb, model=model, options=options, settings=settings)


def start(ask: Ask) -> Run:
    """Submit what was asked, and wait for it where that was asked, too.

    Raises:
        NbAutomlError: something is off; nothing was started.
    """
    from nbautoml.api.compressing import submit_compression
    from nbautoml.api.submit import submit

    try:
        submitted = submit_compression(ask) if ask.verb == "compress" else submit(ask)
    except KeyboardInterrupt:
        if ask.options["executor"] == "inline" and ask.options["name"]:
            raise WaitingStopped(ask.options["name"], is_inline=True) from None
        raise
    run = Run(submitted.folder, submitted.home, notes=submitted.notes, is_own=True)
    return run.wait() if ask.options["wait"] else run


def load(name: str, *, home: str | Path | None = None) -> Run:
    """The newest run of a name, or the run of an id.

    Args:
        name: of the run, or its id or the first letters of that.
        home: folder of the runs; ``.nbautoml`` here, or NBAUTOML_HOME, when left out.

    Raises:
        RunNotFoundError: there is none; names the nearest.
    """
    place = Home(home)
    return Run(place.find(name), place)


def runs(*, home: str | Path | None = None) -> RunList:
    """All runs, newest first: a sequence of `Run` that shows itself as a table.

    Args:
        home: folder of the runs; ``.nbautoml`` here, or NBAUTOML_HOME, when left out.
    """
    place = Home(home)
    return RunList(place.runs(), place)


def compare(first: Run | str, second: Run | str, *, home: str | Path | None = None) -> Comparison:
    """Two runs side by side: what they were, what they found, how their code differs.

    Args:
        first: a run, or its name.
        second: another.
        home: where names are looked up.
    """
    pair = [run if isinstance(run, Run) else load(run, home=home) for run in (first, second)]
    return Comparison(*pair)


def verify(
    name: Run | str,
    trials: int | Sequence[int] | None = None,
    *,
    run_code: bool = False,
    home: str | Path | None = None,
) -> Verification:
    """Train some trials of a run again, and say which give the same numbers; see `Run.verify`.

    Args:
        name: the run, or its name.
        trials: how many (the best first, then others by chance; 3 when left out), or their numbers.
        run_code: the run came in an archive, and its code may be executed all the same.
        home: where the name is looked up.

    Example::

        nbautoml.verify("digits", trials=[4, 7]).is_equal
    """
    run = name if isinstance(name, Run) else load(name, home=home)
    checked = None if trials is None else KINDS["trials"].checked("trials", trials)
    return run.verify(checked, run_code=run_code)


def remove(name: str, *, for_good: bool = False, home: str | Path | None = None) -> Path:
    """Move a run to the trash, from where `restore` brings it back; returns its place there.

    Args:
        name: of the run, or its id.
        for_good: delete it instead.
        home: folder of the runs.

    Raises:
        RunNotFoundError: there is none.
        StoreError: it is going on.
    """
    from nbautoml.api.trash import delete

    place = Home(home).remove(name)
    if for_good:
        delete(place)
    return place


def restore(name: str, *, home: str | Path | None = None) -> Run:
    """Bring a run back from the trash.

    Raises:
        RunNotFoundError: the trash holds none of that name.
    """
    place = Home(home)
    return Run(place.restore(name), place)


def export(
    name: Run | str,
    path: str | Path | None = None,
    *,
    with_data: bool = False,
    home: str | Path | None = None,
) -> Path:
    """Write a run to one archive that `import_run` takes.

    Args:
        name: the run, or its name.
        path: the file; the run's name with ``.zip`` when left out.
        with_data: put the data in, too.
        home: where the name is looked up.
    """
    from nbautoml.store import export_run
    from nbautoml.store.files import file_name

    run = name if isinstance(name, Run) else load(name, home=home)
    target = Path(path) if path is not None else Path(file_name(run.name, ".zip"))
    return export_run(run.folder, target, data_dir=run.home.data_dir, with_data=with_data)


def import_run(path: str | Path, *, home: str | Path | None = None) -> Run:
    """Take in a run from an archive. Its code is not executed unless you say so.

    Args:
        path: what `export` wrote.
        home: folder of the runs.
    """
    from nbautoml.store import import_archive

    place = Home(home)
    folder = import_archive(Path(path), runs_dir=place.runs_dir, data_dir=place.data_dir)
    return Run(folder, place)
