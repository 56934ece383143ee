"""The page's totals, branches and pause, in a real browser."""

from __future__ import annotations

import json

import pytest

from api.service import EXTENSION
from tests.engine.answers import eventually

pytestmark = pytest.mark.browser

DESKS = "#cube=Risk&levels=Desk,Book&measures=Quantity.SUM"


def key(*levels: str | None) -> str:
    return json.dumps(levels, separators=(",", ":"))


def rows(page) -> list[list[str]]:
    """Return the texts of the plain table's rows."""
    return page.evaluate(
        "() => [...document.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )


def trade(session, quantity, branch="master"):
    """Change the quantity of the one trade in large equities; return the epoch."""
    with session.start_transaction(branch) as transaction:
        session.tables["Positions"].append(("T3", "Trading", "EQ_LARGE", 300.5, quantity))
    return transaction.report.epoch


def test_totals_are_rows_that_blink_with_their_parts(page, session):
    page.open(f"?view=table{DESKS}")
    page.page.locator("#totals").check()
    page.page.locator("tr.total").first.wait_for()
    assert page.page.url.endswith(f"{DESKS}&totals=1")
    assert rows(page) == [
        ["Total", "", "10"],
        ["Structuring", "Total", "3"],
        ["Structuring", "EQ_STRUCT", "2"],
        ["Structuring", "EQ_VOL", "1"],
        ["Trading", "Total", "3"],
        ["Trading", "EQ_LARGE", "3"],
        ["N/A", "Total", "4"],
        ["N/A", "N/A", "4"],
    ]
    assert page.page.locator("tr.total").count() == 4
    page.note_frames()
    frame = page.frame_of(trade(session, 30))
    changed = [[one, "Quantity.SUM"] for one in (key(), key("Trading"), key("Trading", "EQ_LARGE"))]
    assert sorted(frame["keys"]) == sorted(frame["blinking"]) == sorted(changed)
    assert rows(page)[0] == ["Total", "", "37"]
    page.page.locator("#totals").uncheck()
    page.page.locator("tr.total").first.wait_for(state="detached")
    assert page.page.url.endswith(DESKS)


def test_totals_in_the_grid_stand_before_what_they_sum_up(page, session):
    page.open(f"{DESKS}&totals=1")
    grid = page.page.locator("#grid perspective-viewer")
    grid.locator("td", has_text="10").first.wait_for()
    trade(session, 30)
    grid.locator("td", has_text="37").first.wait_for()
    shown = grid.locator("tbody tr").all_inner_texts()
    assert [" ".join(row.split()) for row in shown] == [
        "Total 37",
        "N/A Total 4",
        "N/A 4",
        "Structuring Total 3",
        "EQ_STRUCT 2",
        "EQ_VOL 1",
        "Trading Total 30",
        "EQ_LARGE 30",
    ]
    page.page.locator("#chart perspective-viewer").wait_for()


def test_a_branch_can_be_chosen_once_there_is_one(page, session):
    page.open(f"?view=table{DESKS}")
    chooser = page.page.locator("#branch")
    assert chooser.is_hidden()
    session.branches.create("what if")
    page.page.reload()
    page.wait_for_cells()
    page.note_frames()
    chooser.select_option("what if")
    page.until("() => window.seen.some((frame) => frame.snapshot)")
    assert page.page.url.endswith(f"{DESKS}&branch=what%20if")
    trade(session, 77)
    frame = page.frame_of(trade(session, 30, "what if"))
    assert frame["keys"] == [[key("Trading", "EQ_LARGE"), "Quantity.SUM"]]
    assert ["Trading", "EQ_LARGE", "30"] in rows(page)
    chooser.select_option("master")
    page.page.locator("td", has_text="77").wait_for()


def test_a_branch_that_is_not_there_is_said(page):
    page.open(f"?view=table{DESKS}&branch=gone")
    assert page.page.locator("#notice").inner_text() == "Not there, and left out: gone."
    assert len(rows(page)) == 4


@pytest.mark.parametrize("connection", ["kept", "cut and back", "cut and still away"])
def test_a_paused_page_stands_still_and_then_catches_up_in_one_step(page, session, server, connection):
    page.open(f"?view=table{DESKS}")
    page.note_frames()
    page.page.locator("#pause").click()
    page.page.locator("#status[data-state=paused]").wait_for()
    if connection != "kept":
        server._http.cut_connections(5)
    if connection == "cut and back":
        hub = server.app.extensions[EXTENSION].hub
        eventually(lambda: hub.statistics().subscribers, "the page has subscribed again")
    for quantity in (30, 31, 32):
        epoch = trade(session, quantity)
    assert ["Trading", "EQ_LARGE", "3"] in rows(page)
    assert page.page.locator("#pause").get_attribute("title") == "Resume"
    page.page.locator("#pause").click()
    frame = page.frame_of(epoch)
    assert (frame["snapshot"], frame["blinking"]) == (False, [[key("Trading", "EQ_LARGE"), "Quantity.SUM"]])
    assert page.evaluate("() => window.seen.length") == 1
    page.page.locator("#status[data-state=live]").wait_for()


def test_another_choice_goes_on(page, session):
    page.open(f"?view=table{DESKS}")
    page.page.locator("#pause").click()
    page.page.locator("#totals").check()
    page.page.locator("tr.total").first.wait_for()
    assert page.page.locator("#pause").get_attribute("title") == "Pause"
    trade(session, 30)
    page.page.locator("tr.total td", has_text="37").wait_for()
