"""Listeners of streams and of live queries for the machine of branches, held against the oracle's whole past."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gpu_engine as ge
from tests.engine.streams import TIMEOUT, Boom, Failing, Lines, Recorder, ended

Row = tuple[Any, ...]
State = Mapping[str, Mapping[Any, Row]]

METHODS = (
    "transaction_started",
    "truncate",
    "records_deleted",
    "records_updated",
    "records_added",
    "transaction_committed",
    "transaction_rolled_back",
)


@dataclass(frozen=True)
class Followed:
    """A list query of facts in both languages."""

    fields: tuple[str, ...]
    where: Callable[[], ge.Condition | None]
    holds: Callable[[Mapping[str, Any]], bool]

    def lines(self, state: State) -> Lines:
        """Return the rows that it lists, as a recorder knows them: in front the partition, which is none."""
        found: Lines = Counter()
        for key, code, region, amount in state["facts"].values():
            color = state["products"][code][1] if code in state["products"] else None
            row = {"id": key, "region": region, "amount": amount, "products.color": color}
            if self.holds(row):
                found[(None, *(row[name] for name in self.fields))] += 1
        return found

    def prepared(self, session: ge.Session) -> ge.PreparedListQuery:
        return session.database.prepare.list("facts", self.fields, self.where())


FOLLOWED: Sequence[Followed] = (
    Followed(("id", "region", "amount"), lambda: None, lambda row: True),
    Followed(("id", "amount"), lambda: ge.field("products.color") == "red", lambda row: row["products.color"] == "red"),
    Followed(
        ("id", "products.color"),
        lambda: ge.field("region").isnull() | (ge.field("amount") > 2),
        lambda row: row["region"] is None or row["amount"] > 2,
    ),
)


@dataclass(frozen=True)
class Ended:
    """A transaction that has ended, as the oracle saw it."""

    line: Any
    """The branch that it was on, not only its name: another one may bear that later."""
    name: str
    epoch: int
    committed: bool


class Following:
    """A registration, and all that its listener was told."""

    def __init__(self, query: Followed, registration: ge.Registration, recorder: Recorder, begun: int) -> None:
        self.query, self.registration, self.recorder = query, registration, recorder
        self.begun = begun
        """Transactions that had ended before those that it is to be told of."""

    def check(self, ended_ones: Sequence[Ended], lines_of: Callable[[str], list[Any]], last: int) -> bool:
        """Hold what was told against the oracle, once all was told; return whether the registration goes on."""
        fails = isinstance(self.recorder, Failing)
        reached = self.registration.wait_for(last, TIMEOUT)
        failed = self.registration.error is not None
        assert reached or (fails and failed)
        if failed:
            assert isinstance(self.registration.error, Boom)
            assert ended(self.registration)
            assert self.recorder.failure is self.registration.error
        branch = self.registration.options.branch
        due = [one for one in ended_ones[self.begun :] if branch in (None, one.name)]
        place = 0
        for told in self.recorder.told:
            if told.info.initial:
                assert told.known in [self.query.lines(line.at(told.epoch)) for line in lines_of(told.branch)]
                continue
            wanted = (told.branch, told.epoch, told.end == "transaction_committed")
            while (due[place].name, due[place].epoch, due[place].committed) != wanted:
                assert due[place].line.deleted, f"passed over {due[place]}"
                place += 1
            if told.end == "transaction_committed":
                assert told.known == self.query.lines(due[place].line.at(told.epoch))
            place += 1
        if not failed:
            # A rollback moves no epoch, so it may still be on its way.
            assert all(one.line.deleted or not one.committed for one in due[place:])
        return not failed


class Held(Recorder):
    """Stands still at the beginning of every transaction until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def transaction_started(self, epoch: int, info: ge.TransactionInfo) -> None:
        assert self.gate.wait(TIMEOUT)
        super().transaction_started(epoch, info)


class Raising:
    """A live query whose callback raises at the n-th change."""

    def __init__(self, cube: ge.Cube, branch: str, at: int) -> None:
        self.at, self.told = at, 0
        self.changes: list[ge.CellChange] = []
        self.live: ge.LiveQuery = cube.live(
            "amount.SUM", "contributors.COUNT", levels=["color", "region"], branch=branch, on_change=self._on_change
        )

    def _on_change(self, change: ge.CellChange) -> None:
        self.told += 1
        if self.told >= self.at:
            raise Boom(f"change {self.told}")
        self.changes.append(change)
