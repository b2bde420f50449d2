"""Which errors say that memory was lacking (F13), asked of errors whose text cannot be had (F9)."""

from __future__ import annotations

import pytest

from nbautoml.train.failures import failed
from nbautoml.train.memory import is_device_lost, is_out_of_memory


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class MuteRuntime(RuntimeError):
    __str__ = Mute.__str__


@pytest.mark.parametrize("error", [Mute(), MuteRuntime()], ids=["exception", "runtime"])
def test_an_error_without_a_text_is_no_lack_of_memory(error, tmp_path):
    assert not is_out_of_memory(error)
    assert not is_device_lost(error)
    end = failed(0, error, tmp_path)
    assert end.error == f"{type(error).__name__}: <no text: RuntimeError>"
    assert end.state == "failed"


def test_a_long_text_of_several_lines_is_still_known():
    text = "CUDA out of memory. Tried to allocate 20 GiB." + " more" * 1000 + "\nand so on"
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))
