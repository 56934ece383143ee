"""The page in a real browser: cells move when the table does, and exactly the changed ones blink."""

from __future__ import annotations

import json

import pytest

from api.server import serve

pytestmark = pytest.mark.browser

ALL = ["MarketValue.SUM", "Quantity.SUM"]


def key(*levels: str | None) -> str:
    return json.dumps(levels, separators=(",", ":"))


def pulsing(page) -> list[str]:
    """Return the texts of the grid's cells as soon as some of them pulse."""
    return page.until("""() => {
        const inside = (root) => [...root.querySelectorAll("*")].flatMap(
            (element) => [element, ...(element.shadowRoot ? inside(element.shadowRoot) : [])]);
        const cells = inside(document.getElementById("grid")).filter(
            (element) => element.tagName === "TD" && element.style.animationName.startsWith("pulse"));
        return cells.length && cells.map((cell) => cell.textContent.trim());
    }""")


def test_the_page_shows_the_deep_hierarchy_and_all_sums(page):
    page.open()
    state = page.evaluate("() => ({ view: gpuEngine.view, epoch: gpuEngine.epoch, cells: [...gpuEngine.cells] })")
    assert state["view"] == "perspective"
    assert dict(state["cells"]) == {
        key("Structuring", "EQ_VOL"): {"MarketValue.SUM": 100.0, "Quantity.SUM": 1},
        key("Structuring", "EQ_STRUCT"): {"MarketValue.SUM": 200.0, "Quantity.SUM": 2},
        key("Trading", "EQ_LARGE"): {"MarketValue.SUM": 300.5, "Quantity.SUM": 3},
        key(None, None): {"MarketValue.SUM": 400.0, "Quantity.SUM": 4},
    }
    page.page.locator("#grid perspective-viewer").wait_for()
    page.page.locator("#chart perspective-viewer").wait_for()
    assert "live" in page.page.locator("header #status").inner_text()


def test_a_changed_cell_pulses_in_the_grid_and_no_other(page, session):
    page.open()
    page.page.locator("#grid td", has_text="300.50").first.wait_for()
    page.note_frames()
    epoch = session.tables["Positions"].append(("T3", "Trading", "EQ_LARGE", 301.25, 3)).epoch
    assert pulsing(page) == ["301.25"]
    frame = page.frame_of(epoch)
    assert frame["keys"] == [[key("Trading", "EQ_LARGE"), "MarketValue.SUM"]]
    assert (frame["added"], frame["removed"], frame["snapshot"]) == ([], [], False)


def test_a_cell_without_a_value_shows_none(page, session):
    session.tables["Positions"].append(("T6", "Empty", "EQ_EMPTY", None, 1))
    page.open("#cube=Risk&levels=Desk&measures=MarketValue.MEAN")
    row = page.page.locator("#grid tr", has_text="Empty")
    row.wait_for()
    assert row.locator("td").all_inner_texts() in ([""], ["-"])
    assert page.evaluate("(key) => gpuEngine.cells.get(key)", key("Empty")) == {"MarketValue.MEAN": None}


def test_rows_come_and_go_in_the_grid(page, session):
    page.open()
    grid = page.page.locator("#grid")
    grid.locator("th", has_text="EQ_LARGE").wait_for()
    session.tables["Positions"].append(("T5", "Structuring", "EQ_TOP", 5.0, 5))
    grid.locator("th", has_text="EQ_TOP").wait_for()
    session.tables["Positions"].drop(keys=[("T3",)])
    grid.locator("th", has_text="EQ_LARGE").wait_for(state="detached")


def test_the_grid_keeps_up_while_the_choice_changes(page, session):
    page.open("#cube=Risk&levels=Desk&measures=Quantity.SUM")
    page.page.locator("#grid th", has_text="Trading").wait_for()
    for i, levels in enumerate(["Book", "Desk,Book", "", "Book,Desk"] * 3):
        page.evaluate("(hash) => { location.hash = hash; }", f"#cube=Risk&levels={levels}&measures=Quantity.SUM")
        session.tables["Positions"].append(("T3", "Trading", "EQ_LARGE", 300.5, 100 + i))
    page.page.locator("#grid td", has_text="111").first.wait_for()
    page.page.locator("#grid th", has_text="EQ_LARGE").wait_for()


