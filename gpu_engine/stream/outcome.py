"""Stream outcomes: which of the rows that commits move are deleted, updated or added in a list query.

Floor 4. A row that enters the condition is added, one that leaves it is deleted, and one that stays is updated if a
field of the query differs. A row whose partition changes leaves the one and enters the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_engine.backend.array_backend import Array
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.flat_rows import FlatRows
from gpu_engine.query.row_batches import RowBatches
from gpu_engine.stream.listener import Event

__all__ = ["Outcome", "Rules", "Told"]

Told = tuple[int, Event]
"""Owner of some rows, and the call that tells of them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of some rows that commits move. Places count within those rows."""

    old: FlatRows
    new: FlatRows
    deleted: Array
    """(d,) places in `old`."""
    updated: Array
    """(u,) places in both."""
    added: Array
    """(a,) places in `new`."""


class Rules:
    """What a query lists, and in which form it is sent."""

    def __init__(self, condition: Condition | None, form: RowBatches) -> None:
        self.condition, self.form = condition, form

    def held(self, rows: FlatRows) -> Array:
        """Return (n,) bool: which rows the query lists."""
        if self.condition is None:
            return rows.backend.xp.ones(len(rows), dtype="bool")
        with rows.backend.ignore_float_errors():
            return self.condition.mask(rows)

    def outcome(self, old: FlatRows, new: FlatRows, paired: int, left_out: tuple[Array, Array] | None) -> Outcome:
        """Return what becomes of rows that leave and enter.

        Parameters
        ----------
        paired : so many first rows of both are pairs: the same row before and after
        left_out : (n,) bool of the old and of the new rows: which to pass over; None for none
        """
        xp = old.backend.xp
        deleted, added = self.held(old).copy(), self.held(new).copy()
        if left_out is not None:
            deleted &= ~left_out[0]
            added &= ~left_out[1]
        stays = deleted[:paired] & added[:paired]
        partition = self.form.partition
        if partition is not None and paired:
            stays &= old.codes(partition)[:paired] == new.codes(partition)[:paired]
        deleted[:paired] &= ~stays
        added[:paired] &= ~stays
        if paired:
            stays &= self.form.differs(old, new, paired)
        return Outcome(old, new, xp.flatnonzero(deleted), xp.flatnonzero(stays), xp.flatnonzero(added))

    def told(self, method: str, rows: FlatRows, places: Array | None, owner_of: Array | None = None) -> list[Told]:
        """Return the calls that tell of the rows at (k,) `places`: one for each owner and partition.

        Parameters
        ----------
        method : records_deleted or records_added
        places : None for all of `rows`, picked by their numbers
        owner_of : (n,) int64: which commit moves each of `rows`; None if one moves them all
        """
        if not len(rows if places is None else places):
            return []
        ordered, groups = self.form.grouped(rows, places, owner_of)
        batch = self.form.batch(rows, ordered)
        return [
            (owner, Event(method, (partition, batch.slice(begin, end - begin)), end - begin))
            for owner, partition, begin, end in groups
        ]

    def updates(self, outcome: Outcome, owner_of: Array | None = None) -> list[Told]:
        """Return the calls that tell of updated rows, as `told`; `owner_of` is that of the new rows."""
        if not len(outcome.updated):
            return []
        ordered, groups = self.form.grouped(outcome.new, outcome.updated, owner_of)
        old, new = self.form.batch(outcome.old, ordered), self.form.batch(outcome.new, ordered)
        return [
            (
                owner,
                Event(
                    "records_updated",
                    (partition, old.slice(begin, end - begin), new.slice(begin, end - begin)),
                    end - begin,
                ),
            )
            for owner, partition, begin, end in groups
        ]
