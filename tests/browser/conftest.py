"""One server and one browser for all tests here; a notebook and a page for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from lab import Lab, Notebook, launch
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def opened(lab: Lab, chromium: Browser) -> Iterator[Callable[..., Notebook]]:
    """Opens notebooks; fails when a page complained, and ends the kernels."""
    notebooks: list[Notebook] = []

    def open_notebook(
        name: str, *cells: str, app: str = "lab", height: int = 1000, **options: object
    ) -> Notebook:
        if cells:
            lab.write(name, *cells)
        context = chromium.new_context(viewport={"width": 1280, "height": height}, **options)
        notebooks.append(Notebook(context.new_page(), lab, name, app=app))
        return notebooks[-1]

    yield open_notebook
    complaints = [text for notebook in notebooks for text in notebook.complaints]
    for notebook in notebooks:
        notebook.page.context.close()
    lab.shut_all_kernels()
    assert complaints == []
