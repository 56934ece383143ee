"""One socket's way out: frames stay whole and in order, and offering never waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from api.channel import Channel, text_frame

DEADLINE = 20.0


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel with small buffers and the peer that reads from it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(listening.getsockname())
        ours, _ = listening.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours, peer:
        peer.settimeout(DEADLINE)
        yield Channel(ours, patience=DEADLINE), peer


def read(peer: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = peer.recv(size - len(parts))
        assert part, "the channel closed the connection"
        parts += part
    return bytes(parts)


def test_a_frame_larger_than_the_buffers_arrives_whole_and_before_the_next(pair):
    channel, peer = pair
    large, small = b"a" * 1_000_000, b"b" * 10
    assert channel.offer(large)
    assert not channel.offer(small), "half a frame is out, so no other may follow"
    reader: list[bytes] = []
    thread = threading.Thread(target=lambda: reader.append(read(peer, len(large) + len(small))))
    thread.start()
    channel.send(small)
    thread.join(DEADLINE)
    assert reader == [large + small]


def test_what_waits_goes_out_as_the_peer_reads(pair):
    channel, peer = pair
    frame = bytes(range(256)) * 4_000
    assert channel.offer(frame)
    received = bytearray()
    while not channel.flush():
        received += peer.recv(65536)
    received += read(peer, len(frame) - len(received))
    assert received == frame
    assert channel.offer(b"next")
    assert read(peer, 4) == b"next"


def test_a_peer_that_takes_nothing_is_stalled_and_sending_to_it_fails(pair):
    channel, _ = pair
    channel._patience = 0.2
    assert not channel.stalled
    channel.offer(b"a" * 10_000_000)
    with pytest.raises(TimeoutError):
        channel.send(b"b")
    assert channel.stalled
    with pytest.raises(OSError):
        channel.flush()


def test_a_peer_that_is_gone_is_noticed(pair):
    channel, peer = pair
    channel.cut()
    assert peer.recv(1) == b""
    with pytest.raises(OSError):
        channel.offer(b"a")


@pytest.mark.parametrize(
    ("size", "head"),
    [(5, b"\x81\x05"), (200, b"\x81\x7e\x00\xc8"), (70_000, b"\x81\x7f" + (70_000).to_bytes(8, "big"))],
)
def test_a_text_frame_has_the_head_of_its_length(size, head):
    assert text_frame(b"x" * size) == head + b"x" * size
