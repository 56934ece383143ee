"""Resolution of names: from what a user wrote to a column and the joins that lead there.

Floor 3. A path of names is followed literally. A column taken from a table (`product["color"]`) is found through
whatever joins lead to that table, if there is just one way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gpu_engine.database.database import Database
from gpu_engine.errors import AmbiguousNameError, InvalidModelError, InvalidQueryError, UnknownColumnError
from gpu_engine.expression.connective import Condition, without_parameters
from gpu_engine.expression.expression import Field
from gpu_engine.expression.join import Join, Reference
from gpu_engine.storage.table_store import TableStore

__all__ = ["bound_condition", "join_paths", "resolver"]


def resolver(database: Database, root: TableStore) -> Callable[[Field], Reference]:
    """Return the function that finds fields from the rows of `root`."""
    return lambda field: (
        _from_table(database, root, field) if field.table is not None else _by_path(database, root, field)
    )


def bound_condition(database: Database, root: TableStore, condition: Any, *, open: bool = False) -> Condition:
    """Return a condition with its names found from the rows of `root`.

    Parameters
    ----------
    open : whether it may have parameters

    Raises
    ------
    InvalidQueryError
        If it is no condition, or one on the levels of a cube over another table.
    UnknownColumnError, AmbiguousNameError, TypeMismatchError, InvalidParameterError
        If it does not fit the table, or has parameters and may not.
    """
    if not isinstance(condition, Condition):
        raise InvalidQueryError([f"{condition!r} is not a condition. Write for example table['city'] == 'Paris'."])
    bound = condition.bind(resolver(database, root))
    strange = [reference.path for reference in bound.references() if not _starts_at(root, reference)]
    if strange:
        raise InvalidQueryError([f"{', '.join(strange)}: no column that rows of table {root.name!r} reach."])
    if open:
        bound.parameters()
        return bound
    return without_parameters(bound)


def _starts_at(root: TableStore, reference: Reference) -> bool:
    if reference.joins:
        return reference.joins[0].source is root
    return root.columns.get(reference.column.name) is reference.column


def join_paths(database: Database, root: TableStore) -> Iterator[tuple[Join, ...]]:
    """Yield every path of joins that starts at `root`, the empty one first, near ones before far ones."""
    paths: list[tuple[Join, ...]] = [()]
    while paths:
        yield from paths
        paths = [(*path, join) for path in paths for join in database.joins[path[-1].target if path else root]]


def _by_path(database: Database, root: TableStore, field: Field) -> Reference:
    """Follow joins by name.

    Raises
    ------
    UnknownColumnError
        If a step is neither a join nor, at the end, a column.
    """
    # A column whose own name has dots is taken whole.
    whole = ".".join(field.path)
    if whole in root.columns:
        return Reference((), root.columns[whole])
    at = root
    joins: list[Join] = []
    for place, step in enumerate(field.path[:-1]):
        join = next((join for join in database.joins[at] if join.name == step), None)
        rest = ".".join(field.path[place:])
        if join is None:
            if rest in at.columns:
                return Reference(tuple(joins), at.columns[rest])
            known = [*(join.name for join in database.joins[at]), *at.columns]
            raise UnknownColumnError(step, known, f"joins and columns of table {at.name!r}")
        joins.append(join)
        at = join.target
    name = field.path[-1]
    if name not in at.columns:
        raise UnknownColumnError(name, at.columns, f"table {at.name!r}")
    return Reference(tuple(joins), at.columns[name])


def _from_table(database: Database, root: TableStore, field: Field) -> Reference:
    """Find the table that a field was taken from.

    Raises
    ------
    InvalidModelError
        If no join leads from the root to that table.
    AmbiguousNameError
        If several ways do.
    """
    column = field.path[-1]
    ends = [(path, path[-1].target if path else root) for path in join_paths(database, root)]
    found = [Reference(path, end.columns[column]) for path, end in ends if end.name == field.table]
    if not found:
        raise InvalidModelError(
            f"{field!r}: no join leads from table {root.name!r} to {field.table!r}. Join them first."
        )
    if len(found) > 1:
        raise AmbiguousNameError("column", repr(field), [f"field({reference.path!r})" for reference in found])
    return found[0]
