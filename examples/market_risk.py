"""A book of equity options whose prices move: files, appended rows, joins, a cube, and a thread that reprices.

`create_session` builds everything; `gpu-engine demo` serves it. Files dropped into a watched folder become rows, and
every tick moves one quote and reprices the book, both in one transaction: queries see all of a tick or nothing.

Units: MarketValue is the value of one option, Delta the change in the position's value (USD) per relative change of the
spot: Quantity x spot x delta of one option. So risk_data.csv has it, and Black-Scholes with the constants below gives
its 40 figures to a relative 3e-7 at `OPENING_QUOTES`, if every trade is valued as a put: whoever made the files did so
whatever its OptionType. `reprice` follows, so that values move from those in the files instead of jumping at the first
tick. (The file of the previous day fits as well, valued on 2020-07-09 at quotes of 17.01, 215.28 and 384.67.)
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import gpu_engine as ge
from examples.black_scholes import black_scholes

__all__ = ["DATA", "create_session", "reprice", "start_ticking", "tick"]

DATA = Path(__file__).parent / "data" / "market_risk"

VOLATILITY, RATE, DIVIDEND = 0.30, 0.001, 0.0163
OPENING_DATE = "2020-07-09"
OPENING_QUOTES = {"OXY": 16.94, "MSFT": 215.34, "AAPL": 384.43}
"""USD, at which risk_data.csv was made; market_data.csv ends the day before."""
TICK_VOLATILITY = 0.001
"""Standard deviation of the logarithm of a quote, per tick."""

log = logging.getLogger(__name__)


def create_session(
    session: ge.Session | None = None,
    *,
    folder: str | Path | None = None,
    period: float | None = 0.5,
    delay: float = 2.0,
    seed: int = 2020,
) -> ge.Session:
    """Return a session with tables, the cube "market_risk" and moving prices.

    Parameters
    ----------
    session : by default a new one
    folder : where to watch for files of sensitivities; by default a temporary folder that goes when the session closes
    period, delay : seconds between two ticks, and before them; no ticks if the period is None, see `start_ticking`
    seed : of the random walk
    """
    session = session or ge.Session()
    load_tables(session, Path(folder) if folder else make_folder(session))
    create_cube(session)
    if period is not None:
        start_ticking(session, period=period, delay=delay, seed=seed)
    return session


def load_tables(session: ge.Session, folder: Path) -> None:
    """Fill the tables and join them: each sensitivity has a quote and a trade, each trade a book."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(DATA / "risk_data.csv", folder)
    sensitivities = session.read_csv(folder, "sensitivities", keys=["AsOfDate", "TradeId", "RiskFactor"], watch=True)
    log.info("watching %s: copy %s there", folder, DATA / "risk_data_previous_cob.csv")

    market_data = session.read_csv(DATA / "market_data.csv", keys=["AsOfDate", "Instrument"])
    market_data.append(*((OPENING_DATE, instrument, quote) for instrument, quote in OPENING_QUOTES.items()))
    trade_attributes = session.read_csv(DATA / "trade_attributes.csv", keys=["TradeId"])
    books = session.read_csv(DATA / "books.csv", keys=["Book"])

    sensitivities.join(market_data, on={"AsOfDate": "AsOfDate", "RiskFactor": "Instrument"})
    sensitivities.join(trade_attributes)
    trade_attributes.join(books)


