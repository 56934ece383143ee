"""Debian's Chromium, driven by playwright, and a page over a small session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import gpu_engine as ge
from api.server import Server, serve

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEADLINE_MS = 60_000


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS, timeout=2 * DEADLINE_MS)
        yield browser
        browser.close()


@pytest.fixture
def session(session: ge.Session) -> ge.Session:
    """Positions by desk and book."""
    positions = session.create_table(
        "Positions",
        types={
            "TradeId": ge.STRING,
            "Desk": ge.STRING,
            "Book": ge.STRING,
            "MarketValue": ge.DOUBLE,
            "Quantity": ge.LONG,
        },
        keys=["TradeId"],
    )
    cube = session.create_cube(positions, name="Risk")
    cube.hierarchies["Portfolio"] = [cube.levels["Desk"], cube.levels["Book"]]
    positions.append(
        ("T1", "Structuring", "EQ_VOL", 100.0, 1),
        ("T2", "Structuring", "EQ_STRUCT", 200.0, 2),
        ("T3", "Trading", "EQ_LARGE", 300.5, 3),
        ("T4", None, None, 400.0, 4),
    )
    return session


@pytest.fixture
def server(session: ge.Session) -> Iterator[Server]:
    with serve(session) as server:
        yield server


class Page:
    """A browser page that notes what it should not do: errors on the console, requests to other hosts."""

    def __init__(self, browser: Any, url: str) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport={"width": 1280, "height": 760})
        self.page = self.context.new_page()
        self.page.set_default_timeout(DEADLINE_MS)
        self.page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("request", lambda request: self._note(self._foreign(request.url), request.url))

    def open(self, path: str = "") -> None:
        """Open the page and wait for its first cells."""
        self.page.goto(self.url + path)
        self.wait_for_cells()

    def wait_for_cells(self) -> None:
        """Wait for the first cells of a page that has been asked for."""
        self.until("() => window.gpuEngine?.cells.size")

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Return what a function of the page gives at once: playwright has no deadline for one that waits."""
        return self.page.evaluate(script, argument)

    def until(self, script: str, argument: Any = None) -> Any:
        """Return what a function of the page gives as soon as that is something, within the deadline."""
        return self.page.wait_for_function(script, arg=argument, polling=10).json_value()

    def note_frames(self) -> None:
        """Keep what each frame changed, and which cells of the plain table blink right after it."""
        self.evaluate("""() => {
            window.seen = [];
            document.addEventListener("cells-changed", ({ detail }) => window.seen.push({
                ...detail,
                blinking: [...document.querySelectorAll("td.blink")].map(
                    (td) => [td.parentElement.dataset.key, td.dataset.measure]),
            }));
        }""")

    def frame_of(self, epoch: int) -> Any:
        """Return what was kept of the frame that brought `epoch`."""
        return self.until("(epoch) => window.seen.find((frame) => frame.epoch === epoch)", epoch)

    def _note(self, wrong: bool, text: str) -> None:
        if wrong:
            self.complaints.append(text)

    def _foreign(self, address: str) -> bool:
        return not address.startswith((self.url, "data:", "blob:"))


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Page]:
    """A fresh page; at the end it has complained of nothing and asked nobody else for anything."""
    page = Page(browser, server.url)
    yield page
    page.context.close()
    assert page.complaints == []
