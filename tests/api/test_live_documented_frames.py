"""The frames in docs/live.md are those that the service sends, member by member and value by value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpu_engine as ge
from tests.api.conftest import Live

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
Frames = list[dict[str, Any]]


def documented() -> dict[str, Frames]:
    """Return heading -> the JSON objects below it, in order."""
    found: dict[str, Frames] = {}
    for section in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        for block in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            decoder, rest = json.JSONDecoder(), block.strip()
            while rest:
                frame, end = decoder.raw_decode(rest)
                found.setdefault(heading, []).append(frame)
                rest = rest[end:].strip()
    return found


FRAMES = documented()


def same(sent: Any, shown: Any) -> bool:
    """Compare as the page means it: `...` stands for more."""
    if isinstance(shown, dict):
        open_ended = "..." in shown
        names = shown.keys() - {"..."}
        fits = names <= sent.keys() if open_ended else names == sent.keys()
        return fits and all(same(sent[name], shown[name]) for name in names)
    if isinstance(shown, list):
        return len(sent) == len(shown) and all(map(same, sent, shown))
    return isinstance(sent, str) if isinstance(shown, str) and shown.endswith("...") else bool(sent == shown)


@pytest.fixture
def shops() -> Iterator[ge.Session]:
    code = re.search(r"<!-- file: shops.py -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    exec(code[1], names)
    with names["create_session"]() as session:
        yield session


@pytest.fixture
def live(shops: ge.Session) -> Iterator[Live]:
    url = shops.serve(port=0)
    client = Live(url if url.endswith("/") else f"{url}/")
    yield client
    client.close()


def say(live: Live, *frames: dict[str, Any]) -> None:
    for frame in frames:
        live.send(**frame)


def hears(live: Live, shown: dict[str, Any]) -> None:
    sent = json.loads(live.read())
    assert same(sent, shown), f"sent: {sent}\nshown: {shown}"


def test_every_frame_of_the_protocol_is_shown() -> None:
    shown = {frame.get("type", frame.get("op")) for frames in FRAMES.values() for frame in frames}
    answers = {"subscribed", "snapshot", "change", "changes", "paused", "resumed", "unsubscribed", "synced", "pong"}
    assert shown == {*answers, "error", "subscribe", "pause", "resume", "unsubscribe", "sync", "ping"}


def test_a_life_of_two_subscriptions(shops: ge.Session, live: Live) -> None:
    """All but totals and branches, in one go: epochs are those of the page."""
    sales = shops.tables["Sales"]
    subscribe, subscribed = FRAMES["subscribe"]
    say(live, subscribe)
    hears(live, subscribed)
    hears(live, FRAMES["snapshot"][0])
    sales.append(("S1", "2024-05-02", "Paris", 4))  # changes no cell
    with shops.start_transaction():
        sales.append(("S1", "2024-05-02", "Paris", 5), ("S3", "2024-05-02", "Oslo", 1))
        sales.drop(keys=["S2"])
    hears(live, FRAMES["change"][0])
    say(live, FRAMES["sync"][0])
    hears(live, {**FRAMES["sync"][1], "epochs": {"a": 3}})
    say(live, FRAMES["ping"][0])
    hears(live, FRAMES["ping"][1])
    pause, paused, _, _ = FRAMES["pause and resume"]
    say(live, pause)
    hears(live, paused)
    say(live, FRAMES["unsubscribe"][0])
    hears(live, FRAMES["unsubscribe"][1])
    say(live, {**subscribe, "cube": "Sails"})
    hears(live, FRAMES["error"][0])


def test_a_group(shops: ge.Session, live: Live) -> None:
    [together] = FRAMES["changes"]
    for name in "a", "b":
        say(live, {**FRAMES["subscribe"][0], "id": name, "group": together["group"], "paused": True})
        assert same(json.loads(live.read()), {**FRAMES["subscribe"][1], "id": name, "group": together["group"]})
    _, _, resume, resumed = FRAMES["pause and resume"]
    say(live, resume)
    hears(live, {**resumed, "epochs": {"a": None, "b": None}})
    assert json.loads(live.read())["from_epoch"] is None
    shops.tables["Sales"].append(("S1", "2024-05-02", "Paris", 4))
    shops.tables["Sales"].append(("S1", "2024-05-02", "Paris", 5))
    hears(live, together)
    say(live, FRAMES["sync"][0])
    hears(live, FRAMES["sync"][1])
    say(live, {"op": "pause", "group": "board"})
    hears(live, {**resumed, "type": "paused"})
    say(live, resume)
    hears(live, resumed)


def test_totals(shops: ge.Session, live: Live) -> None:
    [change] = FRAMES["Totals"]
    query = {"measures": change["measures"], "levels": change["levels"], "totals": True}
    say(live, {"op": "subscribe", "id": change["id"], "cube": "Sales", "query": query})
    assert [json.loads(live.read())["type"] for _ in range(2)] == ["subscribed", "snapshot"]
    shops.tables["Sales"].append(("S1", "2024-05-01", "Paris", 5))
    hears(live, change)


def test_branches(shops: ge.Session, live: Live) -> None:
    sales = shops.tables["Sales"]
    subscribe, subscribed, change = FRAMES["Branches"]
    for quantity in 5, 4:
        sales.append(("S1", "2024-05-01", "Paris", quantity))
    shops.branches.create("what-if")
    say(live, subscribe)
    hears(live, subscribed)
    assert json.loads(live.read())["type"] == "snapshot"
    sales.append(("S1", "2024-05-01", "Paris", 7))
    with shops.start_transaction("what-if"):
        sales.append(("S2", "2024-05-01", "Rome", 60))
    hears(live, change)
