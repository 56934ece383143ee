"""Examples seen through HTTP and the websocket while folders are watched: behaviour T8, and the market-risk demo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import gpu_engine as ge

HEADER = "ID,Date,Shop,Product,Quantity,UnitPrice\n"
FIRST = """S001,2021-05-01,Paris,Chair,2,60.0
S002,2021-05-01,Paris,Table,1,190.0
S003,2021-05-01,Lyon,Lamp,4,15.0
S004,2021-05-01,Lyon,Chair,3,60.0
"""
SECOND = """S005,2021-05-02,Paris,Lamp,2,15.0
S006,2021-05-02,Lyon,Table,1,190.0
S007,2021-05-02,Lille,Lamp,4,15.0
"""
THIRD = """S008,2021-05-03,Paris,Chair,5,60.0
S009,2021-05-03,Lyon,Lamp,3,15.0
"""
BY_DATE = ("Shops", ["Quantity.SUM"], ["Date"])


@pytest.fixture
def folder(tmp_path: Path, session: ge.Session) -> Path:
    """A watched folder with the files of two days, loaded into the cube Shops."""
    for day, content in (("01", FIRST), ("02", SECOND)):
        (tmp_path / f"sales_2021_05_{day}.csv").write_text(HEADER + content)
    table = session.read_csv(tmp_path / "*.csv", table_name="Shops", keys=["ID"], watch=True)
    session.create_cube(table)
    return tmp_path


def test_a_file_that_arrives_is_one_added_cell(folder, http, connect):
    assert http.get("/tables/Shops")[2]["row_count"] == 7
    assert http.cells(*BY_DATE) == {("2021-05-01",): (10,), ("2021-05-02",): (7,)}
    client = connect()
    client.subscribe("a", *BY_DATE)
    client.next()
    (folder / "sales_2021_05_03.csv").write_text(HEADER + THIRD)
    change = client.next()
    assert (change["added"], change["changed"], change["removed"]) == ([["2021-05-03", 8]], [], [])
    assert http.cells(*BY_DATE) == {("2021-05-01",): (10,), ("2021-05-02",): (7,), ("2021-05-03",): (8,)}


def test_a_broken_file_shows_in_health_and_the_watch_goes_on(folder, http, connect, wait_for):
    (folder / "sales_broken.csv").write_text(HEADER + "S010,2021-05-04,Paris,Chair,many,60.0\n")
    wait_for(lambda: http.get("/health")[2]["status"] == "degraded")
    assert "many" in http.get("/health")[2]["failures"][0]["message"]
    (folder / "sales_2021_05_03.csv").write_text(HEADER + THIRD)
    wait_for(lambda: http.cells(*BY_DATE).get(("2021-05-03",)) == (8,))


def test_the_market_risk_totals_by_date(session, tmp_path, http, connect):
    pytest.importorskip("scipy")
    from examples.market_risk import DATA, create_session

    create_session(session, folder=tmp_path / "watched", period=None)
    by_date = ("market_risk", ["MarketValue.SUM"], ["AsOfDate"])
    newest, previous = pytest.approx(2041.231221), pytest.approx(2040.361677)
    assert http.cells(*by_date) == {("2020-07-09",): (newest,)}
    client = connect()
    client.subscribe("a", *by_date)
    client.next()
    shutil.copy(DATA / "risk_data_previous_cob.csv", tmp_path / "watched")
    change = client.next()
    assert (change["added"], change["changed"], change["removed"]) == ([["2020-07-08", previous]], [], [])
    assert list(http.cells(*by_date)) == [("2020-07-09",), ("2020-07-08",)], "the newest date comes first"
    assert http.cells("market_risk", ["MarketValue.SUM"], []) == {(): (newest,)}, "dates do not add up"
