"""The market-risk demo: its totals, its watched folder and its ticks, through Python, HTTP and the websocket."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simple_websocket import Client

import gpu_engine as ge
from examples import market_risk

DEADLINE = 20.0
TODAY, PREVIOUS = pd.Timestamp("2020-07-09"), pd.Timestamp("2020-07-08")
TOTALS = {TODAY: (2041.231221, 32342.35911), PREVIOUS: (2040.361677, 32327.85232)}
"""Sums of MarketValue and Delta, as the notebook shows them: to six and five decimals."""
KEYS = ["AsOfDate", "TradeId", "RiskFactor"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sensitivities"


@pytest.fixture
def demo(session: ge.Session, folder: Path) -> ge.Session:
    """The demo before its first tick; nothing ticks by itself."""
    return market_risk.create_session(session, folder=folder, period=None)


@pytest.fixture
def cube(demo: ge.Session) -> ge.Cube:
    return demo.cubes["market_risk"]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def drop_previous_day(session: ge.Session, folder: Path) -> int:
    """Copy the file of the previous day into the watched folder and wait for it; return the epoch."""
    before = session.epoch
    shutil.copy(market_risk.DATA / "risk_data_previous_cob.csv", folder)
    epoch = session.wait_for_commit(before, DEADLINE)
    assert epoch == before + 1, "the file was not loaded, or not in one commit"
    return epoch


def totals_of(cube: ge.Cube, **query: Any) -> dict[Any, tuple[float, float]]:
    frame = cube.query("MarketValue.SUM", "Delta.SUM", levels=["AsOfDate"], **query)
    return {pd.Timestamp(date): tuple(row) for date, row in zip(frame.index, frame.to_numpy(), strict=True)}


def assert_totals(found: dict[Any, tuple[float, float]], expected: dict[Any, tuple[float, float]]) -> None:
    assert list(found) == list(expected)
    for date, (value, delta) in expected.items():
        assert found[date][0] == pytest.approx(value, abs=5e-7)
        assert found[date][1] == pytest.approx(delta, abs=5e-6)


def rows_of(table: ge.Table) -> pd.DataFrame:
    return table.to_arrow().to_pandas().set_index(list(table.keys)).sort_index()


class TestBeforeTheFirstTick:
    def test_totals_are_those_of_the_files(self, demo, cube, folder):
        assert_totals(totals_of(cube), {TODAY: TOTALS[TODAY]})
        drop_previous_day(demo, folder)
        assert_totals(totals_of(cube), {TODAY: TOTALS[TODAY], PREVIOUS: TOTALS[PREVIOUS]})

    def test_a_query_without_dates_takes_the_newest(self, demo, cube, folder):
        drop_previous_day(demo, folder)
        assert cube.query("MarketValue.SUM")["MarketValue.SUM"].item() == pytest.approx(2041.231221, abs=5e-7)
        newest = cube.query("MarketValue.SUM", levels=["Desk"])
        asked = cube.query("MarketValue.SUM", levels=["Desk"], filter=cube.levels["AsOfDate"] == "2020-07-09")
        pd.testing.assert_frame_equal(newest, asked)

    def test_portfolio_leads_from_business_unit_to_book(self, cube):
        assert [level.name for level in cube.hierarchies["Portfolio"].levels] == ["Business Unit", "Desk", "Book"]
        assert cube.hierarchies["Portfolio"].members() == {
            ("Equities", "Equity Trading", "EQ_LARG_DM"): 4,
            ("Equities", "Equity Trading", "EQ_SMAL_EM"): 4,
            ("Equities", "Equity Trading", "EQ_WAREHOU"): 7,
            ("Equities", "Structuring", "EQ_STRUCT"): 4,
            ("Equities", "Structuring", "EQ_VOL_HED"): 1,
        }

    @pytest.mark.parametrize("level", ["Business Unit", "Desk", "Book", "RiskFactor", "TradeId", "Maturity"])
    def test_every_level_has_one_name_and_splits_the_total(self, cube, level):
        assert cube.query("MarketValue.SUM", levels=[level]).sum().item() == pytest.approx(2041.231221, abs=5e-7)

    def test_measures_reach_through_the_joins(self, cube):
        read = {name: pd.read_csv(market_risk.DATA / f"{name}.csv") for name in ("risk_data", "trade_attributes")}
        facts = read["risk_data"].merge(read["trade_attributes"], on="TradeId")
        notional = facts["Quantity"] * facts["RiskFactor"].map(market_risk.OPENING_QUOTES)
        expected = pd.DataFrame(
            {
                "PositionValue.SUM": (facts["Quantity"] * facts["MarketValue"]).groupby(facts["Book"]).sum(),
                "Notional.SUM": notional.groupby(facts["Book"]).sum(),
                "MarketValue.MIN": facts["MarketValue"].groupby(facts["Book"]).min(),
                "Delta.MAX": facts["Delta"].groupby(facts["Book"]).max(),
            }
        )
        expected["Delta per Notional"] = facts["Delta"].groupby(facts["Book"]).sum() / expected["Notional.SUM"]
        pd.testing.assert_frame_equal(cube.query(*expected.columns, levels=["Book"]), expected)

    @pytest.mark.parametrize(
        ("file", "valued_on", "quotes", "off"),
        [
            ("risk_data", "2020-07-09", market_risk.OPENING_QUOTES, 3e-7),
            ("risk_data_previous_cob", "2020-07-09", {"OXY": 17.01, "MSFT": 215.28, "AAPL": 384.67}, 1e-4),
        ],
    )
    def test_repricing_reproduces_the_files_as_the_docstring_says(self, file, valued_on, quotes, off):
        facts = pd.read_csv(market_risk.DATA / f"{file}.csv").assign(AsOfDate=valued_on)
        trades = pd.read_csv(market_risk.DATA / "trade_attributes.csv")
        repriced = market_risk.reprice(facts.merge(trades, on="TradeId"), pd.Series(quotes))
        for measure in ("MarketValue", "Delta"):
            assert repriced[measure].to_numpy() == pytest.approx(facts[measure].to_numpy(), rel=off)


class TestOverHttp:
    def query(self, url: str, levels: list[str]) -> dict[str, Any]:
        body = json.dumps({"measures": ["MarketValue.SUM", "Delta.SUM"], "levels": levels}).encode()
        request = urllib.request.Request(
            f"{url.rstrip('/')}/api/v1/cubes/market_risk/query", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return json.load(response)

    def test_totals_are_those_of_the_files(self, demo, folder):
        url = demo.serve()
        first = self.query(url, ["AsOfDate"])
        assert_totals({pd.Timestamp(date): rest for date, *rest in first["rows"]}, {TODAY: TOTALS[TODAY]})
        epoch = drop_previous_day(demo, folder)
        second = self.query(url, ["AsOfDate"])
        assert second["epoch"] == epoch > first["epoch"]
        assert_totals({pd.Timestamp(date): rest for date, *rest in second["rows"]}, TOTALS)
        assert self.query(url, [])["rows"] == [second["rows"][0][1:]]

    def test_ticks_arrive_at_a_websocket(self, demo, random):
        socket = Client.connect(demo.serve().rstrip("/").replace("http", "ws", 1) + "/api/v1/live")
        query = {"measures": ["MarketValue.SUM"], "levels": ["Book"]}
        socket.send(json.dumps({"op": "subscribe", "id": "books", "cube": "market_risk", "query": query}))
        frames = [json.loads(socket.receive(timeout=DEADLINE)) for _ in range(2)]
        assert [frame["type"] for frame in frames] == ["subscribed", "snapshot"]
        report = market_risk.tick(demo, random)
        change = json.loads(socket.receive(timeout=DEADLINE))
        assert (change["type"], change["epoch"]) == ("change", report.epoch)
        assert change["changed"] and not change["added"] and not change["removed"]
        socket.close()


class TestTick:
    def test_changes_values_of_the_newest_date_only(self, demo, folder, random):
        drop_previous_day(demo, folder)
        before = rows_of(demo.tables["sensitivities"])
        quotes = rows_of(demo.tables["market_data"])
        market_risk.tick(demo, random)
        after = rows_of(demo.tables["sensitivities"])
        assert after.index.equals(before.index) and len(after) == 40
        moved = rows_of(demo.tables["market_data"])
        assert moved.index.equals(quotes.index) and len(moved) == 6
        for old, new in ((before, after), (quotes, moved)):
            pd.testing.assert_frame_equal(new.loc[PREVIOUS.date()], old.loc[PREVIOUS.date()])
        assert (after.loc[TODAY.date()] != before.loc[TODAY.date()]).any(axis=None)
        assert (moved.loc[TODAY.date()] != quotes.loc[TODAY.date()]).sum().item() == 1

    def test_is_one_epoch_that_moves_quote_and_sensitivities_together(self, demo, random):
        market_risk.tick(demo, random)
        for _ in range(5):
            before = demo.epoch
            old = rows_of(demo.tables["market_data"])["Quote"]
            report = market_risk.tick(demo, random)
            new = rows_of(demo.tables["market_data"])["Quote"]
            assert report.epoch == demo.epoch == before + 1
            (instrument,) = new[new != old].index.get_level_values("Instrument")
            facts = demo.tables["sensitivities"].to_arrow().to_pandas()
            assert report.tables["market_data"].updated == 1
            assert report.tables["sensitivities"].updated == (facts["RiskFactor"] == instrument).sum()

    def test_values_move_little_and_are_numbers(self, demo, cube, random):
        start = cube.query("MarketValue.SUM", levels=["TradeId"])
        for _ in range(20):
            market_risk.tick(demo, random)
        end = cube.query("MarketValue.SUM", levels=["TradeId"])
        assert np.isfinite(end.to_numpy()).all()
        assert end.to_numpy() == pytest.approx(start.to_numpy(), rel=0.2)

    def test_the_same_seed_gives_the_same_walk(self, demo, cube, folder):
        with market_risk.create_session(ge.Session(backend="cpu"), folder=folder, period=None) as other:
            for session in (demo, other):
                random = np.random.default_rng(3)
                for _ in range(10):
                    market_risk.tick(session, random)
            assert totals_of(cube) == totals_of(other.cubes["market_risk"])

    def test_a_live_query_gets_just_the_cells_that_changed(self, demo, cube, random):
        market_risk.tick(demo, random)
        live = cube.live("MarketValue.SUM", "Notional.SUM", levels=["RiskFactor", "Book"])
        for _ in range(5):
            before, seen = live.result(), live.epoch
            report = market_risk.tick(demo, random)
            assert live.wait_for(report.epoch, DEADLINE)
            (change,), _ = live.changes_since(seen)
            assert (change.epoch, change.added.num_rows, change.removed.num_rows) == (report.epoch, 0, 0)
            after = live.result()
            cells = change.changed.to_pandas().set_index(["RiskFactor", "Book"])
            pd.testing.assert_frame_equal(cells, after[(after != before).any(axis=1)])
            assert len({factor for factor, _ in cells.index}) == 1

    def test_a_newer_date_takes_over_with_the_latest_quotes(self, demo, cube, random):
        tomorrow = rows_of(demo.tables["sensitivities"]).reset_index().assign(AsOfDate=pd.Timestamp("2020-07-10"))
        demo.tables["sensitivities"].load_pandas(tomorrow)
        market_risk.tick(demo, random)
        totals = totals_of(cube)
        assert list(totals) == [pd.Timestamp("2020-07-10"), TODAY]
        assert_totals({TODAY: totals[TODAY]}, {TODAY: TOTALS[TODAY]})
        quotes = rows_of(demo.tables["market_data"])["Quote"].unstack("AsOfDate")
        assert (quotes.iloc[:, -1] != quotes.iloc[:, -2]).sum() == 1

    @pytest.mark.filterwarnings("error")
    def test_an_option_past_its_maturity_has_its_payoff(self, demo, cube, random):
        demo.tables["trade_attributes"].update([{"TradeId": "Trd_8", "Maturity": "2020-07-09", "Strike": 1000.0}])
        demo.tables["trade_attributes"].update([{"TradeId": "Trd_0", "Maturity": "2019-01-01", "Strike": 1.0}])
        market_risk.tick(demo, random)
        values = cube.query("MarketValue.SUM", "Delta.SUM", "Notional.SUM", levels=["TradeId", "RiskFactor"])
        quotes = rows_of(demo.tables["market_data"])["Quote"].loc[TODAY.date()]
        assert values.loc[("Trd_8", "AAPL")].tolist() == pytest.approx(
            [1000.0 - quotes["AAPL"], 100 * quotes["AAPL"], -100 * quotes["AAPL"]]
        )
        assert values.loc[("Trd_0", "MSFT")].tolist() == pytest.approx([0.0, 0.0, -100 * quotes["MSFT"]])

    @pytest.mark.filterwarnings("error")
    def test_what_cannot_be_priced_keeps_its_values(self, demo, random):
        sensitivities = demo.tables["sensitivities"]
        sensitivities.append((TODAY.date(), "Trd_1", "TSLA", 5.0, 6.0), (TODAY.date(), "Trd_unknown", "AAPL", 7.0, 8.0))
        demo.tables["trade_attributes"].update([{"TradeId": "Trd_2", "Maturity": None}])
        demo.tables["market_data"].append(("2020-07-09", "OXY", -1.0))
        before = rows_of(sensitivities)
        market_risk.tick(demo, random)
        after = rows_of(sensitivities)
        kept = [("Trd_1", "TSLA"), ("Trd_2", "AAPL"), ("Trd_unknown", "AAPL")]
        pd.testing.assert_frame_equal(after.loc[TODAY.date()].loc[kept], before.loc[TODAY.date()].loc[kept])
        assert after.notna().all(axis=None)
        assert (rows_of(demo.tables["market_data"])["Quote"] > 0).all()


class TestTicker:
    def test_ticks_by_itself_after_the_delay_and_ends_with_the_session(self, folder):
        with market_risk.create_session(ge.Session(backend="cpu"), folder=folder, period=0.01, delay=0.0) as session:
            epoch = session.epoch
            for _ in range(3):
                epoch = session.wait_for_commit(epoch, DEADLINE)
            assert session.statistics().background_tasks["ticker"]
            assert session.health().status == "ok"
            assert len(session.tables["sensitivities"]) == 20
        assert not session.statistics().background_tasks["ticker"]
        assert session.health().status == "ok"

    def test_waits_for_the_delay(self, session, folder):
        market_risk.create_session(session, folder=folder, period=0.0, delay=3600.0)
        assert_totals(totals_of(session.cubes["market_risk"]), {TODAY: TOTALS[TODAY]})
        assert session.statistics().background_tasks["ticker"]

    def test_can_be_started_later(self, demo):
        before = demo.epoch
        task = market_risk.start_ticking(demo, period=0.01)
        assert demo.wait_for_commit(before, DEADLINE) > before
        assert task.stop(DEADLINE)
        assert demo.health().status == "ok"

    @pytest.mark.parametrize("name", ["market_data", "sensitivities"])
    def test_goes_on_when_rows_are_back_that_somebody_has_deleted(self, demo, name):
        table = demo.tables[name]
        rows = table.to_arrow()
        table.truncate()
        before = demo.epoch
        assert market_risk.tick(demo, np.random.default_rng(1)) is None
        task = market_risk.start_ticking(demo, period=0.001)
        assert demo.wait_for_commit(before, 0.05) == before
        epoch = table.load_arrow(rows).epoch
        assert demo.wait_for_commit(epoch, DEADLINE) > epoch
        assert task.alive and demo.health().status == "ok"

    def test_a_tick_that_fails_shows_in_health(self, demo, monkeypatch):
        def fail(*_):
            raise ValueError("no price")

        monkeypatch.setattr(market_risk, "reprice", fail)
        before = rows_of(demo.tables["sensitivities"])
        task = market_risk.start_ticking(demo, period=0.0)
        for thread in threading.enumerate():
            if thread.name == task.name:
                thread.join(DEADLINE)
        assert not task.alive and isinstance(task.error, ValueError)
        health = demo.health()
        assert (health.status, [failure.component for failure in health.failures]) == ("degraded", ["ticker"])
        pd.testing.assert_frame_equal(rows_of(demo.tables["sensitivities"]), before)


class TestWatchedFolder:
    def test_a_temporary_one_is_there_as_long_as_the_session(self):
        with market_risk.create_session(ge.Session(backend="cpu"), period=None) as session:
            (watch,) = session.statistics().watches
            folder = Path(watch.path)
            assert [path.name for path in folder.iterdir()] == ["risk_data.csv"]
            drop_previous_day(session, folder)
        assert not folder.exists()
        assert session.health().status == "ok"

    def test_one_that_was_given_stays(self, folder):
        market_risk.create_session(ge.Session(backend="cpu"), folder=folder, period=None).close()
        assert (folder / "risk_data.csv").exists()

    def test_a_broken_file_changes_nothing_and_a_good_one_still_loads(self, demo, cube, folder):
        (folder / "torn.csv").write_text(
            "AsOfDate,TradeId,RiskFactor,MarketValue,Delta\n2020-07-08,Trd_0,MSFT,much,1\n"
        )
        drop_previous_day(demo, folder)
        assert_totals(totals_of(cube), TOTALS)

    def test_a_file_that_arrives_between_ticks_is_not_disturbed(self, demo, cube, folder):
        market_risk.start_ticking(demo, period=0.001)
        shutil.copy(market_risk.DATA / "risk_data_previous_cob.csv", folder)
        epoch = demo.epoch
        while len(demo.tables["sensitivities"]) == 20:
            previous, epoch = epoch, demo.wait_for_commit(epoch, DEADLINE)
            assert epoch > previous, "ticks have stopped"
        assert_totals({PREVIOUS: totals_of(cube)[PREVIOUS]}, {PREVIOUS: TOTALS[PREVIOUS]})
        assert len(demo.tables["sensitivities"]) == 40
