"""Texts that would be commands to a shell, to Python, to a notebook or to a template."""

from __future__ import annotations

__all__ = ["HOSTILE_WORDS"]

# Each would make the file `marker` in the folder that the test stands in.
HOSTILE_WORDS = (
    "; touch marker",
    "&& touch marker",
    "| touch marker",
    "`touch marker`",
    "$(touch marker)",
    "x' ; touch marker ; '",
    'x" ; touch marker ; "',
    "x\ntouch marker",
    "x\r\n!touch marker",
    "!touch marker",
    "%system touch marker",
    "%%bash\ntouch marker",
    "' + __import__('os').system('touch marker') + '",
    '")\n__import__("os").system("touch marker")\n("',
    "{__import__('os').system('touch marker')}x",
    "x$(touch marker){0.__class__}%s%n",
    "{{7*7}}",
    "--home=$(touch marker)",
    "../marker",
    "marker\x00x",
    "\u2028__import__('os').system('touch marker')",
    "-rf",
)
