"""Make sure that there is a Chromium for the browser tests: Debian's, where the machine has none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def main() -> int:
    if (
        shutil.which("chromium")
        or shutil.which("google-chrome")
        or shutil.which("chromium-browser")
    ):
        return 0
    apt = shutil.which("apt-get")
    if apt is None:
        print("no Chromium here, and no apt-get to install it: install Chromium by hand")
        return 1
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*sudo, apt, "update", "-qq"], check=True)
    subprocess.run(
        [*sudo, apt, "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
