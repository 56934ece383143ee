"""When a changed file may be reported: pure state, a clock that the tests move."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from loaders.files import FileStamp
from loaders.settling import EMPTY_PATIENCE, Settling

A, B = Path("a.csv"), Path("b.csv")
QUIET = 10.0


def taken(settling: Settling, now: float) -> list[Path]:
    return [path for path in settling.ripe(now) if settling.take(path, now)]


def test_a_new_file_is_ripe_once_it_has_rested() -> None:
    settling = Settling(QUIET, {})
    settling.observe(A, FileStamp(1, 1), now=0)
    assert taken(settling, 9.9) == []
    assert settling.next_ripe() == QUIET
    assert taken(settling, 10) == [A]
    settling.observe(A, FileStamp(1, 1), now=11)
    assert taken(settling, 100) == []
    assert settling.next_ripe() is None


def test_every_change_begins_the_rest_anew() -> None:
    settling = Settling(QUIET, {})
    for now in range(0, 50, 5):
        settling.observe(A, FileStamp(now + 1, now), now)
        assert taken(settling, now) == []
    assert taken(settling, 54.9) == []
    assert taken(settling, 55) == [A]


def test_a_known_file_is_ripe_only_when_it_looks_different() -> None:
    settling = Settling(QUIET, {A: FileStamp(1, 1), B: FileStamp(1, 1)})
    settling.observe(A, FileStamp(1, 1), now=0)
    settling.observe(B, FileStamp(1, 2), now=0)
    assert taken(settling, 10) == [B]


def test_a_change_taken_back_is_no_change() -> None:
    settling = Settling(QUIET, {A: FileStamp(1, 1)})
    settling.observe(A, FileStamp(2, 2), now=0)
    settling.observe(A, FileStamp(1, 1), now=1)
    assert len(settling) == 0


def test_a_file_that_goes_is_forgotten_and_new_when_it_comes_back() -> None:
    settling = Settling(QUIET, {A: FileStamp(1, 1)})
    settling.observe(A, None, now=0)
    assert settling.paths == set()
    settling.observe(A, FileStamp(1, 1), now=0)
    assert taken(settling, 10) == [A]


def test_an_empty_file_must_rest_longer() -> None:
    settling = Settling(QUIET, {})
    settling.observe(A, FileStamp(0, 1), now=0)
    assert taken(settling, QUIET) == []
    assert taken(settling, QUIET * EMPTY_PATIENCE) == [A]


def test_the_oldest_modification_comes_first() -> None:
    settling = Settling(QUIET, {})
    settling.observe(A, FileStamp(1, 2), now=0)
    settling.observe(B, FileStamp(1, 1), now=0)
    assert taken(settling, 10) == [B, A]


class EveryStateIsReportedOnce(RuleBasedStateMachine):
    """Against a plain history: a report comes iff the file differs from its last one and has rested long enough."""

    def __init__(self) -> None:
        super().__init__()
        self.settling = Settling(QUIET, {})
        self.now = 0.0
        self.looks: dict[Path, tuple[FileStamp, float]] = {}
        self.last: dict[Path, FileStamp] = {}

    @rule(path=st.sampled_from([A, B]), size=st.integers(1, 3))
    def change(self, path: Path, size: int) -> None:
        stamp = FileStamp(size, 0)
        if path not in self.looks or self.looks[path][0] != stamp:
            self.looks[path] = (stamp, self.now)
        self.settling.observe(path, stamp, self.now)

    @rule(path=st.sampled_from([A, B]))
    def delete(self, path: Path) -> None:
        self.looks.pop(path, None)
        self.last.pop(path, None)
        self.settling.observe(path, None, self.now)

    @rule(seconds=st.sampled_from([1.0, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def report(self) -> None:
        expected = {
            path
            for path, (stamp, since) in self.looks.items()
            if self.last.get(path) != stamp and self.now - since >= QUIET
        }
        assert set(taken(self.settling, self.now)) == expected
        self.last |= {path: self.looks[path][0] for path in expected}

    @invariant()
    def remembers_no_file_that_is_gone(self) -> None:
        assert self.settling.paths == self.looks.keys()


TestEveryStateIsReportedOnce = EveryStateIsReportedOnce.TestCase
TestEveryStateIsReportedOnce.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
