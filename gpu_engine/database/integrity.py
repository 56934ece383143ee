"""Referential integrity: no row without the match that a mandatory join promises.

Floor 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gpu_engine.backend.array_backend import Array
from gpu_engine.database.commit import Commit, Version
from gpu_engine.errors import MissingMatchError
from gpu_engine.expression.flat_rows import Snapshot
from gpu_engine.expression.join import Join
from gpu_engine.storage.table_store import TableStore

__all__ = ["check_commit", "check_join_matches", "check_matches"]


def check_commit(commit: Commit, joins: Mapping[TableStore, Sequence[Join]]) -> None:
    """Refuse a commit that leaves a row without the match of a mandatory join; only rows that it moves are looked at.

    Raises
    ------
    MissingMatchError
        If it does; it names examples.
    """
    for store, outgoing in joins.items():
        for join in outgoing:
            if not join.optional and (store in commit.changes or join.target in commit.changes):
                check_matches(join, commit.after, commit.moves(store, frozenset([join])).new)


def check_join_matches(join: Join, versions: Iterable[Version]) -> None:
    """Refuse a new mandatory join if a row, alive in one of the versions, has no match; it then points nowhere.

    Raises
    ------
    MissingMatchError
        If there is one; it names examples.
    """
    try:
        for version in versions:
            check_matches(join, version, version.table(join.source).alive_rows())
    except MissingMatchError:
        del join.source.rows.pointers[join]
        raise


def check_matches(join: Join, snapshot: Snapshot, rows: Array) -> None:
    """Refuse rows of the join's source, alive in the snapshot, that find no row of the target."""
    source = snapshot.table(join.source)
    found = snapshot.table(join.target).rows_of(source.pointers(join, rows))
    lonely = join.source.backend.xp.flatnonzero(found < 0)
    if not len(lonely):
        return
    columns = [join.source.columns[name] for name in join.on]
    examples = rows[lonely[:3]]
    shown = zip(*(column.to_arrow(source.read(column, examples)).to_pylist() for column in columns), strict=True)
    raise MissingMatchError(join.name, [key[0] if len(key) == 1 else key for key in shown], len(lonely))
