"""Streams of any queries, attached, ended, failed and resumed at any time, tell exactly what an oracle says.

Whatever the transactions, branches and compactions: every call is checked, and folding them gives the rows of the query
at every epoch.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import gpu_engine as ge
from tests.engine.stream_oracle import VIEWS, History, Step, View, applied, calls_for, create_tables, perform, possible
from tests.engine.streams import TIMEOUT, Recorder, Told, ended

IDS, QUANTITIES = st.integers(0, 7), st.none() | st.integers(0, 6)
CITIES, LANDS = st.sampled_from(["Paris", "Rome", "Bern"]), st.sampled_from(["F", "I", "C"])
DAYS = st.sampled_from(["mon", "tue", None])
TRADES = st.lists(st.tuples(IDS, st.none() | CITIES, DAYS, QUANTITIES), min_size=1, max_size=4)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("upsert"), st.just("trades"), TRADES),
    st.tuples(st.just("upsert"), st.just("trades"), TRADES),
    st.tuples(st.just("update"), st.just("trades"), st.dictionaries(IDS, QUANTITIES, min_size=1, max_size=3)),
    st.tuples(st.just("upsert"), st.just("cities"), st.lists(st.tuples(CITIES, LANDS), min_size=1, max_size=2)),
    st.tuples(
        st.just("upsert"),
        st.just("lands"),
        st.lists(st.tuples(LANDS, st.sampled_from(["south", "north"])), min_size=1, max_size=2),
    ),
    st.tuples(st.just("drop_keys"), st.just("trades"), st.sets(IDS, min_size=1, max_size=3)),
    st.tuples(st.just("drop_keys"), st.just("cities"), st.sets(CITIES, min_size=1, max_size=2)),
    st.tuples(st.just("drop_below"), st.just("trades"), st.integers(0, 6)),
    st.tuples(st.just("drop_partition"), st.just("trades"), DAYS),
    st.tuples(st.just("truncate"), st.sampled_from(["trades", "cities"]), st.none()),
)
CLEARING_FIRST = st.lists(STEPS, min_size=1, max_size=4) | st.tuples(
    st.tuples(st.sampled_from(["truncate"]), st.just("trades"), st.none())
    | st.tuples(st.just("drop_partition"), st.just("trades"), DAYS),
    st.tuples(st.just("upsert"), st.just("trades"), TRADES),
)
TRANSACTIONS = st.tuples(CLEARING_FIRST, st.sampled_from([False, False, False, True]), st.integers(0, 9))


class Boom(Exception):
    """A transaction, or a listener, that goes wrong."""


FILLED: list[Step] = [
    ("upsert", "lands", [("F", "north"), ("I", "south")]),
    ("upsert", "cities", [("Paris", "F"), ("Rome", "I")]),
    ("upsert", "trades", [(key, ["Paris", "Rome", "Bern"][key % 3], ["mon", "tue"][key % 2], key) for key in range(6)]),
]


class Scripted(Recorder):
    """Waits before each transaction until a gate is open, and raises at its n-th."""

    def __init__(self, gate: threading.Event, left: int = 10**9) -> None:
        super().__init__()
        self._gate, self._left = gate, left

    def transaction_started(self, epoch: int, info: ge.TransactionInfo) -> None:
        assert self._gate.wait(TIMEOUT)
        self._left -= 1
        if self._left < 0:
            raise Boom
        super().transaction_started(epoch, info)


class Heard:
    """A registration, what its listener heard, and what it has to hear."""

    def __init__(self, view: View, registration: ge.Registration, recorder: Recorder, begun: int) -> None:
        self.view, self.registration, self.recorder, self.begun = view, registration, recorder, begun

    def check(self, history: History, journal: list[tuple[str, int, str]], *, all_of_it: bool) -> None:
        """Compare with the oracle; with `all_of_it`, only rollbacks after the last commit may not have been heard."""
        told = [one for one in self.recorder.told if not one.info.initial]
        branch = self.registration.options.branch
        wanted = [one for one in journal[self.begun :] if branch in (None, one[0])]
        heard = [(one.branch, one.epoch, one.end) for one in told]
        assert heard == wanted[: len(heard)]
        if all_of_it:
            assert {end for _, _, end in wanted[len(heard) :]} <= {"transaction_rolled_back"}
        for one in self.recorder.told:
            if one.end == "transaction_committed":
                self._check(history, one)

    def _check(self, history: History, told: Told) -> None:
        state = history.state(told.branch, told.epoch)
        if not told.info.initial:
            before, state, steps = history.commits[told.epoch]
            assert sorted(map(plain, told.calls), key=repr) == calls_for(self.view, before, state, steps)
        known = sorted(self.recorder.states[told.branch, told.epoch].elements(), key=repr)
        assert known == sorted(self.view.lines(state).values(), key=repr)


def plain(call: tuple[Any, ...]) -> tuple[str, Any, list[Any]]:
    name, partition, *batches = call
    rows = list(zip(*batches, strict=True)) if len(batches) == 2 else batches[0] if batches else []
    return name, partition, sorted(rows, key=repr)


class StreamsEqualOracle(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        logging.getLogger("gpu_engine").setLevel(logging.CRITICAL)  # listeners fail by the hundred here
        self.session = ge.Session(backend="cpu", retention=ge.RetentionPolicy(epochs=8))
        create_tables(self.session)
        self.history = History()
        self.journal = self.history.ended
        self.heard: list[Heard] = []
        self.gate, self.open = threading.Event(), threading.Event()
        self.open.set()
        with self.session.start_transaction() as transaction:
            perform(self.session, FILLED)
        self.history.commit("master", transaction.report.epoch, FILLED)
        for place, view in enumerate(VIEWS):
            self._register(view, Scripted(self.gate if place % 2 else self.open), ge.StreamOptions())

    # -- transactions -----------------------------------------------------------------------------------------------

    @rule(several=st.lists(TRANSACTIONS, min_size=1, max_size=6))
    def transact(self, several: list[tuple[list[Step], bool, int]]) -> None:
        for steps, fails, pick in several:
            self._transact(steps, fails, self._branch(pick))

    def _transact(self, steps: list[Step], fails: bool, branch: str) -> None:
        before = self.history.state(branch)
        steps = possible(before, steps)
        with suppress(Boom), self.session.start_transaction(branch) as transaction:
            perform(self.session, steps)
            if fails:
                raise Boom
        if transaction.report is None:
            self.journal.append((branch, self.history.epoch + 1, "transaction_rolled_back"))
        elif applied(before, steps) != before:
            self.history.commit(branch, transaction.report.epoch, steps)

    @rule(pick=st.integers(0, 9), back=st.integers(0, 4))
    @precondition(lambda self: len(self.history.states) < 4)
    def branch_off(self, pick: int, back: int) -> None:
        parent, name = self._branch(pick), f"b{len(self.history.states)}"
        epoch = max(self.history.epoch - back, self.history.states[parent][0][0])
        with suppress(ge.errors.EpochNotRetainedError):
            self.session.branches.create(name, parent, epoch)
            self.history.fork(name, parent, self.session.branches[name].fork_epoch)

    @rule()
    def compact(self) -> None:
        self.session.compact()

    # -- listeners --------------------------------------------------------------------------------------------------

    @rule(view=st.sampled_from(VIEWS), pick=st.none() | st.integers(0, 9), gated=st.booleans())
    @precondition(lambda self: len(self.heard) < 9)
    def attach(self, view: View, pick: int | None, gated: bool) -> None:
        branch = None if pick is None else self._branch(pick)
        options = ge.StreamOptions(branch=branch, dictionarized=pick == 0)
        self._register(view, Scripted(self.gate if gated else self.open), options)

    @rule(view=st.sampled_from(VIEWS), left=st.integers(0, 5))
    @precondition(lambda self: len(self.heard) < 9)
    def attach_one_that_will_fail(self, view: View, left: int) -> None:
        self._register(view, Scripted(self.open, left), ge.StreamOptions())

    @rule(view=st.sampled_from(VIEWS), pick=st.none() | st.integers(0, 9), back=st.integers(0, 12))
    @precondition(lambda self: len(self.heard) < 9)
    def resume(self, view: View, pick: int | None, back: int) -> None:
        epoch = max(0, self.history.epoch - back)
        branch = None if pick is None else self._branch(pick)
        known = {name: view.lines(self.history.state(name, epoch)).values() for name in self.history.known_at(epoch)}
        begun = sum(at <= epoch for _, at, _ in self.journal)
        if epoch >= self.session.database.streamer.statistics().log.since:
            self._register(view, Recorder(known), ge.StreamOptions(branch=branch), epoch, begun)
        else:
            with pytest.raises(ge.errors.EpochNotRetainedError):
                self._register(view, Recorder(known), ge.StreamOptions(branch=branch), epoch, begun)
            # What is gone depends on how far listeners have got. Register anew, so that examples do not depend on it.
            self._register(view, Recorder(), ge.StreamOptions(branch=branch))

    @rule(pick=st.integers(0, 9))
    @precondition(lambda self: self.heard)
    def unregister(self, pick: int) -> None:
        one = self.heard.pop(pick % len(self.heard))
        self.gate.set()
        one.registration.unregister()
        self.gate.clear()
        one.check(self.history, self.journal, all_of_it=False)

    @rule()
    def settle(self) -> None:
        """Let every listener hear everything, many transactions at once if it was held up, and check all of it."""
        self.gate.set()
        for one in self.heard:
            reached = one.registration.wait_for(self.history.epoch, TIMEOUT)
            if one.registration.error is None:
                assert reached
                one.check(self.history, self.journal, all_of_it=True)
                continue
            assert isinstance(one.registration.error, Boom)
            assert ended(one.registration)
            one.check(self.history, self.journal, all_of_it=False)
        self.gate.clear()

    def teardown(self) -> None:
        if hasattr(self, "session"):
            try:
                self.settle()
            finally:
                self.gate.set()
                self.session.close()
                logging.getLogger("gpu_engine").setLevel(logging.NOTSET)

    # -- how --------------------------------------------------------------------------------------------------------

    def _branch(self, pick: int) -> str:
        names = list(self.history.states)
        return names[pick % len(names)]

    def _register(
        self,
        view: View,
        recorder: Recorder,
        options: ge.StreamOptions,
        epoch: int | None = None,
        begun: int | None = None,
    ) -> None:
        query = self.session.database.prepare.list("trades", view.fields, view.where())
        registration = self.session.database.streamer.register(query, recorder, options, epoch)
        self.heard.append(Heard(view, registration, recorder, len(self.journal) if begun is None else begun))


TestStreamsEqualOracle = StreamsEqualOracle.TestCase
TestStreamsEqualOracle.settings = settings(max_examples=150, stateful_step_count=30)
