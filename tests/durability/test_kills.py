"""Killed anywhere, a session comes back with whole transactions, and none that was acknowledged is missing."""

from __future__ import annotations

from tests.durability.kill_harness import kill_again_and_again

KILLS = 20


def test_what_was_acknowledged_is_there_after_a_kill() -> None:
    outcome = kill_again_and_again(KILLS, seed=20261121)
    assert outcome.kills == KILLS
    assert outcome.transactions > KILLS
