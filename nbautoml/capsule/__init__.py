"""Cell source to importable module: what a worker needs of a notebook, and nothing else.

::

    roots (Net) --collect--> items: imports, source of classes and functions, plain values, files
                --order----> capsule.py + captured/* + modules/*   (hash over all of it)
    worker      --import_capsule--> verified, then executed as a module of its own
"""

from nbautoml.capsule.build import build_capsule
from nbautoml.capsule.container import Capsule, import_capsule
from nbautoml.capsule.history import cells_from_shell

__all__ = ["Capsule", "build_capsule", "cells_from_shell", "import_capsule"]
