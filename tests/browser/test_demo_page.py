"""The demo as a person sees it: prices tick, cells move, and exactly the cells that changed blink."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gpu_engine as ge
from api.server import Server, serve
from tests.browser.test_live_page import pulsing

market_risk = pytest.importorskip("examples.market_risk", reason="pip install scipy")
pytestmark = pytest.mark.browser

MEASURES = ["MarketValue.SUM", "Notional.SUM"]
LEVELS = ["RiskFactor", "Book"]
ADDRESS = "#cube=market_risk&levels=RiskFactor,Book&measures="


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sensitivities"


@pytest.fixture
def session(folder: Path) -> Iterator[ge.Session]:
    """The demo, ticking when told to."""
    with market_risk.create_session(ge.Session(backend="cpu"), folder=folder, period=None) as session:
        yield session


@pytest.fixture
def server(session: ge.Session) -> Iterator[Server]:
    with serve(session) as server:
        yield server


def shown_by_the_cube(session: ge.Session, *measures: str) -> dict[tuple[str, str], float]:
    """Return (key on the page, measure) -> value."""
    frame = session.cubes["market_risk"].query(*measures, levels=LEVELS)
    return {
        (json.dumps(levels, separators=(",", ":")), measure): value
        for measure in measures
        for levels, value in frame[measure].items()
    }


def tick(session: ge.Session, chance: np.random.Generator, *measures: str) -> tuple[int, dict[tuple[str, str], float]]:
    """Let prices tick once; return the epoch and the cells that are not what they were."""
    before = shown_by_the_cube(session, *measures)
    report = market_risk.tick(session, chance)
    after = shown_by_the_cube(session, *measures)
    return report.epoch, {cell: value for cell, value in after.items() if value != before[cell]}


def test_each_tick_makes_exactly_the_changed_cells_blink(page, session):
    chance = np.random.default_rng(7)
    market_risk.tick(session, chance)
    page.open(f"?view=table{ADDRESS}{','.join(MEASURES)}")
    page.note_frames()
    for _ in range(3):
        epoch, changed = tick(session, chance, *MEASURES)
        frame = page.frame_of(epoch)
        assert len({json.loads(key)[0] for key, _ in changed}) == 1, "a tick moves one instrument"
        assert sorted(map(tuple, frame["keys"])) == sorted(map(tuple, frame["blinking"])) == sorted(changed)
        shown = page.evaluate("() => Object.fromEntries(gpuEngine.cells)")
        assert {(key, measure): shown[key][measure] for key, measure in changed} == pytest.approx(changed, rel=1e-12)
        page.page.wait_for_selector("td.blink", state="detached")


def test_the_grid_pulses_where_a_tick_has_changed_it(page, session):
    chance = np.random.default_rng(7)
    market_risk.tick(session, chance)
    page.open(f"{ADDRESS}MarketValue.SUM")
    page.page.locator("#grid td").first.wait_for()
    _, changed = tick(session, chance, "MarketValue.SUM")
    assert sorted(pulsing(page)) == sorted(f"{value:,.2f}" for value in changed.values())


def test_the_grid_says_that_it_shows_the_first_date_alone(page):
    page.open("#levels=Desk&measures=MarketValue.SUM")
    page.page.get_by_text("Desk · first AsOfDate", exact=True).first.wait_for()
    page.evaluate("() => { location.hash = '#levels=AsOfDate&measures=MarketValue.SUM'; }")
    page.page.locator("#grid th", has_text="2020-07-09").first.wait_for()
    page.page.get_by_text("first AsOfDate").wait_for(state="detached")


def test_cells_move_by_themselves_and_a_file_brings_another_date(page, session, folder):
    page.open("?view=table#levels=AsOfDate&measures=MarketValue.SUM")
    assert page.page.locator("tbody tr").all_inner_texts() == ["2020-07-09\t2,041.23"]
    page.note_frames()
    market_risk.start_ticking(session, period=0.05)
    page.until("() => window.seen.filter((frame) => frame.keys.length).length >= 5")
    shutil.copy(market_risk.DATA / "risk_data_previous_cob.csv", folder)
    page.page.locator("tr", has_text="2020-07-08").wait_for()
    dates = page.page.locator("tbody th").all_inner_texts()
    assert dates == ["2020-07-09", "2020-07-08"], "the newest first"
    assert page.page.locator("tr", has_text="2020-07-08").locator("td").inner_text() == "2,040.36"
    assert session.health().status == "ok"
