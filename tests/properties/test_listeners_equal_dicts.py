"""Streams and callbacks that begin, fail, end and resume at any epoch, whatever happens to branches meanwhile.

The machine of `test_branches_and_compaction` with listeners added: those that keep up, those that raise, those that
come back. Branches are deleted under them and made again under the same name, versions are pinned and compacted away.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import gpu_engine as ge
from tests.engine.streams import TIMEOUT, Boom, Failing, Recorder
from tests.properties.listeners import FOLLOWED, METHODS, Ended, Followed, Following, Held, Raising
from tests.properties.test_branches_and_compaction import KEPT_EPOCHS, NAMES, BranchesEqualDicts, Line, cells_of, fold

MOST = 6


class ListenersEqualDicts(BranchesEqualDicts):
    """Whatever listeners are told gives what the dicts remember, epoch by epoch; what they raise harms nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[Ended] = []
        self.following: list[Following] = []
        self.failed: list[Following] = []
        self.held_back: list[Following] = []
        """One at most: a listener that stands still, attached but told of nothing that came after."""
        self.raising: dict[str, Raising] = {}
        """Branch -> a live query that raises."""

    @initialize()
    def be_quiet(self) -> None:
        logging.getLogger("gpu_engine").setLevel(logging.CRITICAL)  # listeners fail by the hundred here

    def teardown(self) -> None:
        try:
            self.let_go_on()
            self.settle()
        finally:
            super().teardown()
            logging.getLogger("gpu_engine").setLevel(logging.NOTSET)

    # -- what the oracle has to note besides ------------------------------------------------------------------------

    def transact(self, name: str, operations: list[tuple[str, str, Any]], fails: bool) -> None:
        before = self.last
        super().transact(name, operations, fails)
        if fails or self.last != before:
            self.ended.append(Ended(self.lines[name], name, before + 1, not fails))

    def in_use(self, name: str) -> bool:
        followed = [one.registration.options.branch for one in (*self.following, *self.held_back)]
        return name in self.raising or name in followed or super().in_use(name)

    def oldest_wanted(self) -> int:
        return min([super().oldest_wanted(), *(one.registration.wanted for one in self.held_back)])

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.settle()  # one that has failed uses its branch no more
        super().delete(data)

    @rule()
    def compact(self) -> None:
        self.settle()  # what is kept depends on how far listeners have got
        super().compact()

    @rule(data=st.data())
    def make_anew(self, data: st.DataObject) -> None:
        """Delete a branch, make another one of its name from elsewhere, and write there."""
        self.let_go_on()
        self.settle()
        parents = [line.parent for line in self.lines.values()]
        names = [name for name, line in self.lines.items() if name != "master" and line not in parents]
        if names:
            name = data.draw(st.sampled_from(names), "name")
            self._make_free(name)
            self.session.branches.delete(name)
            self.lines.pop(name).deleted = self.last
        if len(self.lines) <= len(NAMES):
            self.fork(data, at_head=data.draw(st.booleans(), "at head"))
            newest = list(self.lines)[-1]
            self.transact(newest, [("upsert", "facts", [(0, "P0", "south", self.last)])], fails=False)

    def _make_free(self, name: str) -> None:
        for _, pin in (one for one in self.pins if one[0] == name):
            pin.release()
        self.pins = [one for one in self.pins if one[0] != name]
        for one in (one for one in self.following if one.registration.options.branch == name):
            one.registration.unregister()
        self.following = [one for one in self.following if one.registration.options.branch != name]
        if name in self.live:
            self.live.pop(name)[0].close()
        if name in self.raising:
            self.raising.pop(name).live.close()

    # -- streams ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.following) < MOST)
    @rule(data=st.data(), query=st.sampled_from(FOLLOWED), all_of_them=st.booleans(), dictionarized=st.booleans())
    def listen(self, data: st.DataObject, query: Followed, all_of_them: bool, dictionarized: bool) -> None:
        branch = None if all_of_them else self.branch(data)
        self._register(query, Recorder(), ge.StreamOptions(branch=branch, dictionarized=dictionarized))

    @precondition(lambda self: len(self.following) < MOST)
    @rule(data=st.data(), query=st.sampled_from(FOLLOWED), method=st.sampled_from(METHODS), at=st.integers(1, 4))
    def listen_until_it_raises(self, data: st.DataObject, query: Followed, method: str, at: int) -> None:
        self._register(query, Failing(method, at), ge.StreamOptions(branch=self.branch(data)))

    @precondition(lambda self: len(self.following) < MOST)
    @rule(data=st.data(), query=st.sampled_from(FOLLOWED), all_of_them=st.booleans())
    def resume_stream(self, data: st.DataObject, query: Followed, all_of_them: bool) -> None:
        branch = None if all_of_them else self.branch(data)
        epoch = data.draw(st.integers(0, self.last), "epoch")
        self._resume(query, branch, epoch)

    @precondition(lambda self: self.failed and len(self.following) < MOST)
    @rule()
    def make_good(self) -> None:
        """Resume where a listener has failed, or begin anew if that is too long ago, or its branch is gone."""
        self.settle()
        one = self.failed.pop()
        branch = one.registration.options.branch
        if branch is None or branch in self.lines:
            self._resume(one.query, branch, one.registration.epoch)

    @precondition(lambda self: not self.held_back)
    @rule(data=st.data(), query=st.sampled_from(FOLLOWED), all_of_them=st.booleans())
    def hold_back(self, data: st.DataObject, query: Followed, all_of_them: bool) -> None:
        branch = None if all_of_them else self.branch(data)
        held = Held()
        self._register(query, held, ge.StreamOptions(branch=branch))
        self.held_back.append(self.following.pop())
        self.held_back[0].registration.attached.result(TIMEOUT)
        held.gate.clear()

    @precondition(lambda self: self.held_back)
    @rule(data=st.data())
    def leave_behind(self, data: st.DataObject) -> None:
        """Commit more than is retained while a listener stands still, and compact."""
        name = self.held_back[0].registration.options.branch or self.branch(data)
        for number in range(KEPT_EPOCHS + 2):
            self.transact(name, [("upsert", "facts", [(number, "P0", "north", self.last)])], fails=False)
        self.compact()

    @rule()
    def let_go_on(self) -> None:
        for one in self.held_back:
            assert isinstance(one.recorder, Held)
            one.recorder.gate.set()
        self.following += self.held_back
        self.held_back = []

    @precondition(lambda self: self.following)
    @rule(data=st.data())
    def stop_listening(self, data: st.DataObject) -> None:
        one = self.following.pop(data.draw(st.integers(0, len(self.following) - 1)))
        one.registration.unregister()
        told = len(one.recorder.told)
        assert not one.registration.active
        self.commit_something()
        assert len(one.recorder.told) == told

    @rule()
    def settle(self) -> None:
        """Let every listener hear everything, and check all of it."""
        going_on = [one.check(self.ended, self._lines_of, self.last) for one in self.following]
        self.failed += [one for one, goes_on in zip(self.following, going_on, strict=True) if not goes_on]
        self.following = [one for one, goes_on in zip(self.following, going_on, strict=True) if goes_on]
        statistics = self.session.database.streamer.statistics()
        going = len(self.following) + len(self.held_back)
        assert len(statistics.registrations) == going == sum(one.listeners for one in statistics.views)

    # -- callbacks of live queries ----------------------------------------------------------------------------------

    @rule(data=st.data(), at=st.integers(1, 4))
    def open_raising(self, data: st.DataObject, at: int) -> None:
        name = self.branch(data)
        if name not in self.raising:
            self.raising[name] = Raising(self.cube, name, at)

    @precondition(lambda self: self.raising)
    @rule(data=st.data())
    def close_raising(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.raising)))
        one, line = self.raising.pop(name), self.lines[name]
        reached = one.live.wait_for(line.head, TIMEOUT)
        assert reached or isinstance(one.live.error, Boom)
        if one.at == 1:
            assert not reached, "it raises at the snapshot already"
        cells: Any = {}
        for change in one.changes:
            cells = fold(cells, change)
            assert cells == cells_of(line.at(change.epoch))
        assert not reached or cells == cells_of(line.at(self.last))
        one.live.close()

    # -- how --------------------------------------------------------------------------------------------------------

    def commit_something(self) -> None:
        self.transact("master", [("upsert", "log", [("l", 0)])], fails=False)

    def _lines_of(self, name: str) -> list[Line]:
        return [line for other, line in self.past if other == name]

    def _known(self, query: Followed, epoch: int) -> dict[str, Any]:
        """Return what a listener of all branches knows at an epoch; of two branches of one name the later one."""
        there = [(name, line) for name, line in self.past if line.made <= epoch <= (line.deleted or self.last)]
        return {name: query.lines(line.at(epoch)).elements() for name, line in there}

    def _resume(self, query: Followed, branch: str | None, epoch: int) -> None:
        options = ge.StreamOptions(branch=branch)
        known = self._known(query, epoch)
        if branch is not None:
            known = {branch: query.lines(self.lines[branch].at(epoch)).elements()}
        if epoch >= self.session.database.streamer.statistics().log.since:
            begun = sum(one.epoch <= epoch for one in self.ended)
            self._register(query, Recorder(known), options, epoch, begun)
            return
        with pytest.raises(ge.errors.EpochNotRetainedError):
            self.session.database.streamer.register(query.prepared(self.session), Recorder(), options, epoch)
        self._register(query, Recorder(), options)

    def _register(
        self,
        query: Followed,
        recorder: Recorder,
        options: ge.StreamOptions,
        epoch: int | None = None,
        begun: int | None = None,
    ) -> None:
        registration = self.session.database.streamer.register(
            query.prepared(self.session), recorder, options, from_epoch=epoch
        )
        begun = len(self.ended) if begun is None else begun
        self.following.append(Following(query, registration, recorder, begun))


TestListenersEqualDicts = ListenersEqualDicts.TestCase
TestListenersEqualDicts.settings = settings(
    max_examples=20, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
