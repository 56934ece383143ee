"""The bar of a restart: on a terminal only, and only where there is something to wait for."""

from __future__ import annotations

import io
import re

import pytest

from gpu_engine.durability import progress
from gpu_engine.durability.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def draws_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.0)


def test_the_bar_grows_to_its_end() -> None:
    terminal = Terminal()
    with Progress("loading data", 200, terminal) as bar:
        for _ in range(4):
            bar.advance(50)
    shares = [int(share) for share in re.findall(r"(\d+)%", terminal.getvalue())]
    assert shares == [25, 50, 75, 100, 100]
    assert terminal.getvalue().endswith(" s\n")
    assert "loading data [" + 30 * "#" + "]" in terminal.getvalue()


def test_nothing_is_drawn_where_nobody_looks() -> None:
    stream = io.StringIO()
    with Progress("loading data", 200, stream) as bar:
        bar.advance(200)
    assert stream.getvalue() == ""


def test_a_restart_that_takes_no_time_draws_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 60.0)
    terminal = Terminal()
    with Progress("loading data", 0, terminal) as bar:
        bar.advance(0)
    assert terminal.getvalue() == ""
