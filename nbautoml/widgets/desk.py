"""Where commands of panels are taken and answered: each is obeyed once, however often it is said."""

from __future__ import annotations

import logging
from collections import OrderedDict

from nbautoml.errors import NbAutomlError
from nbautoml.events import command_from_json
from nbautoml.widgets.controller import Controller
from nbautoml.widgets.protocol import PROTOCOL_VERSION, Ack, CommandMessage

__all__ = ["Desk", "ack"]

logger = logging.getLogger(__name__)

_ANSWERS_KEPT = 200  # a page says a command again within a minute, or not at all


class Desk:
    """Takes commands, and keeps the newest answers.

    A page says a command again over each new connection until it is answered: it may have gone into
    one that was cut, or its answer may. To pause, resume and enqueue are not the same twice.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str], Ack] = OrderedDict()

    def answer(self, message: CommandMessage, controller: Controller) -> Ack:
        """Pass a command on; what became of it, also where it was said before."""
        name = (message["client"], message["cid"])
        if name not in self._answers:
            is_ok, text = _passed_on(message, controller)
            self._answers[name] = ack(*name, ok=is_ok, text=text)
            if len(self._answers) > _ANSWERS_KEPT:
                self._answers.popitem(last=False)
        return self._answers[name]


def ack(client: str, cid: str, *, ok: bool, text: str) -> Ack:
    """An answer to what a client said under a name."""
    return {"type": "ack", "v": PROTOCOL_VERSION, "to": client, "cid": cid, "ok": ok, "text": text}


def _passed_on(message: CommandMessage, controller: Controller) -> tuple[bool, str]:
    try:
        return True, controller.command(message["run"], command_from_json(message["command"]))
    except NbAutomlError as error:
        return False, str(error)
    except Exception as error:  # a button must not stay without an answer
        logger.exception("a command of a panel failed")
        return False, f"this failed inside nbautoml: {type(error).__name__}: {error}"
