"""A trial: commits go to the engine and to the oracle alike, and everything that can be asked is asked of both."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

import gpu_engine as ge
from tests.oracle import Rejected
from tests.properties.actions import UNKNOWN_KEY, new_members
from tests.properties.market import ASKED, MEMBERS, QUESTIONS, RELATIONS, Market, Operation, Question, same_report
from tests.properties.subscribers import Listener, Puller

WAYS = 6
"""Ways to pull: epoch by epoch or as one change, each up to the head or to one or two epochs before it."""


class Boom(Exception):
    """Raised inside a transaction to roll it back."""


class Trial:
    """A market with subscribers.

    Parameters
    ----------
    all_kept : whether the histories of providers are long enough to forget nothing
    """

    def __init__(self, *, all_kept: bool) -> None:
        self.market = Market()
        self._all_kept = all_kept
        self.pullers = [Puller(self.market, question, all_kept=all_kept) for question in QUESTIONS]
        self.listeners = [Listener(self.market, QUESTIONS[place], all_kept=all_kept) for place in (1, 5)]
        self._fresh = 0

    def finish(self) -> None:
        """Let every subscriber catch up, and end it."""
        for puller in self.pullers:
            puller.pull()
        for listener in self.listeners:
            listener.catch_up()
        for subscriber in (*self.pullers, *self.listeners):
            subscriber.close()

    def close(self) -> None:
        """End the session."""
        self.market.session.close()

    # -- what moves -------------------------------------------------------------------------------------------------

    def commit(self, operations: list[Operation], *, nested: bool = False, fails: bool = False) -> None:
        """Commit operations as one transaction; `fails` rolls it back, `nested` opens blocks within the block."""
        market, before = self.market, self.market.session.epoch
        try:
            draft, concrete = market.plan(operations)
            changes = None if fails else market.oracle.commit(draft)
        except Rejected as rejected:
            if rejected.code == "invalid_row":
                concrete = [*market.plan(operations[: operations.index(UNKNOWN_KEY)])[1], UNKNOWN_KEY]
            with pytest.raises(ge.errors.EngineError) as caught:
                self._commit(concrete, nested)
            assert caught.value.code == rejected.code
        else:
            if changes is None:
                with suppress(Boom), market.session.start_transaction():
                    self._apply(concrete, nested)
                    raise Boom
            else:
                report = self._commit(concrete, nested)
                assert report is not None and report.epoch == market.session.epoch
                assert same_report(report, changes)
        assert market.session.epoch == market.oracle.epoch
        assert market.session.epoch - before in (0, 1)

    def grow(self, count: int) -> None:
        """Bring in members that no dictionary knows yet, so that cells have to move to other places."""
        self.commit(new_members(self._fresh, count))
        self._fresh += count

    def _commit(self, operations: list[Operation], nested: bool) -> ge.CommitReport | None:
        if len(operations) == 1 and not nested:
            return self.market.apply(operations[0])
        with self.market.session.start_transaction() as transaction:
            self._apply(operations, nested)
        return transaction.report

    def _apply(self, operations: list[Operation], nested: bool) -> None:
        for place, operation in enumerate(operations):
            if nested and place % 2:
                with self.market.session.start_transaction():
                    assert self.market.apply(operation) is None
            else:
                assert self.market.apply(operation) is None

    # -- who looks --------------------------------------------------------------------------------------------------

    def pull(self, place: int) -> None:
        """Let some of the subscribers catch up, each in one of the `WAYS`; the others fall behind."""
        way, place_of_puller = divmod(place, len(self.pullers))
        self.pullers[place_of_puller].pull(merge=way % 2 == 1, back=way // 2 % 3)
        self.listeners[place % len(self.listeners)].catch_up()

    def watch_for_a_moment(self, question: Question) -> None:
        """Open a live query in the middle of everything, and close it."""
        listener = Listener(self.market, question, all_kept=self._all_kept)
        listener.catch_up()
        listener.close()

    def ask_the_past(self, question: Question, back: int) -> None:
        """Ask for the latest epochs before the head."""
        head = self.market.oracle.epoch
        for epoch in range(max(0, head - back), head):
            assert self.market.ask(question, epoch) == self.market.expected(question, epoch)

    def list_rows(self, table: str) -> None:
        """Compare whole rows."""
        held, rows = self.market.tables[table], self.market.oracle.now[table]
        assert len(held) == len(rows)
        assert {RELATIONS[table].key(row): row for row in held.to_arrow().to_pylist()} == rows

    # -- what holds -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every answer and every member count equals a recompute, and nothing was ever refreshed in full."""
        for question in ASKED:
            cells, expected = self.market.ask(question), self.market.expected(question)
            assert cells == expected
            assert list(cells) == list(expected), "not in the order of the levels"
            assert self.market.explain(question).source == question.source
        for name, paths in MEMBERS.items():
            members: dict[tuple[Any, ...], int] = self.market.cube.hierarchies[name].members()
            assert list(members.items()) == list(self.market.oracle.members("trades", paths).items())
        providers = self.market.session.statistics().providers
        assert not any(one.full_refresh_total for cube in providers.values() for one in cube)
