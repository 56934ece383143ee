"""Branches, versions, pins, compaction, diffs and live queries in any order, against plain dicts.

The oracle keeps the whole state of each branch at each of its epochs, for ever, and computes every answer from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import gpu_engine as ge

KEPT_EPOCHS = 2
FACTS, PRODUCTS, LOG = "facts", "products", "log"
COLUMNS = {FACTS: ("id", "product", "region", "amount"), PRODUCTS: ("code", "color"), LOG: ("line", "size")}
NAMES = ("x", "y", "z")

Row = tuple[Any, ...]
State = Mapping[str, Mapping[Any, Row]]
"""Table -> key -> row. A row of the log, which has no key, goes by the number of its writing."""
Cells = dict[Row, Row]


@dataclass(eq=False)
class Line:
    """A branch: what it held from each of its epochs on."""

    parent: Line | None
    fork: int
    states: dict[int, State] = field(default_factory=dict)
    made: int = 0
    """The newest epoch of all when it was made."""
    deleted: int | None = None
    """The same when it was deleted."""

    def at(self, epoch: int) -> State:
        own = [one for one in self.states if one <= epoch]
        if own:
            return self.states[max(own)]
        assert self.parent is not None
        return self.parent.at(min(epoch, self.fork))

    @property
    def head(self) -> int:
        return max(self.states, default=self.fork)


def cells_of(state: State) -> Cells:
    """Sum of amounts and number of facts by color and region."""
    cells: Cells = {}
    for _, product, region, amount in state[FACTS].values():
        color = state[PRODUCTS][product][1] if product in state[PRODUCTS] else None
        total, count = cells.get((color, region), (0, 0))
        cells[color, region] = (total + amount, count + 1)
    return cells


def rows_of(table: pa.Table) -> Counter[Row]:
    return Counter(zip(*(column.to_pylist() for column in table.columns), strict=True))


def cells_in(table: pa.Table) -> Cells:
    return {row[:2]: row[2:] for row in rows_of(table)}


def fold(cells: Cells, change: ge.CellChange) -> Cells:
    """Return the cells after a change, which must fit them exactly."""
    cells = {} if change.snapshot else dict(cells)
    for key, values in cells_in(change.removed).items():
        assert cells.pop(key) == values
    old, new = cells_in(change.changed_from), cells_in(change.changed)
    assert old.keys() == new.keys()
    for key in new:
        assert cells[key] == old[key] != new[key]
        cells[key] = new[key]
    for key, values in cells_in(change.added).items():
        assert key not in cells
        cells[key] = values
    return cells


KEYS, CODES = st.integers(0, 6), st.sampled_from(["P0", "P1", "P2"])
FACT = st.tuples(KEYS, CODES, st.sampled_from(["north", "south", None]), st.integers(-9, 9))
PRODUCT = st.tuples(CODES, st.sampled_from(["red", "blue"]))
OPERATION = st.one_of(
    st.tuples(st.just("upsert"), st.just(FACTS), st.lists(FACT, min_size=1, max_size=5)),
    st.tuples(st.just("upsert"), st.just(PRODUCTS), st.lists(PRODUCT, min_size=1, max_size=2)),
    st.tuples(st.just("upsert"), st.just(LOG), st.lists(st.tuples(st.just("l"), st.integers(0, 2)), min_size=1)),
    st.tuples(st.just("drop"), st.just(FACTS), st.lists(KEYS, min_size=1, max_size=3)),
    st.tuples(st.just("drop"), st.just(PRODUCTS), st.lists(CODES, min_size=1, max_size=2)),
    st.tuples(st.just("drop red"), st.just(FACTS), st.none()),
    st.tuples(st.just("drop ones"), st.just(LOG), st.none()),
    st.tuples(st.just("truncate"), st.sampled_from([FACTS, PRODUCTS, LOG]), st.none()),
)


class BranchesEqualDicts(RuleBasedStateMachine):
    """Every readable version equals what the dicts remember, whatever was compacted, pinned or deleted before."""

    def __init__(self) -> None:
        super().__init__()
        self.session = ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=KEPT_EPOCHS))
        facts = self.session.create_table(
            FACTS, {"id": ge.LONG, "product": ge.STRING, "region": ge.STRING, "amount": ge.LONG}, keys=["id"]
        )
        products = self.session.create_table(PRODUCTS, {"code": ge.STRING, "color": ge.STRING}, keys=["code"])
        self.session.create_table(LOG, {"line": ge.STRING, "size": ge.LONG})
        facts.join(products, on={"product": "code"})
        self.cube = self.session.create_cube(facts)
        self.lines = {"master": Line(None, 0, {0: {FACTS: {}, PRODUCTS: {}, LOG: {}}})}
        self.past = list(self.lines.items())
        """Every branch that there ever was, with its name."""
        self.last = self.oldest = self.written = 0
        self.pins: list[tuple[str, ge.Pin]] = []
        self.held: list[tuple[ge.QueryRunner, State]] = []
        self.live: dict[str, tuple[ge.LiveQuery, list[tuple[int, Cells]]]] = {}

    def teardown(self) -> None:
        self.session.close()

    # -- what the oracle knows --------------------------------------------------------------------------------------

    def branch(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.lines)), "branch")

    def readable(self, name: str, epoch: int) -> bool:
        pinned = any((name, epoch) == (other, pin.epoch) for other, pin in self.pins)
        return pinned or epoch == self.lines[name].head or self.oldest <= epoch <= self.last

    def readable_epochs(self, name: str) -> list[int]:
        return [epoch for epoch in range(self.last + 1) if self.readable(name, epoch)]

    def epoch(self, data: st.DataObject, name: str) -> int:
        return data.draw(st.sampled_from(self.readable_epochs(name)), "epoch")

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
                red = {code for code, row in tables[PRODUCTS].items() if row[1] == "red"}
                tables[table] = {key: row for key, row in rows.items() if row[1] not in red}
        return tables

    # -- writing ----------------------------------------------------------------------------------------------------

    @rule(data=st.data(), transactions=st.lists(st.lists(OPERATION, min_size=1, max_size=4), min_size=1, max_size=5))
    def commit(self, data: st.DataObject, transactions: list[list[tuple[str, str, Any]]]) -> None:
        for operations in transactions:
            self.transact(self.branch(data), operations, fails=data.draw(st.integers(0, 7), "fails") == 7)

    def transact(self, name: str, operations: list[tuple[str, str, Any]], fails: bool) -> None:
        line = self.lines[name]
        before = line.at(self.last)
        after = self.applied(before, operations)
        try:
            with self.session.start_transaction(name) as transaction:
                for operation in operations:
                    self.apply(*operation)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return
        if after != before:
            self.last += 1
            line.states[self.last] = after
        assert transaction.report is not None
        assert (transaction.report.epoch, transaction.report.branch) == (line.head, name)

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
            table.drop(ge.field("products.color") == "red")

    # -- branches ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.lines) <= len(NAMES))
    @rule(data=st.data(), at_head=st.booleans())
    def fork(self, data: st.DataObject, at_head: bool) -> None:
        name = next(name for name in NAMES if name not in self.lines)
        parent = self.branch(data)
        epoch = None if at_head else self.epoch(data, parent)
        made = self.session.branches.create(name, parent, epoch)
        fork = self.lines[parent].head if epoch is None else min(epoch, self.lines[parent].head)
        assert (made.parent, made.fork_epoch, made.epoch) == (parent, fork, fork)
        self.lines[name] = Line(self.lines[parent], fork, made=self.last)
        self.past.append((name, self.lines[name]))

    def in_use(self, name: str) -> bool:
        parents = [line.parent for line in self.lines.values()]
        pinned = [branch for branch, _ in self.pins]
        return name == "master" or name in self.live or name in pinned or self.lines[name] in parents

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self.branch(data)
        if self.in_use(name):
            with pytest.raises(ge.errors.BranchInUseError):
                self.session.branches.delete(name)
            return
        self.session.branches.delete(name)
        self.lines.pop(name).deleted = self.last
        with pytest.raises(ge.errors.UnknownBranchError):
            self.cube.query("amount.SUM", branch=name)

    # -- keeping and reclaiming -------------------------------------------------------------------------------------

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        name = self.branch(data)
        epoch = self.epoch(data, name)
        pin = self.session.pin(epoch, name)
        assert pin.epoch == min(epoch, self.lines[name].head)
        self.pins.append((name, pin))

    @precondition(lambda self: len(self.pins) > 2)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        _, pin = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
        pin.release()

    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        name = self.branch(data)
        epoch = self.epoch(data, name)
        self.held.append((self.session.database.version(name, epoch), self.lines[name].at(epoch)))

    @precondition(lambda self: len(self.held) > 2)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))

    def oldest_wanted(self) -> int:
        return self.last - KEPT_EPOCHS

    @rule()
    def compact(self) -> None:
        report = self.session.compact()
        self.oldest = max(self.oldest, self.oldest_wanted())
        assert report.oldest_epoch == self.oldest
        self.every_readable_version_is_right()
        self.every_other_epoch_is_refused()
        for runner, state in self.held:
            assert_reads(runner, state)

    # -- live queries -----------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def open_live(self, data: st.DataObject) -> None:
        name = self.branch(data)
        if name not in self.live:
            live = self.cube.live("amount.SUM", "contributors.COUNT", levels=["color", "region"], branch=name)
            self.live[name] = (live, [])

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def close_live(self, data: st.DataObject) -> None:
        self.live.pop(data.draw(st.sampled_from(sorted(self.live))))[0].close()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        live, line = self.live[name][0], self.lines[name]
        known = data.draw(st.none() | st.integers(0, self.last), "known epoch")
        cells = {} if known is None else cells_of(line.at(known))
        changes, reached = live.changes_since(known)
        assert reached == line.head
        for change in changes:
            cells = fold(cells, change)
            assert cells == cells_of(line.at(change.epoch))
        assert cells == cells_of(line.at(reached))
        assert cells_in(live.result(mode="arrow")) == cells

    # -- reading ----------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def diff(self, data: st.DataObject) -> None:
        names = self.branch(data), self.branch(data)
        since, until = ((name, self.epoch(data, name)) for name in names)
        old, new = self.lines[since[0]].at(since[1]), self.lines[until[0]].at(until[1])
        found = self.session.diff(since, until)
        for table in COLUMNS:
            was, now = old[table], new[table]
            both = [key for key in was if key in now and was[key] != now[key]]
            expected = (
                Counter(now[key] for key in now if key not in was),
                Counter(was[key] for key in was if key not in now),
                Counter((was[key], now[key]) for key in both),
            )
            assert (table in found) == any(expected)
            if table in found:
                given = found[table]
                pairs = zip(
                    *(
                        list(map(tuple, zip(*part.to_pydict().values(), strict=True)))
                        for part in (given.updated_old, given.updated_new)
                    ),
                    strict=True,
                )
                assert (rows_of(given.added), rows_of(given.removed), Counter(pairs)) == expected
        change = self.cube.diff(
            "amount.SUM", "contributors.COUNT", levels=["color", "region"], since=since, until=until
        )
        before, after = cells_of(old), cells_of(new)
        assert (change is None) == (before == after)
        assert change is None or fold(before, change) == after

    @rule()
    def every_readable_version_is_right(self) -> None:
        for name in self.lines:
            for epoch in self.readable_epochs(name):
                self.assert_version(name, epoch)

    def assert_version(self, name: str, epoch: int) -> None:
        state = self.lines[name].at(epoch)
        runner = self.session.database.version(name, epoch)
        assert (runner.branch, runner.epoch) == (name, min(epoch, self.lines[name].head))
        assert_reads(runner, state)
        cells = self.cube.query(
            "amount.SUM", "contributors.COUNT", levels=["color", "region"], branch=name, epoch=epoch, mode="arrow"
        )
        assert cells_in(cells) == cells_of(state)

    def every_other_epoch_is_refused(self) -> None:
        for name in self.lines:
            for epoch in (-1, *range(self.last + 2)):
                if not self.readable(name, epoch):
                    with pytest.raises(ge.errors.EpochNotRetainedError):
                        self.session.database.version(name, epoch)

    @rule(data=st.data())
    def member_counts(self, data: st.DataObject) -> None:
        name = self.branch(data)
        epoch = data.draw(st.none() | st.sampled_from(self.readable_epochs(name)), "epoch")
        state = self.lines[name].at(self.last if epoch is None else epoch)
        regions = Counter(row[2] for row in state[FACTS].values())
        found = self.cube.hierarchies["region"].members(branch=name, epoch=epoch)
        assert {path[0]: count for path, count in found.items()} == regions

    @invariant()
    def heads_are_right(self) -> None:
        assert {info.name: info.epoch for info in self.session.branches.list()} == {
            name: line.head for name, line in self.lines.items()
        }
        for name, line in self.lines.items():
            runner = self.session.database.version(name)
            assert_reads(runner, line.at(self.last))


def assert_reads(runner: ge.QueryRunner, state: State) -> None:
    for table, rows in state.items():
        assert rows_of(runner.list(table)) == Counter(rows.values())
    for key in range(7):
        row = runner.get(FACTS, key)
        expected = state[FACTS].get(key)
        assert (None if row is None else tuple(row.values())) == expected
    assert runner.statistics(FACTS).row_count == len(state[FACTS])


TestBranchesEqualDicts = BranchesEqualDicts.TestCase
TestBranchesEqualDicts.settings = settings(
    max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
