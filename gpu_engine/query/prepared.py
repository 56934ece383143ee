"""Prepared queries: names, types and conditions are worked out once, values come with each run.

Floor 3. What is prepared is bound to its tables and not to a version. Queries to cubes are compiled by the cube, which
stands on a higher floor and is known here by a protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from gpu_engine.database.commit import Version
from gpu_engine.errors import InvalidQueryError, TypeMismatchError
from gpu_engine.expression.comparable import fitted
from gpu_engine.expression.connective import Condition, without_parameters
from gpu_engine.expression.join import Reference
from gpu_engine.expression.parameter import Fit, ParameterType, checked_values
from gpu_engine.query.query_compiler import Fields, QueryCompiler, TableLike
from gpu_engine.query.query_runner import QueryRunner
from gpu_engine.query.row_query import ListQuery
from gpu_engine.schema import DataType, arrow_scalar
from gpu_engine.storage.table_store import TableStore

__all__ = ["CompiledQuery", "CubeLike", "Prepare", "PreparedListQuery", "PreparedQuery"]

Answer_co = TypeVar("Answer_co", covariant=True)


class CompiledQuery(Protocol[Answer_co]):
    """A query with every name found, to be run at any version."""

    @property
    def parameters(self) -> Mapping[str, ParameterType]:
        """Values that it leaves open."""
        ...

    def run(self, version: Version, values: Mapping[str, Any]) -> Answer_co:
        """Return the answer at a version, with values of its parameters that fit their types."""
        ...


class CubeLike(Protocol):
    """Something that compiles queries to itself: a cube."""

    def compile(
        self, measures: Sequence[Any], levels: Sequence[Any], filter: Condition | None, *, totals: bool, mode: str
    ) -> CompiledQuery[Any]:
        """Return the query, which may have parameters in its filter; errors as of a query that is run at once."""
        ...


class PreparedQuery(Generic[Answer_co]):
    """A compiled query and the parameters to run it with."""

    def __init__(self, query: CompiledQuery[Answer_co], compiler: QueryCompiler, fit: Fit = fitted) -> None:
        self.query = query
        """The query itself, its names found."""
        self._compiler, self._fit = compiler, fit

    def __repr__(self) -> str:
        parameters = ", ".join(f"{name}: {kind}" for name, kind in self.parameters.items())
        return f"{type(self).__name__}({parameters})"

    @property
    def parameters(self) -> Mapping[str, ParameterType]:
        """Name -> type of each parameter; a `ListType` for one that takes the values of `isin`."""
        return MappingProxyType(dict(self.query.parameters))

    def run(self, runner: QueryRunner, /, **values: Any) -> Answer_co:
        """Return the answer at the runner's epoch.

        Parameters
        ----------
        runner : what `session.database.version()` gives
        **values : a value for each parameter; `**{"Trade Id": 7}` where a name is no Python name

        Raises
        ------
        InvalidParameterError
            If a value is missing, unknown or of the wrong type; it lists all problems and all parameters.
        InvalidQueryError
            If `runner` is none, or one of another session.
        """
        if getattr(runner, "compiler", None) is not self._compiler:
            raise InvalidQueryError([f"{runner!r} is no version to run at. Give session.database.version(...)."])
        return self.query.run(runner.version, self.checked(values))

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of all parameters, fitted to their types; InvalidParameterError as of `run`."""
        return checked_values(self.query.parameters, values, self._fit)


class PreparedListQuery(PreparedQuery[pa.Table]):
    """A prepared list of rows. Without open parameters it can also be streamed."""

    query: ListQuery

    @property
    def root(self) -> TableStore:
        """The table whose rows it lists."""
        return self.query.root

    @property
    def fields(self) -> Mapping[str, Reference]:
        """Name -> column, of the table or through its joins."""
        return self.query.fields

    @property
    def condition(self) -> Condition | None:
        """The bound condition, None for all rows; InvalidParameterError while it has parameters: see `assign`."""
        condition = self.query.condition
        return None if condition is None else without_parameters(condition)

    def assign(self, **values: Any) -> PreparedListQuery:
        """Return the query with values in the place of its parameters, without compiling again; errors as `run`."""
        return PreparedListQuery(self.query.assign(self.checked(values)), self._compiler, self._fit)


class Prepare:
    """Compiles queries to be run many times."""

    def __init__(self, compiler: QueryCompiler, cube: Callable[[str], CubeLike]) -> None:
        self._compiler, self._cube = compiler, cube

    def list(
        self,
        table: TableLike,
        fields: Fields = None,
        where: Condition | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> PreparedListQuery:
        """Prepare `QueryRunner.list`; the condition may have parameters. Errors as there."""
        return PreparedListQuery(self._compiler.list(table, fields, where, limit, offset, open=True), self._compiler)

    def get(self, table: TableLike, fields: Fields = None) -> PreparedQuery[dict[str, Any] | None]:
        """Prepare `QueryRunner.get`; the key columns are the parameters. Errors as there."""
        return PreparedQuery(self._compiler.get(table, fields), self._compiler, _key_part)

    def distinct(self, table: TableLike, fields: Fields, where: Condition | None = None) -> PreparedQuery[pa.Table]:
        """Prepare `QueryRunner.distinct`; the condition may have parameters. Errors as there."""
        return PreparedQuery(self._compiler.distinct(table, fields, where, open=True), self._compiler)

    def cube(
        self,
        cube: CubeLike | str,
        measures: Sequence[Any] | str,
        levels: Sequence[Any] = (),
        filter: Condition | None = None,
        *,
        totals: bool = False,
        mode: str = "pandas",
    ) -> PreparedQuery[Any]:
        """Prepare `Cube.query`; the filter may have parameters. Errors as there.

        Measures mean what they mean now: a measure that is redefined needs a query prepared anew.
        """
        found = self._cube(cube) if isinstance(cube, str) else cube
        named = [measures] if isinstance(measures, str) else measures
        query = found.compile(named, levels, filter, totals=totals, mode=mode)
        self._compiler.count()
        return PreparedQuery(query, self._compiler)


def _key_part(value: Any, data_type: DataType, where: str) -> Any:
    """Return one value of a key in the type of its column."""
    if value is None:
        raise TypeMismatchError(where, value, f"{data_type} for a key")
    return arrow_scalar(value, data_type, where).as_py()
