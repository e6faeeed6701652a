"""The Diagnostics page in Chromium as a user has it, and what it must never do: complain, or ask another origin."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.browser.conftest import Viewer

if TYPE_CHECKING:
    from playwright.sync_api import Page

SHOW = "window.diagnostics.result.show"
LIVE = "window.diagnostics.live"
STARTED_MS = 30_000


class DiagnosticsPage:
    """One tab. ``forgive`` holds words of complaints that a test brings about on purpose."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url.rstrip("/")
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.forgive: list[str] = []
        page.set_default_timeout(STARTED_MS)
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url.replace("ws://", "http://", 1)))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("warning", "error"):
            self.complaints.append(text)

    def open(self, place: str = "") -> DiagnosticsPage:
        """Go there, and wait for the avatar where there is one to be seen."""
        self.page.goto(f"{self.url}/{place}")
        self.until("!!window.diagnostics")
        shown = f"{SHOW}, {LIVE}.show, ...window.diagnostics.compare.sides.map(side => side.show)"
        self.until(f"[{shown}].every(show => !show.element.offsetParent || show.figure.value)")
        return self

    def until(self, condition: str, argument: Any = None) -> None:
        """Wait until an expression, or a function of ``argument``, is true. Playwright's own way of waiting for one
        evaluates it in the page, which the page's policy forbids.
        """
        deadline = time.monotonic() + STARTED_MS / 1000
        while not self.page.evaluate(condition, argument):
            assert time.monotonic() < deadline, condition
            time.sleep(0.03)

    def generate(self, prompt: str, **fields: str) -> dict[str, Any]:
        """Fill in the form by its labels and send it with Enter; the answer that came."""
        page = self.page
        before = page.evaluate("window.diagnostics.app.result.value?.job_id ?? null")
        for label, value in fields.items():
            page.get_by_label(label.replace("_", " "), exact=True).locator("visible=true").fill(value)
        page.get_by_label("What should the avatar do?").locator("visible=true").fill(prompt)
        page.keyboard.press("Enter")
        self.until("id => (window.diagnostics.app.result.value?.job_id ?? null) !== id", before)
        answer: dict[str, Any] = page.evaluate("window.diagnostics.app.result.value")
        return answer

    def hold(self, seconds: float, show: str = SHOW) -> None:
        """Stop at a moment, with the pose before faded out."""
        self.page.evaluate(f"s => {{ {show}.playback.paused = true; {show}.playback.seek(s) }}", seconds)
        button = self.page.locator("main .transport .round >> visible=true")
        if button.get_attribute("aria-label") == "Pause":
            button.click()
        self.page.evaluate(f"s => {show}.playback.seek(s)", seconds)
        self.until(f"!{show}.figure.value.player.fading")
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def places(self, show: str = SHOW) -> dict[str, npt.NDArray[np.float64]]:
        """Where the bones of the avatar are in the scene, m."""
        found = self.page.evaluate(f"{show}.figure.value.positions()")
        return {bone: np.array(place) for bone, place in found.items()}

    def picture(self) -> npt.NDArray[np.float64]:
        """(H, W, 3) of the stage that is seen."""
        shot = self.page.locator("main .stage canvas >> visible=true").first.screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.float64)

    def drop(self, name: str, content: bytes) -> None:
        """Drop a file on the page."""
        self.page.evaluate(
            """([name, text]) => {
              const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(new File([bytes], name));
              for (const type of ["dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
            }""",
            [name, base64.b64encode(content).decode()],
        )

    def check(self) -> None:
        """Nothing was complained of, and nobody else was asked."""
        wrong = [text for text in self.complaints if not any(words in text for words in self.forgive)]
        assert wrong == []
        own = (self.url, f"blob:{self.url}", "data:")
        assert [url for url in self.asked if not url.startswith(own)] == []


@contextmanager
def opened(viewer: Viewer, url: str, **options: Any) -> Iterator[DiagnosticsPage]:
    """A tab of its own, checked at the end."""
    browser = viewer.page.context.browser
    assert browser is not None
    context = browser.new_context(**{"viewport": {"width": 900, "height": 560}, "locale": "en-US", **options})
    try:
        tab = DiagnosticsPage(context.new_page(), url)
        yield tab
        tab.check()
    finally:
        context.close()
