"""A session that is restarted at any moment is the session that was not: against plain dicts.

A restart closes the session and opens its directory again. A crash opens a copy of the directory, made while the
session works; the copy is then what goes on. The oracle keeps every state of every branch for ever.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import gpu_engine as ge

FACTS, PRODUCTS, LOG = "facts", "products", "log"
NAMES = ("x", "y", "z")
KEPT_EPOCHS = 2

Row = tuple[Any, ...]
State = Mapping[str, Mapping[Any, Row]]
"""Table -> key -> row. A row of the log, which has no key, goes by the number of its writing."""


@dataclass
class Line:
    """A branch: what it held from each of its epochs on."""

    parent: Line | None
    fork: int
    states: dict[int, State] = field(default_factory=dict)

    def at(self, epoch: int) -> State:
        own = [one for one in self.states if one <= epoch]
        if own:
            return self.states[max(own)]
        assert self.parent is not None
        return self.parent.at(min(epoch, self.fork))

    @property
    def head(self) -> int:
        return max(self.states, default=self.fork)


KEYS, CODES = st.integers(0, 6), st.sampled_from(["P0", "P1", "P2"])
REGIONS = st.sampled_from(["north", "south", None])
FACT = st.tuples(KEYS, CODES, REGIONS, st.integers(-2, 2) | st.none())
OPERATION = st.one_of(
    st.tuples(st.just("upsert"), st.just(FACTS), st.lists(FACT, min_size=1, max_size=5)),
    st.tuples(st.just("upsert"), st.just(PRODUCTS), st.lists(st.tuples(CODES, REGIONS), min_size=1, max_size=2)),
    st.tuples(st.just("upsert"), st.just(LOG), st.lists(st.tuples(REGIONS, st.integers(0, 2)), min_size=1)),
    st.tuples(st.just("drop"), st.just(FACTS), st.lists(KEYS, min_size=1, max_size=3)),
    st.tuples(st.just("drop"), st.just(PRODUCTS), st.lists(CODES, min_size=1, max_size=2)),
    st.tuples(st.just("drop north"), st.just(FACTS), st.none()),
    st.tuples(st.just("drop ones"), st.just(LOG), st.none()),
    st.tuples(st.just("truncate"), st.sampled_from([FACTS, PRODUCTS, LOG]), st.none()),
)


class RestartEqualsDicts(RuleBasedStateMachine):
    """Whatever was readable and has to stay is read again, and the epochs go on where they were."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="durability-"))
        self.directories = 0
        self.lines = {"master": Line(None, 0, {0: {FACTS: {}, PRODUCTS: {}, LOG: {}}})}
        self.last = self.oldest = self.checkpointed = self.written = 0
        self.pins: list[tuple[str, int]] = []
        self.positions: dict[str, Any] = {}
        self.open(self.root / "0")

    def teardown(self) -> None:
        self.session.close()
        shutil.rmtree(self.root)

    def open(self, path: Path) -> None:
        """Start a session on a directory and run the model."""
        self.path = path
        retention = ge.RetentionPolicy(epochs=KEPT_EPOCHS)
        self.session = ge.Session("cpu", path, retention, durability="os")
        facts = self.session.create_table(
            FACTS, {"id": ge.LONG, "product": ge.STRING, "region": ge.STRING, "amount": ge.LONG}, keys=["id"]
        )
        products = self.session.create_table(PRODUCTS, {"code": ge.STRING, "region": ge.STRING}, keys=["code"])
        self.session.create_table(LOG, {"region": ge.STRING, "size": ge.LONG})
        facts.join(products, on={"product": "code"})
        self.cube = self.session.create_cube(facts)

    # -- what the oracle knows --------------------------------------------------------------------------------------

    def branch(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.lines)), "branch")

    def readable(self, name: str, epoch: int) -> bool:
        return (name, epoch) in self.pins or epoch == self.lines[name].head or self.oldest <= epoch <= self.last

    def epoch(self, data: st.DataObject, name: str) -> int:
        return data.draw(
            st.sampled_from([epoch for epoch in range(self.last + 1) if self.readable(name, epoch)]), "epoch"
        )

    def applied(self, state: State, operations: Sequence[tuple[str, str, Any]]) -> State:
        tables = {name: dict(rows) for name, rows in state.items()}
        for verb, table, given in operations:
            rows = tables[table]
            if verb == "upsert":
                for row in given:
                    self.written += 1
                    rows[self.written if table == LOG else row[0]] = row
            elif verb == "drop":
                for key in given:
                    rows.pop(key, None)
            elif verb == "truncate":
                rows.clear()
            elif verb == "drop ones":
                tables[table] = {key: row for key, row in rows.items() if row[1] != 1}
            else:
                north = {code for code, row in tables[PRODUCTS].items() if row[1] == "north"}
                tables[table] = {key: row for key, row in rows.items() if row[1] not in north}
        return tables

    # -- what happens -----------------------------------------------------------------------------------------------

    @rule(data=st.data(), transactions=st.lists(st.lists(OPERATION, min_size=1, max_size=4), min_size=1, max_size=5))
    def commit(self, data: st.DataObject, transactions: list[list[tuple[str, str, Any]]]) -> None:
        for operations in transactions:
            self.transact(self.branch(data), operations, data.draw(st.none() | st.integers(0, 99), "position"))

    def transact(self, name: str, operations: list[tuple[str, str, Any]], position: int | None) -> None:
        line = self.lines[name]
        before = line.at(self.last)
        after = self.applied(before, operations)
        with self.session.start_transaction(name) as transaction:
            for operation in operations:
                self.apply(*operation)
            if position is not None:
                transaction.positions[name] = self.positions[name] = {"offset": position}
        if after != before:
            self.last += 1
            line.states[self.last] = after
        assert transaction.report is not None
        assert transaction.report.epoch == line.head

    def apply(self, verb: str, name: str, given: Any) -> None:
        table = self.session.tables[name]
        if verb == "upsert":
            table.append(*given)
        elif verb == "drop":
            table.drop(keys=given)
        elif verb == "truncate":
            table.truncate()
        elif verb == "drop ones":
            table.drop(table["size"] == 1)
        else:
            table.drop(ge.field("products.region") == "north")

    @precondition(lambda self: len(self.lines) <= len(NAMES))
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        name = next(name for name in NAMES if name not in self.lines)
        parent = self.branch(data)
        epoch = self.epoch(data, parent)
        self.session.branches.create(name, parent, epoch)
        self.lines[name] = Line(self.lines[parent], min(epoch, self.lines[parent].head))
        self.checkpointed_meanwhile()

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self.branch(data)
        line = self.lines[name]
        in_use = name == "master" or any(pinned == name for pinned, _ in self.pins)
        if not in_use and not any(other.parent is line for other in self.lines.values()):
            self.session.branches.delete(name)
            del self.lines[name]

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        name = self.branch(data)
        pin = self.session.pin(self.epoch(data, name), name)
        self.pins.append((name, pin.epoch))
        self.checkpointed_meanwhile()

    @precondition(lambda self: len(self.pins) > 1)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        assert self.session.data_directory is not None
        pins = self.session.data_directory.pins
        assert sorted((pin.branch, pin.epoch) for pin in pins) == sorted(self.pins)
        pin = pins[data.draw(st.integers(0, len(pins) - 1))]
        pin.release()
        self.pins.remove((pin.branch, pin.epoch))

    @rule()
    def compact(self) -> None:
        self.oldest = max(self.oldest, self.session.compact().oldest_epoch)

    @rule()
    def checkpoint(self) -> None:
        assert self.session.data_directory is not None
        self.session.data_directory.checkpoint()
        self.checkpointed_meanwhile()

    def checkpointed_meanwhile(self) -> None:
        assert self.session.data_directory is not None
        self.checkpointed = self.session.data_directory.statistics().checkpoint_epoch

    @rule()
    def restart(self) -> None:
        self.session.close()
        self.open(self.path)
        self.oldest = self.checkpointed
        self.all_is_there()

    @rule()
    def crash(self) -> None:
        self.directories += 1
        copy = self.root / str(self.directories)
        shutil.copytree(self.path, copy)
        self.session.close()
        self.open(copy)
        self.oldest = self.checkpointed
        self.all_is_there()

    # -- what must hold ---------------------------------------------------------------------------------------------

    @rule()
    def all_is_there(self) -> None:
        branches = {one.name: one for one in self.session.branches.list()}
        assert {name: one.epoch for name, one in branches.items()} == {
            name: line.head for name, line in self.lines.items()
        }
        assert {name: one.fork_epoch for name, one in branches.items()} == {
            name: line.fork for name, line in self.lines.items()
        }
        assert sorted(self.session.statistics().pins) == sorted(self.pins)
        assert self.session.positions == self.positions
        for name, line in self.lines.items():
            for epoch in range(self.last + 1):
                if self.readable(name, epoch):
                    self.reads(name, epoch, line.at(epoch))

    def reads(self, name: str, epoch: int, state: State) -> None:
        version = self.session.database.version(name, epoch)
        for table, rows in state.items():
            columns = version.list(table).to_pydict().values()
            found = list(zip(*columns, strict=True))
            expected = list(rows.values())
            # Rows of the log have no key: their order is all that tells them apart.
            assert found == expected if table == LOG else sorted(found, key=repr) == sorted(expected, key=repr)
        total = sum(row[3] or 0 for row in state[FACTS].values())
        if state[FACTS]:
            assert self.cube.query("amount.SUM", branch=name, epoch=epoch).iloc[0, 0] == total


RestartEqualsDicts.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRestartEqualsDicts = RestartEqualsDicts.TestCase
