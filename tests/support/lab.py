"""A real JupyterLab on loopback and a real Chromium, driven as a user drives them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

__all__ = ["Lab", "Notebook", "launch", "panel_state"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "only-for-this-test"
WAIT_MS = 60_000
SETUP = """\
%load_ext nbautoml
import torch
from torch import nn
from sklearn.datasets import load_digits
found = load_digits()
X = torch.tensor(found.data, dtype=torch.float32) / 16
y = torch.tensor(found.target)
"""
TUNE = """\
%%automl tune {name} --data (X, y) --trials {trials} --epochs {epochs} --sampler random --seed 1
class Net(nn.Module):
    def __init__(self, hidden: Int(4, 32) = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)

lr = Float(1e-4, 1e-1, log=True)
"""


def chromium() -> str:
    found = (
        shutil.which("chromium")
        or shutil.which("google-chrome")
        or shutil.which("chromium-browser")
    )
    assert found, "no Chromium: make browser"
    return found


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=chromium(), args=FLAGS)


class Lab:
    """A server with directories of its own.

    Args:
        path: where they are made.
        settings: of the server, beside those of a test.
    """

    def __init__(self, path: Path, **settings: object) -> None:
        self.work = path / "work"
        self.work.mkdir(parents=True)
        self._log = (path / "server.log").open("w")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        places = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "IPYTHONDIR": "ipython",
            "NBAUTOML_HOME": "home",
        }
        env = {**os.environ, **{name: str(path / folder) for name, folder in places.items()}}
        # The front end of this checkout, whichever is linked into the environment.
        extensions = path / "ours" / "labextensions"
        extensions.mkdir(parents=True)
        (extensions / "nbautoml").symlink_to(ROOT / "nbautoml" / "labextension")
        env["JUPYTER_PATH"] = str(path / "ours")
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser"]
        options = {
            "ip": "127.0.0.1",
            "port": self.port,
            "port_retries": 0,
            "root_dir": self.work,
            "token": TOKEN,
            **settings,
        }
        command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
        command += ["--allow-root", "--JupyterNotebookApp.expose_app_in_browser=True"]
        self._process = subprocess.Popen(
            command, env=env, cwd=self.work, stdout=self._log, stderr=subprocess.STDOUT
        )
        self._wait_until_it_answers()

    def processes(self) -> list[psutil.Process]:
        """The server, then its kernels and all that they started."""
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def url(self, path: str) -> str:
        mark = "&" if "?" in path else "?"
        return f"http://127.0.0.1:{self.port}/{path}{mark}token={TOKEN}"

    def ask(self, path: str, method: str = "GET") -> Any:
        """The server's own API, beside the browser."""
        request = urllib.request.Request(self.url(f"api/{path}"), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def shut_all_kernels(self) -> None:
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")

    def write(self, name: str, *cells: str) -> Path:
        path = self.work / name
        made = [
            {
                "cell_type": "code",
                "id": f"cell{i}",
                "execution_count": None,
                "metadata": {},
                "source": cell,
                "outputs": [],
            }
            for i, cell in enumerate(cells)
        ]
        kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        notebook = {
            "cells": made,
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        path.write_text(json.dumps(notebook))
        return path

    def close(self) -> None:
        self.shut_all_kernels()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_until_it_answers(self) -> None:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            assert self._process.poll() is None, "the server ended"
            try:
                self.ask("status")
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server does not answer")


class Notebook:
    """A notebook in a page of the browser."""

    def __init__(self, page: Page, lab: Lab, name: str, *, app: str = "lab") -> None:
        self.page, self.lab, self.path = page, lab, lab.work / name
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        page.on("pageerror", self._note_error)
        page.on("console", self._note)
        # Once for all: a question that nobody answers, or that two answer, holds the page up for ever.
        page.on("dialog", self._answer)
        self._url = lab.url(f"doc/tree/{name}?reset" if app == "lab" else f"notebooks/{name}")
        page.goto(self._url, wait_until="domcontentloaded")
        self._wait_for_cells()

    def reload(self) -> None:
        """As the user's F5 does."""
        self.page.goto(self._url, wait_until="domcontentloaded")
        self._wait_for_cells()

    def run(self, *, wait: bool = True) -> None:
        """Run the selected cell and go to the next one, by keyboard."""
        self.page.keyboard.press("Shift+Enter")
        if wait:
            self.wait_for_idle()

    def start(self) -> None:
        """Select the first cell and wait for the kernel.

        Jupyter may lose a cell that is run while the kernel starts: 2 of 8 times on a busy machine,
        with plain cells too.
        """
        self.wait_for_idle()
        self.page.locator(".jp-CodeCell .jp-InputArea-editor .cm-content").first.click()

    def wait_for_idle(self) -> None:
        self.page.wait_for_function(
            """() => {
              const found = window.jupyterapp?.shell?.currentWidget;
              const kernel = found?.context?.sessionContext?.session?.kernel;
              return kernel?.status === 'idle'
                && !document.querySelector('.jp-InputArea-prompt')?.textContent?.includes('[*]');
            }""",
            timeout=WAIT_MS,
        )

    def save(self) -> dict[str, Any]:
        """Save as Ctrl+S does, and read the file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return json.loads(self.path.read_text())

    def save_text(self) -> str:
        """The saved file's outputs as one text, escapes undone."""
        return json.dumps(self.save()).replace("\\\\", "").replace('\\"', '"')

    @property
    def panels(self) -> Locator:
        return self.page.locator(".nba-panel")

    @property
    def panel(self) -> Locator:
        return self.panels.first

    # JupyterLab has errors of its own; ours are those with our name in text, place or stack.
    def _note(self, message: Any) -> None:
        if message.type == "error" and "nbautoml" in f"{message.text} {message.location}":
            self.complaints.append(message.text)

    def _note_error(self, error: Any) -> None:
        if "nbautoml" in f"{error} {error.stack}":
            self.complaints.append(str(error))

    def _answer(self, dialog: Any) -> None:
        self.dialogs.append(dialog.type)
        dialog.accept()

    def _wait_for_cells(self) -> None:
        expect(self.page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=WAIT_MS)


def panel_state(panel: Locator) -> str:
    """The run's state as the panel's badge says it."""
    classes = panel.locator(".nba-badge").get_attribute("class") or ""
    found = re.search(r"nba-run-(\w+)", classes)
    return found[1] if found else ""


def shown(lab: Lab, page: Page, name: str) -> Notebook:
    """The panel of a run, live."""
    lab.write(f"{name}.ipynb", "%load_ext nbautoml", f"%automl show {name}")
    notebook = Notebook(page, lab, f"{name}.ipynb")
    notebook.start()
    notebook.run()
    notebook.run(wait=False)
    expect(notebook.panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
    expect(notebook.panel.locator("[data-trial]").first).to_be_visible(timeout=WAIT_MS)
    return notebook
