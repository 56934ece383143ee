"""The array double refuses what a GPU refuses, charges for or does silently wrong, and allows what engine code does."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gpu_engine.backend.array_backend import ArrayBackend
from gpu_engine.backend.int_index import IntIndex
from tests.strict.shared_names import SHARED
from tests.strict.strict_array import DeviceRefusal, StrictArray
from tests.strict.strict_backend import StrictBackend
from tests.strict.strict_index import StrictIndex

BACKEND = StrictBackend()
XP = BACKEND.xp
HOST = np.arange(5)


def array() -> Any:
    return BACKEND.from_host(HOST)


def listed(values: Any) -> Any:
    return BACKEND.to_host(values).tolist()


REFUSED: dict[str, Callable[[Any], Any]] = {
    # values that leave the device one by one, or all at once without saying so
    "bool": bool,
    "int": lambda a: int(a[0]),
    "float": lambda a: float(a[0]),
    "index": lambda a: [1, 2, 3][a[0]],
    "item": lambda a: a[0].item(),
    "truth of a comparison": lambda a: 1 if a.sum() > 3 else 2,
    "and": lambda a: a.any() and a.all(),
    "range": lambda a: range(a[0]),
    "iteration": list,
    "unpacking": lambda a: [*a],
    "membership": lambda a: 3 in a,
    "max of Python": max,
    "tolist": lambda a: a.tolist(),
    "get": lambda a: a.get(),
    "numpy.asarray": np.asarray,
    "numpy ufunc": lambda a: np.add(a, a),
    "numpy from_dlpack": np.from_dlpack,
    "memoryview": lambda a: a.__buffer__(0),
    "arrow": pa.array,
    "pandas": pd.Series,
    "buffer": lambda a: pa.py_buffer(a),
    # host values that come in without saying so
    "numpy operand": lambda a: a + HOST,
    "numpy operand first": lambda a: HOST + a,
    "numpy comparison": lambda a: HOST == a,  # noqa: SIM300
    "numpy scalar": lambda a: a + np.int64(1),
    "numpy scalar first": lambda a: np.int64(1) - a,
    "list operand": lambda a: a + [1, 2],  # noqa: RUF005
    "none operand": lambda a: a == None,  # noqa: E711
    "numpy in a function": lambda a: XP.where(a > 1, HOST, 0),
    "numpy in a sequence": lambda a: XP.concatenate([a, HOST]),
    "numpy alone": lambda a: XP.sort(HOST),
    "numpy needles": lambda a: XP.searchsorted(a, HOST),
    "list needles": lambda a: XP.searchsorted(a, [1, 2]),
    "python numbers only": lambda a: XP.maximum(1, 2),
    "in place with numpy": lambda a: a.__iadd__(HOST),
    # indices
    "list index": lambda a: a[[1, 2]],
    "numpy index": lambda a: a[HOST],
    "numpy integer index": lambda a: a[np.int64(1)],
    "bool index": lambda a: a[True],
    "float index": lambda a: a[a * 0.5],
    "slice by array": lambda a: a[: a[1]],
    "slice by numpy integer": lambda a: a[: np.int64(2)],
    "two masks": lambda a: XP.zeros((5, 5))[a > 1, a > 1],
    "write by list": lambda a: a.__setitem__([1], 0),
    "write of numpy": lambda a: a.__setitem__(slice(None), HOST),
    # what a GPU does silently wrong
    "gather out of range": lambda a: a[a + 3],
    "take out of range": lambda a: a.take(a + 3),
    "xp.take out of range": lambda a: XP.take(a, a + 3),
    "one place out of range": lambda a: a[5],
    "scatter out of range": lambda a: a.__setitem__(a + 3, 0),
    "at out of range": lambda a: XP.add.at(a, a + 3, 1),
    "racing scatter": lambda a: a.__setitem__(a // 2, a),
    "overlapping in place": lambda a: a[1:].__iadd__(a[:-1]),
    "overlapping write": lambda a: a.__setitem__(slice(1, None), a[:-1]),
    "overlapping out": lambda a: XP.add(a[1:], 1, out=a[:-1]),
    "NaN as integer": lambda a: (a * float("nan")).astype("int64"),
    "NaN written to integers": lambda a: a.__setitem__(slice(None), XP.full(5, float("nan"))),
    # what CuPy does not have
    "datetimes": lambda a: a.astype("datetime64[us]"),
    "view as datetimes": lambda a: a.view("datetime64[us]"),
    "objects": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
    "records": lambda a: a.view([("x", "int32"), ("y", "int32")]),
    "lexsort of a list": lambda a: XP.lexsort([a, a]),
    "lexsort of a tuple": lambda a: XP.lexsort((a, a)),
    "lexsort by axis": lambda a: XP.lexsort(XP.stack([a, a]), axis=0),
    "take by mode": lambda a: XP.take(a, a, mode="clip"),
    "method take by mode": lambda a: a.take(a, mode="clip"),
    "unique unsorted": lambda a: XP.unique(a, sorted=False),
    "kinds of sort": lambda a: XP.argsort(a, kind="quicksort"),
    "stable by name": lambda a: XP.sort(a, stable=True),
    "initial": lambda a: a.max(initial=0),
    "where of a reduction": lambda a: a.sum(where=a > 1),
    "where of a ufunc": lambda a: XP.add(a, 1, where=a > 1),
    "multiply.at": lambda a: XP.multiply.at(a, a, 2),
    "minimum.reduceat": lambda a: XP.minimum.reduceat(a, a),
    "isin by table": lambda a: XP.isin(a, a, kind="table"),
    "sort in place": lambda a: a.sort(),
    "asarray": lambda a: XP.asarray([1, 2]),
    "errstate": lambda a: XP.errstate(all="ignore"),
    "char": lambda a: XP.char,
    "zeros of an array": lambda a: XP.zeros(a[1]),
    "arange of an array": lambda a: XP.arange(a[1]),
    # verbs
    "scalar of a host value": lambda a: BACKEND.scalar(np.int64(3)),
    "scalar of several": BACKEND.scalar,
    "to_host of the host": lambda a: BACKEND.to_host(HOST),
    "from_host of the device": BACKEND.from_host,
    "from_host of a list of device arrays": lambda a: BACKEND.from_host([a[0], a[1]]),
    "to_arrow of the host": lambda a: BACKEND.to_arrow(HOST, None, pa.int64()),
    "group of host keys": lambda a: BACKEND.group(HOST),
    "group of int32": lambda a: BACKEND.group(a.astype("int32")),
    "groups out of range": lambda a: BACKEND.group_sum(a, a, 4),
    "groups below zero": lambda a: BACKEND.group_count(a - 1, 5),
    "a size on the device": lambda a: BACKEND.group_count(a, a.max() + 1),
    "values without groups": lambda a: BACKEND.group_min(a, a[:3], 5, 0),
    "an index of host keys": lambda a: BACKEND.int_index().insert(HOST),
    "an index of int32": lambda a: BACKEND.int_index().lookup(a.astype("int32")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    # NumPy, Arrow and the index refuse these by themselves.
    with pytest.raises(TypeError if name in ("numpy ufunc", "buffer", "an index of int32") else DeviceRefusal):
        REFUSED[name](array())


def test_refusals_are_no_builtin_errors() -> None:
    """A handler for bad data must not take one for a user's mistake."""
    assert DeviceRefusal.__bases__ == (Exception,)


