"""Joins: a row points to the entity of the key that it names in another table.

Floor 3. It points there also when no row of that key has arrived, so a late, changed or deleted row touches exactly the
rows that point to its entity, and those are found through postings without reading anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.errors import InvalidJoinError
from gpu_engine.schema import INT, LONG
from gpu_engine.storage.column import Column, Values
from gpu_engine.storage.dictionary import Dictionary
from gpu_engine.storage.entity_index import key_part
from gpu_engine.storage.growable import GrowableArray
from gpu_engine.storage.pointers import Pointers
from gpu_engine.storage.table_store import TableStore

__all__ = ["Join", "Reference", "check_join"]


class Join:
    """Many rows of `source` to at most one row of `target`, by all key columns of the target."""

    def __init__(
        self, name: str, source: TableStore, target: TableStore, on: Mapping[str, str], *, optional: bool
    ) -> None:
        self.name, self.source, self.target, self.optional = name, source, target, optional
        self.on = dict(on)
        """Column of the source -> key column of the target."""
        assert target.entities is not None
        by_target = {target_column: source_column for source_column, target_column in on.items()}
        self._pairs = [(source.columns[by_target[key.name]], key) for key in target.entities.columns]
        self._translations = [
            _Translation(source.backend, ours.dictionary, theirs.dictionary.encode) if ours.coded else None
            for ours, theirs in self._pairs
        ]
        self._entities: _Translation | None = None
        """For a key that is one text: the entity that each text names."""
        if len(self._pairs) == 1 and self._translations[0] is not None:
            self._entities = _Translation(source.backend, self._pairs[0][0].dictionary, self._entities_of)
        source.rows.pointers[self] = Pointers(source.backend)

    def point(self, start: int, values: Mapping[str, Values]) -> None:
        """Write where rows start, start + 1, ... of the source point to: nowhere if a part of the key is null.

        Parameters
        ----------
        values : column -> (n,) values, at least of the columns that the join goes by
        """
        if self._entities is not None:
            entities = self._entities.codes(values[self._pairs[0][0].name].data)
        else:
            entities = self._found(values)
        self.target.ensure_entities()
        self.source.rows.pointers[self].write(start, entities)

    def _entities_of(self, texts: pa.Array) -> Array:
        """Return (n,) int32 entities of the target by texts that are each a whole key."""
        assert self.target.entities is not None
        _, key = self._pairs[0]
        return self.target.entities.insert([key_part(key, key.ingest(texts))])

    def _found(self, values: Mapping[str, Values]) -> Array:
        """Return (n,) int32 entities that rows of some values point to."""
        xp = self.source.backend.xp
        target_index = self.target.entities
        assert target_index is not None
        parts, valid = [], None
        for (ours, theirs), translation in zip(self._pairs, self._translations, strict=True):
            own = values[ours.name]
            if translation is not None:
                part = translation.codes(own.data).astype("int64")
                present = part >= 0
            else:
                part, present = key_part(theirs, own), own.valid
            parts.append(part)
            if present is not None:
                valid = present if valid is None else valid & present
        if valid is None or self.source.backend.scalar(valid.all()):
            return target_index.insert(parts)
        entities = xp.full(len(valid), -1, dtype="int32")
        entities[valid] = target_index.insert([part[valid] for part in parts])
        return entities


class _Translation:
    """Codes of one dictionary as codes, or entities, of another table, extended as the dictionary grows."""

    def __init__(self, backend: ArrayBackend, source: Dictionary, encode: Callable[[pa.Array], Array]) -> None:
        self._source, self._encode = source, encode
        self._codes = GrowableArray(backend, "int32")

    def codes(self, source_codes: Array) -> Array:
        """Return (n,) int32 what (n,) source codes stand for; -1 stays -1."""
        known, size = self._codes.length, len(self._source)
        if known < size:
            fresh = self._source.values(size).slice(known)
            self._codes.write(known, self._encode(fresh))
        found = self._codes.buffer.take(source_codes)
        found[source_codes < 0] = -1
        return found


class Reference:
    """A column seen from the rows of some root table: a path of joins, then a column of where they end."""

    __slots__ = ("_hash", "column", "joins", "path")

    def __init__(self, joins: tuple[Join, ...], column: Column) -> None:
        self.joins = joins
        """Joins to follow from the root; empty for a column of the root itself."""
        self.column = column
        self.path = ".".join([*(join.name for join in joins), column.name])
        """How a user writes it: `product.color`."""
        self._hash = hash((joins, column))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Reference) and self.column is other.column and self.joins == other.joins

    def __repr__(self) -> str:
        return f"Reference({self.path!r})"

    @property
    def nullable(self) -> bool:
        """Whether a row may find nothing there although the column itself holds no null."""
        return bool(self.joins)


def check_join(source: TableStore, target: TableStore, on: Mapping[str, str]) -> None:
    """Refuse a join that does not go to all keys of the target by columns of the same types.

    Raises
    ------
    InvalidJoinError
        If the target has no key, `on` does not name each key column once, or two types differ (INT joins LONG).
    """
    where = f"join {source.name!r} -> {target.name!r}"
    keys = target.schema.keys
    if not keys:
        raise InvalidJoinError(f"{where}: the target has no key. Create table {target.name!r} with keys=[...].")
    if sorted(on.values()) != sorted(keys):
        raise InvalidJoinError(
            f"{where}: on={dict(on)!r} must map columns to all keys of the target, each once. Its keys: {list(keys)}."
        )
    for ours, theirs in on.items():
        left, right = source.schema.types[ours], target.schema.types[theirs]
        if left != right and {left, right} != {INT, LONG}:
            raise InvalidJoinError(f"{where}: {ours!r} is {left} but {theirs!r} is {right}. Give both the same type.")
