"""Versions of packages that a recipe keeps."""

from __future__ import annotations

import sys
from importlib import metadata

import numpy as np

from nbautoml.api.versions import versions


def test_only_what_is_loaded_is_not_looked_up_again(monkeypatch):
    assert versions()["numpy"] == np.__version__
    monkeypatch.setattr(metadata, "version", lambda _: "9.9")
    monkeypatch.delitem(sys.modules, "optuna", raising=False)
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["optuna"] == "9.9"


def test_a_package_that_is_not_there_has_none(monkeypatch):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.delitem(sys.modules, "optuna", raising=False)
    assert versions()["optuna"] == ""
