"""The first that the forkserver loads: no garbage is looked for while it loads the rest.

Imports make hundreds of thousands of objects that stay, and to look through them again and again
takes an eighth of the time. A worker sets them aside (`gc.freeze`) and looks for garbage of its own,
as Python's documentation advises processes that fork.
"""

from __future__ import annotations

import gc
import os

from nbautoml.engine.forking import SESSION_VARIABLE

if SESSION_VARIABLE in os.environ:
    gc.disable()
