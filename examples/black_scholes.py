"""European options by Black and Scholes, with a continuous dividend yield: many at once, NumPy arrays in and out.

Source: Hull, Options, Futures, and Other Derivatives, chapter "Options on Stock Indices and Currencies".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

__all__ = ["black_scholes"]

INSTANT = 1e-12
"""Years, about 30 microseconds: so near its maturity an option is worth its payoff."""


def black_scholes(
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    is_call: ArrayLike,
    *,
    volatility: float,
    rate: float,
    dividend: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return value and delta of one unit of each option.

    Parameters
    ----------
    spot, strike : (n,) or scalar
        Prices > 0 in one currency.
    years : (n,) or scalar
        Time to maturity. From its maturity on (years <= 0) an option is worth its payoff.
    is_call : (n,) or scalar
        True for a call, False for a put.
    volatility, rate, dividend : float
        Per year; the rates are continuously compounded.

    Returns
    -------
    value : (n,) float64
        In the currency of spot and strike.
    delta : (n,) float64
        Change of the value per change of the spot, from -1 (put) to 1 (call).
    """
    years = np.maximum(years, INSTANT)
    sign = np.where(is_call, 1.0, -1.0)
    spread = volatility * np.sqrt(years)
    d1 = (np.log(np.divide(spot, strike)) + (rate - dividend) * years) / spread + spread / 2
    d2 = d1 - spread
    delta = sign * np.exp(-dividend * years) * ndtr(sign * d1)
    return delta * spot - sign * strike * np.exp(-rate * years) * ndtr(sign * d2), delta
