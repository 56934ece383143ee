"""Three joined tables on several branches, and what a list query over them shows, in plain Python dicts.

The oracle of the stream tests. It shares no code with the engine. It remembers what every branch held at every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gpu_engine as ge

Row = tuple[Any, ...]
State = Mapping[str, Mapping[Any, Row]]
"""Table -> key -> row."""
Lines = Mapping[int, tuple[Any, ...]]
"""id -> partition, then the fields of the query."""
Step = tuple[Any, ...]
"""Name of an operation, table, what it is given."""

TYPES: Mapping[str, Mapping[str, ge.DataType]] = {
    "trades": {"id": ge.LONG, "city": ge.STRING, "day": ge.STRING, "qty": ge.LONG},
    "cities": {"name": ge.STRING, "land": ge.STRING},
    "lands": {"name": ge.STRING, "zone": ge.STRING},
}
EMPTY: State = {name: {} for name in TYPES}


def create_tables(session: ge.Session) -> None:
    tables = {
        name: session.create_table(
            name, types, keys=[next(iter(types))], partition_by="day" if name == "trades" else None
        )
        for name, types in TYPES.items()
    }
    tables["trades"].join(tables["cities"], on={"city": "name"}, name="place")
    tables["cities"].join(tables["lands"], on={"land": "name"}, name="country")


@dataclass(frozen=True)
class View:
    """A list query in both languages. The first field is the key."""

    fields: tuple[str, ...]
    where: Callable[[], ge.Condition | None]
    holds: Callable[[Mapping[str, Any]], bool]

    def lines(self, state: State) -> Lines:
        seen = {key: _seen(state, row) for key, row in state["trades"].items()}
        return {
            key: (values["day"], *(values[name] for name in self.fields))
            for key, values in seen.items()
            if self.holds(values)
        }


def _seen(state: State, row: Row) -> Mapping[str, Any]:
    values = dict(zip(TYPES["trades"], row, strict=True))
    city = state["cities"].get(values["city"])
    land = None if city is None else state["lands"].get(city[1])
    return {
        **values,
        "place.land": None if city is None else city[1],
        "place.country.zone": None if land is None else land[1],
    }


VIEWS: tuple[View, ...] = (
    View(("id", "qty", "city"), lambda: None, lambda values: True),
    View(("id",), lambda: ge.field("qty") >= 3, lambda values: values["qty"] is not None and values["qty"] >= 3),
    View(
        ("id", "place.land"),
        lambda: ge.field("place.country.zone") == "south",
        lambda values: values["place.country.zone"] == "south",
    ),
    View(
        ("id", "place.country.zone", "qty"),
        lambda: ge.field("place.land").isnull() | (ge.field("qty") < 4),
        lambda values: values["place.land"] is None or (values["qty"] is not None and values["qty"] < 4),
    ),
)


def applied(state: State, steps: Sequence[Step]) -> State:
    """Return the state after some operations."""
    tables = {name: dict(rows) for name, rows in state.items()}
    for name, table, given in steps:
        rows = tables[table]
        if name == "upsert":
            rows.update({row[0]: row for row in given})
        elif name == "update":
            rows.update({key: (*rows[key][:3], qty) for key, qty in given.items()})
        elif name == "drop_keys":
            tables[table] = {key: row for key, row in rows.items() if key not in given}
        elif name == "drop_below":
            tables[table] = {key: row for key, row in rows.items() if row[3] is None or row[3] >= given}
        elif name == "drop_partition":
            tables[table] = {key: row for key, row in rows.items() if row[2] != given}
        else:
            assert name == "truncate"
            tables[table] = {}
    return tables


def possible(state: State, steps: Sequence[Step]) -> list[Step]:
    """Return the operations without updates of rows that will not be there."""
    found: list[Step] = []
    for name, table, given in steps:
        if name == "update":
            given = {key: value for key, value in given.items() if key in state[table]}
        if name != "update" or given:
            found.append((name, table, given))
            state = applied(state, found[-1:])
    return found


def perform(session: ge.Session, steps: Sequence[Step]) -> None:
    """Ask the engine for the operations."""
    for name, table, given in steps:
        target = session.tables[table]
        if name == "upsert":
            target.append(*given)
        elif name == "update":
            target.update([{"id": key, "qty": qty} for key, qty in given.items()])
        elif name == "drop_keys":
            target.drop(keys=list(given))
        elif name == "drop_below":
            target.drop(ge.field("qty") < given)
        elif name == "drop_partition":
            target.drop_partition(given)
        else:
            target.truncate()


def calls_for(view: View, before: State, after: State, steps: Sequence[Step]) -> list[tuple[str, Any, list[Any]]]:
    """Return (name, partition, rows) of every call that a listener must get for a commit, sorted; updates as pairs."""
    was, now = view.lines(before), view.lines(after)
    cleared, calls = _cleared(before, steps), []
    if cleared is None:
        calls.append(("truncate", None, []))
        was = {}
    else:
        for partition in cleared:
            gone = [line[1:] for line in was.values() if line[0] == partition]
            if gone:
                calls.append(("partition_dropped", partition, gone))
        was = {key: line for key, line in was.items() if line[0] not in cleared}
    stays = {key for key in was.keys() & now.keys() if was[key][0] == now[key][0]}
    if cleared is not None:
        stays = {key for key in stays if now[key][0] not in cleared}
    calls += _by_partition("records_deleted", (line for key, line in was.items() if key not in stays))
    calls += _by_partition("records_added", (line for key, line in now.items() if key not in stays))
    pairs = ((now[key][0], was[key][1:], now[key][1:]) for key in stays if was[key] != now[key])
    calls += _by_partition("records_updated", pairs)
    return sorted(((name, partition, sorted(rows, key=repr)) for name, partition, rows in calls), key=repr)


def _cleared(before: State, steps: Sequence[Step]) -> list[Any] | None:
    """Return the partitions that a transaction clears before anything else; None if it clears all of the table."""
    partitions: list[Any] = []
    for name, table, given in steps:
        if table != "trades":
            continue
        if name == "truncate":
            return None if before["trades"] else []
        if name != "drop_partition":
            break
        partitions.append(given)
    return list(dict.fromkeys(partitions))


def _by_partition(name: str, lines: Iterable[tuple[Any, ...]]) -> list[tuple[str, Any, list[Any]]]:
    found: dict[Any, list[Any]] = {}
    for partition, *rest in lines:
        found.setdefault(partition, []).append(tuple(rest))
    return [(name, partition, rows) for partition, rows in found.items()]


class History:
    """What every branch held at every epoch, and every transaction in the order in which it ended."""

    def __init__(self) -> None:
        self.states: dict[str, list[tuple[int, State]]] = {"master": [(0, EMPTY)]}
        self.ended: list[tuple[str, int, str]] = []
        """(branch, epoch, how it ended)"""
        self.commits: dict[int, tuple[State, State, Sequence[Step]]] = {}
        """epoch -> state before, state after, operations"""

    @property
    def epoch(self) -> int:
        return max(self.commits, default=0)

    def state(self, branch: str, epoch: int | None = None) -> State:
        """Return what a branch held at an epoch, by default at its newest."""
        return [state for at, state in self.states[branch] if epoch is None or at <= epoch][-1]

    def known_at(self, epoch: int) -> list[str]:
        """Return the branches that were there at an epoch."""
        return [name for name, states in self.states.items() if states[0][0] <= epoch]

    def commit(self, branch: str, epoch: int, steps: Sequence[Step]) -> None:
        before = self.state(branch)
        after = applied(before, steps)
        self.states[branch].append((epoch, after))
        self.commits[epoch] = (before, after, steps)
        self.ended.append((branch, epoch, "transaction_committed"))

    def fork(self, name: str, parent: str, epoch: int) -> None:
        self.states[name] = [(epoch, self.state(parent, epoch))]
