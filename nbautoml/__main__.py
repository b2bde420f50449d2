"""``python -m nbautoml``: what the magics do with runs, in a terminal."""

from __future__ import annotations

import sys

from nbautoml.api.terminal import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
