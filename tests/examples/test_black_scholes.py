"""Black-Scholes against the textbook formula written with math.erf, against put-call parity and at maturity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.black_scholes import black_scholes

MARKET = {"volatility": 0.3, "rate": 0.001, "dividend": 0.0163}

PRICES = st.floats(1.0, 1_000.0)
YEARS = st.floats(1 / 365, 30.0)


def normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def textbook(spot: float, strike: float, years: float, is_call: bool, volatility: float, rate: float, dividend: float):
    """One option, as Hull writes it: value and delta."""
    d1 = (math.log(spot / strike) + (rate - dividend + volatility**2 / 2) * years) / (volatility * math.sqrt(years))
    d2 = d1 - volatility * math.sqrt(years)
    now, later = spot * math.exp(-dividend * years), strike * math.exp(-rate * years)
    if is_call:
        return now * normal(d1) - later * normal(d2), math.exp(-dividend * years) * normal(d1)
    return later * normal(-d2) - now * normal(-d1), -math.exp(-dividend * years) * normal(-d1)


@given(spot=PRICES, strike=PRICES, years=YEARS, is_call=st.booleans())
def test_value_and_delta_are_those_of_the_textbook(spot, strike, years, is_call):
    expected = textbook(spot, strike, years, is_call, **MARKET)
    assert black_scholes(spot, strike, years, is_call, **MARKET) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(spot=PRICES, strike=PRICES, years=YEARS)
def test_call_less_put_is_the_forward(spot, strike, years):
    call, call_delta = black_scholes(spot, strike, years, True, **MARKET)
    put, put_delta = black_scholes(spot, strike, years, False, **MARKET)
    kept = math.exp(-MARKET["dividend"] * years)
    assert call - put == pytest.approx(spot * kept - strike * math.exp(-MARKET["rate"] * years), abs=1e-9)
    assert call_delta - put_delta == pytest.approx(kept)


def test_an_example_of_the_textbook_without_dividends():
    """Hull: spot 42, strike 40, half a year, 20% volatility, 10% rate: call 4.76, put 0.81."""
    value, _ = black_scholes(42.0, 40.0, 0.5, np.array([True, False]), volatility=0.2, rate=0.1)
    assert value.round(2).tolist() == [4.76, 0.81]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("years", [0.0, -1 / 365, -20.0])
def test_from_its_maturity_on_an_option_is_worth_its_payoff(years):
    spot, strike = np.array([90.0, 110.0, 90.0, 110.0, 100.0]), np.full(5, 100.0)
    is_call = np.array([True, True, False, False, False])
    value, delta = black_scholes(spot, strike, np.full(5, years), is_call, **MARKET)
    assert value == pytest.approx([0.0, 10.0, 10.0, 0.0, 0.0], abs=1e-4)
    assert delta[:4] == pytest.approx([0.0, 1.0, -1.0, 0.0])
    assert -1.0 <= delta[4] <= 0.0


def test_many_options_are_priced_as_one_by_one():
    spot, strike, years = np.array([90.0, 100.0, 110.0]), np.array([100.0, 100.0, 95.0]), np.array([0.1, 2.0, 15.0])
    is_call = np.array([True, False, True])
    together = np.array(black_scholes(spot, strike, years, is_call, **MARKET))
    single = [black_scholes(*option, **MARKET) for option in zip(spot, strike, years, is_call, strict=True)]
    assert together.shape == (2, 3)
    np.testing.assert_allclose(together.T, single)
