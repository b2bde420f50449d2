"""Build hook: the wheel and the sdist carry the built front end, so that nobody who installs them needs Node."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
LABEXTENSIONS = "share/jupyter/labextensions/nbautoml"


class FrontEndHook(BuildHookInterface):
    """Builds ``js/`` where its outputs are missing, and puts the labextension where JupyterLab looks.

    ``NBAUTOML_SKIP_FRONT_END=1`` leaves it out: ``make setup`` builds and links it itself.
    """

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node from PyPI, for the build only, where the machine has none and one is needed."""
        front = _front_end()
        if _is_skipped() or front.is_built() or front.node_on_path():
            return []
        return [front.NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before files are collected."""
        if _is_skipped():
            return
        front = _front_end()
        if not front.is_built():
            front.build()
        if self.target_name == "wheel" and version != "editable":
            build_data["shared_data"][str(front.LABEXTENSION)] = LABEXTENSIONS


def _is_skipped() -> bool:
    return bool(os.environ.get("NBAUTOML_SKIP_FRONT_END"))


def _front_end() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nbautoml_front_end", ROOT / "js" / "build.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(ROOT / "js" / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
