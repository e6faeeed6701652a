"""Chromium with the viewer page open, as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.installed import demand, demand_node_modules, find_chromium
from tests.browser.loopback import Loopback

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
"""No network but the loopback, and WebGL on the CPU, which newer versions no longer choose by themselves."""


class Viewer:
    """The page; ``viewer.call("name", ...)`` calls a function of viewer.mjs and returns what it returns."""

    def __init__(self, page: Page, site: Loopback) -> None:
        self.page, self.site = page, site
        self.complaints: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.goto(f"{site.url}/page/viewer.html")
        page.wait_for_function("window.viewer !== undefined", timeout=20_000)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("warning", "error") and "favicon" not in text:
            self.complaints.append(text)

    def call(self, name: str, *arguments: Any) -> Any:
        return self.page.evaluate("([name, args]) => window.viewer[name](...args)", [name, list(arguments)])


@pytest.fixture(scope="module")
def viewer() -> Iterator[Viewer]:
    """One browser for a module; it closes before other tests need an event loop."""
    demand_node_modules()
    chromium = find_chromium()
    demand(chromium, "needs a Chromium in PATH")
    demand(find_spec("playwright"), "needs the Python package playwright")
    from playwright.sync_api import sync_playwright

    with Loopback() as site, sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield Viewer(browser.new_page(), site)
        browser.close()
