"""One websocket's way out: whole frames in order, and nobody waits for a slow reader.

Floor 6. simple-websocket writes with a bare `socket.send` and ignores how much of it went out, from two threads; large
frames would break off and the next one would land in their middle. So this object stands in for its socket: all bytes,
its own pongs and ours, pass through one lock, and what the kernel did not take stays here until it does. At most one
frame waits: a subscriber that is behind is not offered another, since its changes can be pulled, merged, later.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress

from wsproto.frame_protocol import FrameProtocol

__all__ = ["Channel", "text_frame"]


def text_frame(payload: bytes) -> bytes:
    """Return the bytes of one unmasked websocket text frame (server to client), the same for every client."""
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(payload.decode(), fin=True))


class Channel:
    """A connected socket that sends whole frames. Stands in for the socket that simple-websocket uses."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        """Take over the writing of `sock`; a peer that takes no byte for `patience` seconds is cut off."""
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._patience = patience
        self._lock = threading.Lock()
        self._rest = memoryview(b"")
        self._full = False
        self._moved_at = time.monotonic()

    def send(self, data: bytes) -> int:
        """Send all of `data`, after whatever still waits; for the threads that belong to this socket alone.

        Raises
        ------
        OSError
            If the peer is gone or took no byte for `patience` seconds; the socket is shut down then, since half a
            frame may be out.
        """
        with self._lock:
            for piece in (self._rest, memoryview(data)):
                self._put(piece)
                while not self._drain():
                    self._wait_until_writable()
        return len(data)

    def offer(self, frame: bytes) -> bool:
        """Take `frame` unless an earlier one still waits; never blocks. False: nothing of it was taken, try later.

        Raises
        ------
        OSError
            If the peer is gone.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._drain():
                return False
            self._put(memoryview(frame))
            self._drain()
            return True
        finally:
            self._lock.release()

    def flush(self) -> bool:
        """Send what waits as far as the kernel takes it; never blocks. True: nothing waits any more."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._drain()
        finally:
            self._lock.release()

    @property
    def waiting(self) -> bool:
        """Whether bytes wait for the peer, because the kernel's buffer was full."""
        return self._full

    @property
    def stalled(self) -> bool:
        """Whether a frame waits and no byte of it went out for `patience` seconds."""
        return len(self._rest) > 0 and time.monotonic() - self._moved_at > self._patience

    def cut(self) -> None:
        """Shut the connection down at once; its reading thread sees the end and cleans up."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def recv(self, size: int) -> bytes:
        """Return what the peer sent, at most `size` bytes; waits for it."""
        return self._sock.recv(size)

    def fileno(self) -> int:
        """Return the file descriptor, -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _put(self, piece: memoryview) -> None:
        self._rest = piece
        self._moved_at = time.monotonic()

    def _drain(self) -> bool:
        """Send from what waits until it is gone (True) or the kernel's buffer is full (False)."""
        while len(self._rest):
            try:
                sent = self._sock.send(self._rest, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._full = True
                return False
            self._put(self._rest[sent:])
        self._full = False
        return True

    def _wait_until_writable(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        if not poll.poll(self._patience * 1000):
            self.cut()
            raise TimeoutError(f"the peer took nothing for {self._patience} s")