ALLOWED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "arithmetic": (lambda a: 10 - a * 2 // 3, [10, 10, 9, 8, 8]),
    "comparison": (lambda a: (a > 1) & ~(a == 4), [False, False, True, True, False]),
    "shifts": (lambda a: (a << 2 | 1) >> 1, [0, 2, 4, 6, 8]),
    "gather": (lambda a: a[a[::-1]], [4, 3, 2, 1, 0]),
    "gather from the end": (lambda a: a[a - 1], [4, 0, 1, 2, 3]),
    "mask": (lambda a: a[a > 2], [3, 4]),
    "slices": (lambda a: a[1:4][::2], [1, 3]),
    "columns": (lambda a: XP.stack([a, a + 1], axis=1)[1, :], [1, 2]),
    "one value": (lambda a: a[3], 3),
    "sum": (lambda a: a.sum(), 10),
    "unique": (lambda a: XP.unique(a // 2), [0, 1, 2]),
    "lexsort": (lambda a: XP.lexsort(XP.stack([a, -(a // 2)])), [4, 2, 3, 0, 1]),
    "where": (lambda a: XP.where(a > 2, a, -1), [-1, -1, -1, 3, 4]),
    "repeat": (lambda a: XP.repeat(a, a // 2), [2, 3, 4, 4]),
    "searchsorted": (lambda a: XP.searchsorted(a, a + 1), [1, 2, 3, 4, 5]),
    "bits": (lambda a: (a * 0.5).view("int64").view("float64"), [0.0, 0.5, 1.0, 1.5, 2.0]),
    "isin": (lambda a: XP.isin(a, a[3:], invert=True), [True, True, True, False, False]),
    "minimum": (lambda a: XP.minimum(a, 2), [0, 1, 2, 2, 2]),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_computes(name: str) -> None:
    compute, expected = ALLOWED[name]
    result = compute(array())
    assert type(result) is StrictArray
    assert listed(result) == expected


def test_writes_go_through_views() -> None:
    values = array()
    view, one = values[1:], values[2]
    view += 10
    view[array()[:2]] = 7
    assert listed(values) == [0, 7, 7, 13, 14]
    assert listed(one) == 7


def test_the_same_place_may_get_the_same_value_twice() -> None:
    values = array()
    values[values // 2] = values // 2 * 10
    assert listed(values) == [0, 10, 20, 3, 4]


def test_unwritten_memory_is_not_zero() -> None:
    assert BACKEND.to_host(XP.empty((2, 2))).all()
    assert BACKEND.to_host(XP.empty(3, dtype="bool")).all()


def test_what_comes_back_is_a_copy() -> None:
    values = array()
    BACKEND.to_host(values)[:] = 9
    assert listed(values) == HOST.tolist()


def test_satisfies_the_protocols() -> None:
    for protocol, double in ((ArrayBackend, StrictBackend()), (IntIndex, StrictIndex(BACKEND.meter))):
        for name, asked in vars(protocol).items():
            if name.startswith("_") and name != "__len__":
                continue
            assert hasattr(double, name), f"{type(double).__name__} has no {name}"
            if inspect.isfunction(asked):
                ours = inspect.signature(getattr(type(double), name)).parameters
                assert list(ours) == list(inspect.signature(asked).parameters), name


LIBRARIES = [importlib.import_module(name) for name in ("numpy", "cupy") if find_spec(name)]
"""NumPy, and CuPy where it is installed; the list was made where both are."""


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_every_shared_name_can_be_called_as_listed(library: Any) -> None:
    assert not [name for name in (*SHARED["ufuncs"], *SHARED["values"]) if not hasattr(library, name)]
    assert not [name for name in SHARED["methods"] if not hasattr(library.ndarray, name)]
    for name, (positional, keywords) in SHARED["functions"].items():
        parameters = inspect.signature(getattr(library, name)).parameters
        assert set(keywords) <= parameters.keys(), name
        variable = any(one.kind == one.VAR_POSITIONAL for one in parameters.values())
        assert variable or positional <= len(parameters), name
