"""Tracebacks of the user's own code: whose frames they are, and letting go of what they hold.

An error in a module's ``forward`` passes through torch's frames and ours; neither helps the
person who wrote the cell. No torch here: the supervisor formats errors too.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path

from nbautoml.errors import ModelError

__all__ = ["Files", "is_users", "one_line", "release_frames", "user_frames"]

Files = Collection[str] | Callable[[str], bool] | None
"""Whose code: names of files, cells or folders, a predicate on a file's name, or None to work it out."""

# A user's exception can hold a 50 MB text; a record and an output cell cannot.
MAX_TEXT = 4_000


def user_frames(error: BaseException, files: Files = None) -> str:
    """The traceback of an error with the frames of the user's code only.

    Args:
        error: what was raised; a `ModelError` that carries frames already gives those.
        files: names of the user's files as tracebacks show them (paths, cell names), of
            folders that hold them, or a predicate on a file's name. None takes everything
            that is neither ours, nor installed (torch and the rest of site-packages), nor
            Python's own library.

    Returns:
        Formatted text, causes included; only the exception's own line when no frame is theirs.

    >>> def forward():
    ...     return 1 / 0
    >>> try:
    ...     forward()
    ... except ZeroDivisionError as error:
    ...     print("site-packages" in user_frames(error))
    False
    """
    if isinstance(error, ModelError) and error.frames:
        return error.frames
    is_theirs = is_users(files)
    found = traceback.TracebackException.from_exception(error, compact=True)
    for part in _parts(found, set()):
        kept = [frame for frame in part.stack if is_theirs(frame.filename)]
        part.stack = traceback.StackSummary.from_list(kept)
    text = "".join(found.format())
    if "Traceback (most recent call last):" in text and not any(
        part.stack for part in _parts(found, set())
    ):
        text = one_line(error) + "\n"
    return _shorten(text)


def one_line(error: BaseException) -> str:
    """Type and first line of an error's text, shortened.

    >>> one_line(ValueError("bad thing"))
    'ValueError: bad thing'
    """
    try:
        text = str(error).strip()
    except Exception as failure:  # noqa: BLE001  a user's __str__ may raise anything
        text = f"<no text: {type(failure).__name__}>"
    first = text.splitlines()[0] if text else ""
    name = type(error).__name__
    return _shorten(f"{name}: {first}" if first else name, limit=500)


def release_frames(error: BaseException) -> None:
    """Let go of the local variables that an error's traceback keeps alive.

    A stored exception holds every frame it passed, and a frame holds its tensors: a failed
    trial would keep its activations in memory for as long as its error is kept. The traceback
    is cut off as well, so format it first (`user_frames`).
    """
    for part in _chain(error, set()):
        if part.__traceback__ is not None:
            traceback.clear_frames(part.__traceback__)
            part.__traceback__ = None


def is_users(files: Files = None) -> Callable[[str], bool]:
    """A predicate that says of a file's name whether it is the user's."""
    if files is None:
        return _is_not_foreign
    if callable(files):
        return files
    names = frozenset(files)
    folders = tuple(name.rstrip(os.sep) + os.sep for name in names)
    return lambda name: name in names or name.startswith(folders)


@cache
def _is_not_foreign(name: str) -> bool:
    if name.startswith("<frozen ") or name == "<__array_function__ internals>":
        return False
    return not name.startswith(_foreign_folders())


@cache
def _foreign_folders() -> tuple[str, ...]:
    # Libraries' folders, as tracebacks spell them. The folder that holds nbautoml is not
    # excluded as a whole: an editable install lies beside the user's notebooks.
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.add(str(Path(__file__).parents[1]))
    return tuple(sorted(folder.rstrip(os.sep) + os.sep for folder in folders))


def _parts(
    found: traceback.TracebackException, seen: set[int]
) -> Iterator[traceback.TracebackException]:
    if id(found) in seen:
        return
    seen.add(id(found))
    yield found
    for other in (found.__cause__, found.__context__, *(found.exceptions or ())):
        if other is not None:
            yield from _parts(other, seen)


def _chain(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *inner):
        if other is not None:
            yield from _chain(other, seen)


def _shorten(text: str, *, limit: int = MAX_TEXT) -> str:
    if len(text) <= limit:
        return text
    # The end names the exception, the beginning the line that the user called.
    head, tail = limit // 2, limit - limit // 2
    return f"{text[:head]}\n[... {len(text) - limit} characters left out ...]\n{text[-tail:]}"
