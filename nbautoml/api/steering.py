"""How a run is waited for and commanded, as methods of `nbautoml.api.run.Run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from nbautoml.api.commands import command_run, further_budget, resume_run
from nbautoml.api.kinds import KINDS
from nbautoml.api.texts import run_line
from nbautoml.api.waiting import ProgressLine, wait_for
from nbautoml.events import CancelTrial, Enqueue, Pause, Stop

if TYPE_CHECKING:
    from nbautoml.api.run import Run
    from nbautoml.events import Command
    from nbautoml.store import RunInfo

__all__ = ["Steering"]


class Steering:
    """Each returns the run itself; a command is obeyed at the next batch."""

    @property
    def _run(self) -> Run:
        return cast("Run", self)

    def wait(self, timeout: float | None = None, poll: float = 0.1) -> Self:
        """Wait until the run is over, and return it.

        Args:
            timeout: seconds after which the waiting ends, whatever the run does; see `state`.
            poll: seconds between two looks at the record.

        Raises:
            WaitingStopped: (a KeyboardInterrupt) you interrupted; the run goes on.
            EngineError: nobody took the run.
        """
        from nbautoml.api.showing import look_soon, refresh

        wait_for(self._run.folder, timeout=timeout, poll=poll, told=self._told, line=ProgressLine())
        refresh(self._run)
        look_soon(self._run)
        return self

    def stop(self) -> Self:
        """End it now: running trials are cancelled, what they measured is kept."""
        return self._sent(Stop())

    def pause(self) -> Self:
        """Hold all trials at their next batch; `resume` goes on."""
        return self._sent(Pause())

    def resume(
        self, *, more: int | None = None, time: float | str | None = None, run_code: bool = False
    ) -> Self:
        """Go on: after a pause, with a new supervisor after an interruption or a stop, or with more.

        Args:
            more: so many trials beyond those that there are, also when the run is finished: the
                sampler goes on from what they have shown.
            time: so long beyond what was spent, in seconds or as "10m". What is asked takes the
                place of the run's budget; with neither the run keeps its own.
            run_code: execute the code of a run that you did not submit here (one that came in an
                archive or with a folder); look at `code` first. Said once, it is remembered.
        """
        from nbautoml.api.showing import look_soon

        run = self._run
        more = None if more is None else KINDS["count"].checked("more", more)
        seconds = None if time is None else KINDS["duration"].checked("time", time)
        budget = further_budget(run.folder, more, seconds)
        resume_run(run.home, run.folder, run.info, run_code=run_code, budget=budget)
        look_soon(run)
        return self

    def cancel(self, trial: int) -> Self:
        """End one running trial; the run goes on."""
        return self._sent(CancelTrial(trial=trial))

    def enqueue(self, params: Mapping[str, Any]) -> Self:
        """Try these parameters next; those that are left out are sampled.

        Raises:
            SpaceError: they are not in the space.
        """
        space = self._run.recipe.space
        if self._run.recipe.target.role != "objective":
            space.check(params, partial=True)
        return self._sent(Enqueue(params=space.labels(params)))

    def _sent(self, command: Command) -> Self:
        from nbautoml.api.showing import look_soon

        command_run(self._run.folder, command, self._run.info)
        look_soon(self._run)
        return self

    def _told(self, info: RunInfo) -> str:
        return run_line(info, self._run.recipe)
