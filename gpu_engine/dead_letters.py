"""The dead letters of a session: list them, try them again, discard them.

Floor 5. They are kept with the transactions that went on without them, so a data directory has them too. Trying one
again is one transaction: its rows come and the letter goes, or nothing happens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_engine.database.database import Database
from gpu_engine.database.dead_letter import CSV, KAFKA, DeadLetter
from gpu_engine.database.source_notes import GONE
from gpu_engine.database.table import Table
from gpu_engine.database.transaction import Transactions
from gpu_engine.errors import EngineError, InvalidModelError, KafkaError, UnknownDeadLetterError
from gpu_engine.kafka_staging import operations_of, record_in
from gpu_engine.loading import csv_rows
from loaders.kafka_record import Content, Deserializer, Tombstone, decode

__all__ = ["DeadLetters", "ReplayReport"]

Fix = Callable[[DeadLetter], Any]
"""What to load instead of a dead letter: a row as a mapping, several of them, or None for nothing."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What came of trying dead letters again."""

    replayed: tuple[str, ...]
    """Ids of those whose rows are in their table now."""
    refused: Mapping[str, str]
    """Id -> what is still wrong; these are kept."""


class DeadLetters:
    """A sequence of dead letters, oldest first. The newest 10,000 are kept, and of them at most about 64 MiB."""

    def __init__(
        self,
        database: Database,
        tables: Mapping[str, Table],
        transactions: Transactions,
        deserializer: Callable[[str, str], Deserializer | None],
    ) -> None:
        self._database, self._tables, self._transactions = database, tables, transactions
        self._deserializer = deserializer

    def __len__(self) -> int:
        return len(self._database.notes.dead_letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self.list())

    def __getitem__(self, letter_id: str) -> DeadLetter:
        """Return a dead letter by its id; UnknownDeadLetterError if it is not there."""
        try:
            return DeadLetter.from_json(self._database.notes.dead_letters[letter_id])
        except KeyError:
            raise UnknownDeadLetterError(str(letter_id), self._database.notes.dead_letters) from None

    @property
    def dropped_total(self) -> int:
        """Dead letters that had to go for newer ones."""
        return self._database.notes.dropped_total

    def list(self, table: str | None = None, limit: int | None = None) -> list[DeadLetter]:
        """Return the dead letters, oldest first, by default of all tables; with a limit the oldest."""
        kept = self._database.notes.dead_letters.values()
        wanted = [letter for letter in kept if table is None or letter["table"] == table]
        return [DeadLetter.from_json(letter) for letter in wanted[:limit]]

    def replay(self, ids: Iterable[str] | None = None, fix: Fix | None = None) -> ReplayReport:
        """Try dead letters again, each in a transaction of its own; those that still do not fit are kept.

        Parameters
        ----------
        ids : which; by default all
        fix : what to load instead: from a dead letter to a row as a mapping, several of them, or None for nothing. By
            default the raw record is read again: a message by the deserializer of the last load of its topic in this
            session, a line of a file by the types of its table.

        Raises
        ------
        UnknownDeadLetterError
            If an id is not there. None is tried then.
        """
        replayed: list[str] = []
        refused: dict[str, str] = {}
        for letter in self._chosen(ids):
            try:
                contents = self._contents(letter, fix)
                with self._transactions.start() as transaction:
                    transaction.operations += operations_of(self._tables[letter.table].store, contents)
                    transaction.dead_letters.append(_gone(letter))
            except EngineError as error:
                refused[letter.id] = str(error)
            except Exception as error:  # whatever a deserializer or a fix of the user's raises
                refused[letter.id] = f"{type(error).__name__}: {error}"
            else:
                replayed.append(letter.id)
        return ReplayReport(tuple(replayed), refused)

    def discard(self, ids: Iterable[str] | None = None) -> int:
        """Forget dead letters, by default all; return how many.

        Raises
        ------
        UnknownDeadLetterError
            If an id is not there. None is forgotten then.
        """
        chosen = self._chosen(ids)
        if chosen:
            with self._transactions.start() as transaction:
                transaction.dead_letters += [_gone(letter) for letter in chosen]
        return len(chosen)

    def _chosen(self, ids: Iterable[str] | None) -> Sequence[DeadLetter]:
        if ids is None:
            return self.list()
        return [self[letter_id] for letter_id in ([ids] if isinstance(ids, str) else ids)]

    def _contents(self, letter: DeadLetter, fix: Fix | None) -> Sequence[Content]:
        """Return the rows of a letter, and rows that end, as they would be loaded now."""
        if fix is not None:
            found = fix(letter)
            if found is None:
                return []
            return [found] if isinstance(found, Mapping | Tombstone) else list(found)
        if letter.form == KAFKA:
            topic = str(letter.position["topic"])
            deserializer = self._deserializer(topic, letter.table)
            if deserializer is None:
                raise KafkaError(
                    topic,
                    f"no load of this session has said how its messages become rows of table {letter.table!r}. Start "
                    "the load again, or give fix=.",
                )
            return decode(record_in(letter), deserializer)
        raw = (letter.raw or b"").decode()
        if letter.form == CSV:
            return csv_rows(letter.source, letter.context["header"], raw, self._tables[letter.table].types)
        row = json.loads(raw)
        if isinstance(row, Mapping):
            return [row]
        columns = self._tables[letter.table].columns
        if not isinstance(row, list) or len(row) != len(columns):
            raise InvalidModelError(f"{raw} is no row of {len(columns)} values {list(columns)}. Give fix=.")
        return [dict(zip(columns, row, strict=True))]


def _gone(letter: DeadLetter) -> dict[str, Any]:
    return {"id": letter.id, GONE: True}