def test_exactly_the_changed_cells_blink_in_the_plain_table(page, session):
    page.open("?view=table")
    page.note_frames()
    positions = session.tables["Positions"]
    epoch = positions.append(
        ("T1", "Structuring", "EQ_VOL", 100.0, 7),
        ("T4", None, None, 401.0, 5),
        ("T2", "Structuring", "EQ_STRUCT", 200.0, 2),
    ).epoch
    frame = page.frame_of(epoch)
    expected = [
        [key("Structuring", "EQ_VOL"), "Quantity.SUM"],
        [key(None, None), "MarketValue.SUM"],
        [key(None, None), "Quantity.SUM"],
    ]
    assert sorted(frame["keys"]) == sorted(frame["blinking"]) == sorted(expected)
    page.page.wait_for_selector("td.blink", state="detached")
    assert page.page.locator(f"tr[data-key='{key('Structuring', 'EQ_VOL')}'] td").all_inner_texts()[1] == "7"


def test_rows_come_and_go_in_level_order(page, session):
    page.open("?view=table")
    page.note_frames()
    positions = session.tables["Positions"]
    epoch = positions.append(("T5", "Structuring", "EQ_TOP", 5.0, 5)).epoch
    assert page.frame_of(epoch)["blinking"] == [[key("Structuring", "EQ_TOP"), measure] for measure in ALL]
    epoch = positions.drop(keys=[("T3",)]).epoch
    assert page.frame_of(epoch)["removed"] == [key("Trading", "EQ_LARGE")]
    shown = page.evaluate("() => [...document.querySelectorAll('tbody tr')].map((row) => row.dataset.key)")
    books = [("Structuring", "EQ_STRUCT"), ("Structuring", "EQ_TOP"), ("Structuring", "EQ_VOL"), (None, None)]
    assert shown == [key(*book) for book in books]
    assert page.page.locator("tbody tr").last.locator("th").all_inner_texts() == ["N/A", "N/A"]


def test_the_address_says_what_is_shown(page):
    page.open("?view=table#cube=Risk&levels=Desk&measures=contributors.COUNT")
    assert page.page.locator("thead th").all_inner_texts() == ["Desk", "contributors.COUNT"]
    page.page.locator("#measures summary").click()
    page.page.locator("#measures label", has_text="Quantity.SUM").click()
    page.page.locator("thead th", has_text="Quantity.SUM").wait_for()
    assert page.page.url.endswith("#cube=Risk&levels=Desk&measures=contributors.COUNT,Quantity.SUM")
    page.page.go_back()
    page.page.locator("thead th", has_text="Quantity.SUM").wait_for(state="detached")


def test_what_the_address_names_in_vain_is_said(page):
    page.open("?view=table#cube=Risk&levels=Deks&measures=Quantity.SUM")
    assert page.page.locator("#notice").inner_text() == "Not there, and left out: Deks."


def test_without_webassembly_the_plain_table_serves(page):
    page.page.add_init_script("delete window.WebAssembly")
    page.open()
    assert page.evaluate("() => gpuEngine.view") == "table"
    assert "plain table" in page.page.locator("#notice").inner_text()
    assert page.page.locator("tbody tr").count() == 4


def test_a_lost_connection_is_resumed_where_it_ended(page, session, server):
    page.open("?view=table")
    page.note_frames()
    server._http.cut_connections(5)
    epoch = session.tables["Positions"].append(("T1", "Structuring", "EQ_VOL", 1.0, 1)).epoch
    frame = page.frame_of(epoch)
    assert frame["snapshot"] is False
    assert frame["keys"] == [[key("Structuring", "EQ_VOL"), "MarketValue.SUM"]]


@pytest.mark.parametrize(("path", "cell"), [("?view=table", "#grid td"), ("", "#grid perspective-viewer td")])
def test_after_a_restart_of_the_service_the_page_starts_afresh(page, session, server, path, cell):
    page.open(path)
    page.note_frames()
    page.page.locator("#grid td", has_text="300.50").first.wait_for()
    server.close()
    session.tables["Positions"].drop(keys=[("T2",)])
    epoch = session.tables["Positions"].append(("T1", "Structuring", "EQ_VOL", 1234.5, 1)).epoch
    with serve(session, port=server.port):
        assert page.frame_of(epoch)["snapshot"] is True
        page.page.locator(cell, has_text="1,234.50").first.wait_for()
        page.page.locator("#grid th", has_text="EQ_STRUCT").wait_for(state="detached")
        page.page.close()
    page.complaints = [text for text in page.complaints if "WebSocket connection" not in text]
