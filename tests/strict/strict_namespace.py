"""The namespace `xp` of the strict backend: what NumPy and CuPy have in common, for device arrays only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.strict.shared_names import SHARED
from tests.strict.strict_array import DeviceRefusal, StrictArray, argument, check_overlap, device, operand, refuse
from tests.strict.transfers import TransferMeter

ON_THE_HOST = {
    *("broadcast_shapes", "can_cast", "isdtype", "issubdtype", "ndim", "promote_types", "result_type", "shape"),
}
"""Functions of dtypes and shapes: they answer on the host and read no array."""
FROM_NUMBERS = {"arange", "empty", "eye", "full", "identity", "linspace", "logspace", "ones", "tri", "zeros"}
"""Functions whose shapes and bounds are Python numbers; an array there would have to be read."""
SIZED_BY_VALUES = {
    *("argwhere", "bincount", "compress", "delete", "extract", "flatnonzero", "intersect1d", "nonzero", "setdiff1d"),
    *("setxor1d", "trim_zeros", "union1d", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"),
}
"""Functions whose result is as long as the values say: CuPy waits for the device to know."""
UNWRITTEN = {"empty", "empty_like"}
GARBAGE = 93
"""What unwritten memory holds: on the host it is often zero by chance."""
SCATTERS = {"add", "subtract", "maximum", "minimum"}
"""ufuncs with an `at` in CuPy that takes int64 and float64."""
STABLE_SORTS = {"sort", "argsort"}


class StrictNamespace:
    """Offers the shared names and checks how they are called; every other name is refused."""

    def __init__(self, meter: TransferMeter) -> None:
        self._offered: dict[str, Any] = {name: getattr(np, name) for name in SHARED["values"]}
        self._offered |= {name: StrictUfunc(getattr(np, name), meter) for name in SHARED["ufuncs"]}
        self._offered |= {name: _function(name, *call, meter) for name, call in SHARED["functions"].items()}
        self._offered |= {"newaxis": None, "ndarray": StrictArray}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._offered:
            refuse(f"xp.{name}: not a name of both NumPy and CuPy.", "Use another, or make it a verb of the backend.")
        return self._offered[name]


class StrictUfunc:
    """An elementwise function as CuPy has it: no `where`, no methods but `at`."""

    def __init__(self, host: np.ufunc, meter: TransferMeter) -> None:
        self._host, self._meter = host, meter

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        refuse(f"xp.{self._host.__name__}.{name}: CuPy does not have it for all types.", "Use another operation.")

    def __call__(
        self, *operands: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind", **others: Any
    ) -> Any:
        where = f"xp.{self._host.__name__}"
        if others:
            refuse(f"{where} with {', '.join(others)}:", "CuPy takes out, dtype and casting.")
        given = [operand(value, where) for value in operands]
        if not any(isinstance(value, np.ndarray) for value in given):
            refuse(f"{where}({', '.join(map(repr, operands))}): no device array among the operands.", "Use Python.")
        if out is None:
            return device(self._host(*given, dtype=dtype, casting=casting), self._meter)
        target = operand(out, where)
        for value in given:
            check_overlap(target, value, where)
        self._host(*given, out=target, dtype=dtype, casting=casting)
        return out

    def at(self, array: StrictArray, indices: StrictArray, values: Any) -> None:
        """Add (or ...) values at places that may come twice."""
        where = f"xp.{self._host.__name__}.at"
        if self._host.__name__ not in SCATTERS:
            refuse(f"{where}: CuPy has no such scatter.", f"It has {', '.join(sorted(SCATTERS))}.")
        target, content = operand(array, where), operand(values, where)
        check_overlap(target, content, where)
        try:
            self._host.at(target, operand(indices, where), content)
        except IndexError as error:
            raise DeviceRefusal(f"{where}: {error}; CuPy would wrap around.") from error


def _function(name: str, positional: int, keywords: list[str], meter: TransferMeter) -> Callable[..., Any]:
    where, host = f"xp.{name}", getattr(np, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        unknown = sorted(kwargs.keys() - set(keywords))
        if len(args) > positional or unknown:
            refuse(
                f"{where} with {len(args)} positional arguments and {unknown or 'no other keyword'}:",
                f"NumPy and CuPy agree on {positional} and on the keywords {', '.join(keywords)}.",
            )
        if name in ON_THE_HOST:
            return host(*(getattr(one, "_host", one) for one in args), **kwargs)
        given = [argument(value, where) for value in args]
        named = {key: argument(value, where) for key, value in kwargs.items()}
        _check(name, given, named)
        if name in SIZED_BY_VALUES or (name == "repeat" and isinstance(given[1], np.ndarray)):
            meter.size()
        try:
            result = host(*given, **named)
        except IndexError as error:
            raise DeviceRefusal(f"{where}: {error}; CuPy would wrap around.") from error
        if name in UNWRITTEN:
            result.fill(True if result.dtype.kind == "b" else GARBAGE)
        return kwargs["out"] if kwargs.get("out") is not None else device(result, meter)

    return call


def _check(name: str, given: list[Any], named: dict[str, Any]) -> None:
    where = f"xp.{name}"
    arrays = [one for one in (*given, *named.values()) if isinstance(one, np.ndarray | list)]
    if name in FROM_NUMBERS:
        if arrays:
            refuse(f"{where}: shapes and bounds are Python numbers.", "Read them with `scalar` first.")
    elif not arrays:
        refuse(f"{where}: no device array among the arguments.", "Bring them over with from_host.")
    if name == "lexsort" and isinstance(given[0], list):
        refuse(f"{where}: CuPy takes one array of keys, no list of arrays.", "Use xp.stack.")
    kind = named.get("kind", given[2] if name in STABLE_SORTS and len(given) > 2 else None)
    if name in STABLE_SORTS and kind not in (None, "stable"):
        refuse(f"{where}: CuPy has one kind of sort, the stable one.", "Leave `kind` out.")
    if name == "where" and len(given) == 1:
        refuse(f"{where} with a condition only:", "Use xp.nonzero.")
    if isinstance(named.get("out"), np.ndarray):
        for one in given:
            check_overlap(named["out"], one, where)
