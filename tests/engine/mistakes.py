"""Mistakes that people make, and what the engine must say to them: what was given, what exists, and a stable code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import gpu_engine as ge
from tests.engine.answers import cells, rows
from tests.engine.conftest import Shop

E = ge.errors

STABLE: dict[type[Exception], tuple[str, type[Exception]]] = {
    E.DuplicateNameError: ("duplicate_name", ValueError),
    E.InvalidJoinError: ("invalid_join", ValueError),
    E.InvalidModelError: ("invalid_model", ValueError),
    E.InvalidQueryError: ("invalid_query", ValueError),
    E.InvalidRowError: ("invalid_row", ValueError),
    E.TypeMismatchError: ("type_mismatch", TypeError),
    E.UnknownBranchError: ("unknown_branch", KeyError),
    E.UnknownColumnError: ("unknown_column", KeyError),
    E.UnknownCubeError: ("unknown_cube", KeyError),
    E.UnknownHierarchyError: ("unknown_hierarchy", KeyError),
    E.UnknownLevelError: ("unknown_level", KeyError),
    E.UnknownMeasureError: ("unknown_measure", KeyError),
    E.UnknownTableError: ("unknown_table", KeyError),
}
"""Error -> its code, which is never renamed, and the builtin that it is too."""


@dataclass(frozen=True)
class Case:
    """One mistake, and what the engine says to it."""

    name: str
    mistake: Callable[[Shop], Any]
    error: type[Exception]
    says: tuple[str, ...]


def case(name: str, mistake: Callable[[Shop], Any], error: type[Exception], *says: str) -> Case:
    return Case(name, mistake, error, says)


def other_table() -> ge.Table:
    """Return a table of a session that has nothing to do with the shop's."""
    with ge.Session(backend="cpu") as session:
        return session.create_table("elsewhere", types={"Id": ge.STRING}, keys=["Id"])


def state(shop: Shop) -> tuple[Any, ...]:
    """Everything that a mistake must leave as it is."""
    session = shop.session
    return (
        session.epoch,
        {name: rows(table) for name, table in session.tables.items()},
        list(session.cubes.keys() - {"p"}),
        list(shop.cube.measures),
        list(shop.cube.hierarchies),
        cells(shop.cube, "Revenue", "contributors.COUNT", levels=["color", "Date"]),
        [figures.levels for figures in session.statistics().providers["sales"]],
        session.health(),
    )


def assert_explained(shop: Shop, case: Case) -> None:
    """Make the mistake: it is explained, leaves everything as it is, and the shop goes on working."""
    shop.cube.create_provider(["color"], ["Revenue"])
    before = state(shop)
    with pytest.raises(case.error) as caught:
        case.mistake(shop)
    assert type(caught.value) is case.error
    assert isinstance(caught.value, ge.errors.EngineError)
    code, builtin = STABLE[case.error]
    assert isinstance(caught.value, builtin)
    assert caught.value.code == code
    for part in case.says:
        assert part in str(caught.value)
    assert state(shop) == before
    report = shop.products.append(("P3", "green", 15.0))
    assert report is not None
    assert report.epoch == before[0] + 1
    assert cells(shop.cube, "Revenue", levels=["color"]) == {"blue": 50.0, "green": 450.0, "red": 200.0}
