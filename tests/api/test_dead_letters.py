"""Dead letters over HTTP and on the command line: listed, tried again, discarded."""

from __future__ import annotations

import base64
import json

import pytest

from api.cli import main


@pytest.fixture
def letters(session):
    """A table with two rows that it could not take."""
    table = session.create_table("Stock", types={"Id": session.tables["Sales"].types["Quantity"]}, keys=["Id"])
    table.append((1,), ("two",), ("three",), on_error="dead_letter")
    return session.dead_letters


def test_they_are_listed_with_reason_and_raw_record(http, letters):
    status, _, content = http.get("/dead-letters")
    assert (status, content["total"], content["dropped_total"]) == (200, 2, 0)
    first = content["dead_letters"][0]
    kept = letters.list()[0]
    assert (first["id"], first["table"], first["source"]) == (kept.id, "Stock", "append")
    assert first["position"]["row"] == 1 and first["code"] == "type_mismatch" and "'two'" in first["reason"]
    assert base64.b64decode(first["raw"]) == first["text"].encode() == b'["two"]'


def test_they_are_listed_by_table_up_to_a_limit(http, letters):
    assert len(http.get("/dead-letters?limit=1")[2]["dead_letters"]) == 1
    assert http.get("/dead-letters?table=Sales")[2]["dead_letters"] == []
    assert http.get("/dead-letters?table=Nothing")[0] == 404
    assert http.get("/dead-letters?limit=-1")[0] == 400


def test_replay_tells_what_is_still_refused(http, letters):
    one, two = (letter.id for letter in letters)
    status, _, content = http.post("/dead-letters/replay", {"ids": [one]})
    assert status == 200 and content["replayed"] == [] and list(content["refused"]) == [one]
    assert list(http.post("/dead-letters/replay", {"all": True})[2]["refused"]) == [one, two]


def test_discard_forgets_those_named_or_all(http, letters):
    one, two = (letter.id for letter in letters)
    assert http.post("/dead-letters/discard", {"ids": [one]})[2]["discarded"] == 1
    assert [letter.id for letter in letters] == [two]
    assert http.post("/dead-letters/discard", {"all": True})[2]["discarded"] == 1
    assert len(letters) == 0


@pytest.mark.parametrize(
    "body", [{}, {"all": False}, {"all": True, "ids": []}, {"ids": [5]}, {"id": "x"}, {"ids": ["x"]}]
)
@pytest.mark.parametrize("action", ["replay", "discard"])
def test_nothing_happens_unless_it_is_said_to_which(http, letters, action, body):
    status, _, content = http.post(f"/dead-letters/{action}", body)
    assert status == 400 and content["error"]["code"]
    assert len(letters) == 2


def test_the_command_lists_and_discards(session, server, letters, capsys):
    one, two = (letter.id for letter in letters)
    assert main(["dead-letters", "list", "--url", server.url]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [one, two]
    assert main(["dead-letters", "replay", "--all", "--url", server.url]) == 1
    assert list(json.loads(capsys.readouterr().out)["refused"]) == [one, two]
    assert main(["dead-letters", "discard", one, "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == {"discarded": 1}
    assert [letter.id for letter in letters] == [two]


def test_the_command_explains_what_it_cannot_do(server, letters, capsys):
    for arguments, reason in (
        (["discard", "--url", server.url], "ids or --all"),
        (["discard", "nobody", "--url", server.url], "no dead letter 'nobody'"),
        (["list", "--url", "http://127.0.0.1:1"], "does not answer"),
    ):
        assert main(["dead-letters", *arguments]) == 2
        assert reason in capsys.readouterr().err