def create_cube(session: ge.Session) -> ge.Cube:
    """Create the cube: by portfolio, date and trade; measures of the sensitivities and of what they join to."""
    sensitivities, market_data, trades, books = (
        session.tables[name] for name in ("sensitivities", "market_data", "trade_attributes", "books")
    )
    cube = session.create_cube(sensitivities, name="market_risk", mode="manual")

    cube.hierarchies["Portfolio"] = [books["Business Unit"], books["Desk"], trades["Book"]]
    for name in ("AsOfDate", "RiskFactor", "TradeId"):
        cube.hierarchies[name] = [sensitivities[name]]
    for name in ("Product", "OptionType", "Maturity"):
        cube.hierarchies[name] = [trades[name]]
    # Values of two dates do not add up: a query that does not ask for dates gets the newest.
    cube.levels["AsOfDate"].order = "descending"
    cube.hierarchies["AsOfDate"].slicing = True

    for name in ("MarketValue", "Delta"):
        cube.measures[f"{name}.SUM"] = ge.agg.sum(sensitivities[name])
        cube.measures[f"{name}.MEAN"] = ge.agg.mean(sensitivities[name])
        cube.measures[f"{name}.MIN"] = ge.agg.min(sensitivities[name])
        cube.measures[f"{name}.MAX"] = ge.agg.max(sensitivities[name])
    cube.measures["PositionValue.SUM"] = ge.agg.sum(trades["Quantity"] * sensitivities["MarketValue"])
    cube.measures["Notional.SUM"] = ge.agg.sum(trades["Quantity"] * market_data["Quote"])
    cube.measures["Delta per Notional"] = cube.measures["Delta.SUM"] / cube.measures["Notional.SUM"]
    return cube


def start_ticking(
    session: ge.Session, *, period: float = 0.5, delay: float = 0.0, seed: int = 2020
) -> ge.BackgroundTask:
    """Tick until the session closes. What a tick raises ends the ticking and shows in the session's health."""
    random = np.random.default_rng(seed)

    def run(stop: threading.Event) -> None:
        stop.wait(delay)
        while not stop.wait(period):
            tick(session, random)

    return session.run_in_background("ticker", run)


def tick(session: ge.Session, random: np.random.Generator) -> ge.CommitReport | None:
    """Move one quote of the newest date, reprice that date's sensitivities, commit both at once; report the commit.

    Without sensitivities or quotes, since somebody may have deleted them, there is nothing to move, and no commit.
    """
    sensitivities, market_data = session.tables["sensitivities"], session.tables["market_data"]
    held = sensitivities.to_arrow().to_pandas()
    if held.empty:
        return None
    date = held["AsOfDate"].max()
    known = market_data.where((market_data["AsOfDate"] <= date) & (market_data["Quote"] > 0)).to_pandas()
    if known.empty:
        return None
    quotes = known.sort_values("AsOfDate").groupby("Instrument")["Quote"].last()
    quotes[random.choice(quotes.index)] *= np.exp(random.normal(0.0, TICK_VOLATILITY))

    trades = session.tables["trade_attributes"].to_arrow().to_pandas()
    repriced = reprice(held[held["AsOfDate"] == date].merge(trades, on="TradeId"), quotes)
    with session.start_transaction() as transaction:
        market_data.append(*((date, instrument, quote) for instrument, quote in quotes.items()))
        sensitivities.load_pandas(repriced)
    return transaction.report


def reprice(positions: pd.DataFrame, quotes: pd.Series) -> pd.DataFrame:
    """Return new sensitivities of positions, which bring their trade's attributes, at quotes by instrument.

    A position without a quote, or of a trade without terms, is left out: it keeps the values that it has.
    """
    positions = positions.assign(Spot=positions["RiskFactor"].map(quotes))
    positions = positions.dropna(subset=["Spot", "Strike", "Maturity", "Quantity"])
    days = (pd.to_datetime(positions["Maturity"]) - pd.to_datetime(positions["AsOfDate"])).dt.days
    value, delta = black_scholes(
        positions["Spot"],
        positions["Strike"],
        days / 365,
        is_call=False,  # as in the files, see above
        volatility=VOLATILITY,
        rate=RATE,
        dividend=DIVIDEND,
    )
    cash_delta = delta * positions["Spot"] * positions["Quantity"]
    return positions[["AsOfDate", "TradeId", "RiskFactor"]].assign(MarketValue=value, Delta=cash_delta)


def make_folder(session: ge.Session) -> Path:
    """Return a new folder that is removed once the session has closed."""
    folder = TemporaryDirectory(prefix="market_risk_")

    def remove(_: threading.Event) -> None:
        # No commit comes after this one, so the wait ends when the session has closed, its watches first.
        session.wait_for_commit(after=sys.maxsize)
        folder.cleanup()

    session.run_in_background("removal of the working folder", remove)
    return Path(folder.name)
