"""Subscribers of live queries, as lazy as they like, that hold every change against the oracle."""

from __future__ import annotations

import gpu_engine as ge
from tests.oracle import Cells
from tests.properties.market import Market, Question, cells_of


class Subscriber:
    """Folds changes into cells, and checks each of them to the letter."""

    def __init__(self, market: Market, question: Question) -> None:
        self.market, self.question = market, question
        self.epoch: int | None = None
        self.cells: Cells = {}
        self.snapshots = 0

    def take(self, change: ge.CellChange) -> None:
        parts = [
            cells_of(part, self.question)
            for part in (change.added, change.changed, change.changed_from, change.removed)
        ]
        added, changed, changed_from, removed = parts
        after = self.market.expected(self.question, change.epoch)
        assert change.branch == "master"
        if change.snapshot:
            assert change.from_epoch is None
            assert not changed and not changed_from and not removed
            self.snapshots += 1
            self.cells = added
        else:
            assert change.from_epoch is not None and self.epoch is not None
            assert self.epoch <= change.from_epoch < change.epoch
            before = self.market.expected(self.question, change.from_epoch)
            both = [cell for cell in after if cell in before and after[cell] != before[cell]]
            assert added == {cell: after[cell] for cell in after if cell not in before}
            assert removed == {cell: before[cell] for cell in before if cell not in after}
            assert changed == {cell: after[cell] for cell in both}
            assert changed_from == {cell: before[cell] for cell in both}
            assert list(changed) == list(changed_from) == both, "not in the order of the levels"
            assert added or removed or changed, "a change that changes nothing"
            assert before == self.cells
            for cell in removed:
                del self.cells[cell]
            self.cells.update(added)
            self.cells.update(changed)
        self.epoch = change.epoch
        assert self.cells == after

    def changed_epochs(self, until: int) -> list[int]:
        """Return the epochs after the subscriber's at which the oracle saw cells change."""
        assert self.epoch is not None
        expected = self.market.expected
        return [
            epoch
            for epoch in range(self.epoch + 1, until + 1)
            if expected(self.question, epoch) != expected(self.question, epoch - 1)
        ]


class Puller(Subscriber):
    """Asks for changes when it feels like it."""

    def __init__(self, market: Market, question: Question, *, all_kept: bool) -> None:
        super().__init__(market, question)
        cube, arguments = market.arguments(question)
        self.live: ge.LiveQuery = cube.live(*question.measures, **arguments)
        self._all_kept = all_kept
        """Whether no change is ever forgotten or merged."""

    def pull(self, *, merge: bool = False, back: int = 0) -> None:
        """Ask for what changed, epoch by epoch or as one change, up to some epochs before the head."""
        head, known = self.market.session.epoch, self.epoch
        until = max(0, head - back)
        changes, reached = self.live.changes_since(known, merge, until if back else None)
        assert max(known or 0, until) <= reached <= head
        if self._all_kept and known is not None:
            assert reached == max(known, until)
            if merge:
                spans = [(known, reached)] if self._differ(known, reached) else []
                assert [(change.from_epoch, change.epoch) for change in changes] == spans
            else:
                assert [change.epoch for change in changes] == self.changed_epochs(reached)
        for change in changes:
            self.take(change)
        assert self.snapshots == 1 or not self._all_kept
        self.epoch = reached
        assert self.cells == self.market.expected(self.question, reached)
        if reached == head:
            assert cells_of(self.live.result(mode="arrow"), self.question) == self.cells

    def _differ(self, epoch: int, other: int) -> bool:
        return self.market.expected(self.question, epoch) != self.market.expected(self.question, other)

    def close(self) -> None:
        self.live.close()


class Listener(Subscriber):
    """Is called back; what came is looked at later, because the oracle may still be behind."""

    def __init__(self, market: Market, question: Question, *, all_kept: bool) -> None:
        super().__init__(market, question)
        self._heard: list[ge.CellChange] = []
        self._all_kept = all_kept
        cube, arguments = market.arguments(question)
        self.live: ge.LiveQuery = cube.live(*question.measures, **arguments, on_change=self._heard.append)

    def catch_up(self) -> None:
        head = self.market.session.epoch
        assert self.live.wait_for(head, timeout=30), self.live.error
        heard, self._heard[:] = list(self._heard), []
        for change in heard:
            self.take(change)
        assert self.live.epoch == head
        assert self.snapshots == 1 or not self._all_kept
        assert self.cells == self.market.expected(self.question)
        assert cells_of(self.live.result(mode="arrow"), self.question) == self.cells

    def close(self) -> None:
        self.live.close()
        assert not self._heard, "a change came after the last epoch"
