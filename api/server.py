"""A threaded HTTP server that runs beside the session and stops with it.

Floor 6. One thread per connection (werkzeug's), all of them known here, so that `close` ends every one. It serves one
machine or a trusted network; behind many users put the same application under gunicorn (`create_app`).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EADDRNOTAVAIL
from typing import Any

from flask import Flask
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler, get_sockaddr, select_address_family

import gpu_engine as ge
from api.app import create_app
from api.live import WEBSOCKET_FLAG
from api.service import EXTENSION

__all__ = ["Server", "serve"]

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
BACKLOG = 128
MAX_PORT = 65535


def serve(session: ge.Session, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Return a server of `session` that accepts connections already.

    Parameters
    ----------
    session : Session
        What to serve. The caller closes the server before or with it.
    host : str
        Address to listen on; "0.0.0.0" for all. There is no authentication yet.
    port : int
        0 takes a free one; `Server.url` says which.

    Raises
    ------
    OSError
        If the address cannot be listened on, for example because the port is taken.
    """
    return Server(create_app(session), host, port)


class Server:
    """A listening socket, the thread that accepts, and a thread per connection."""

    def __init__(self, app: Flask, host: str, port: int) -> None:
        """Listen on host and port and start to accept."""
        self.app = app
        listening = _listen(host, port)
        with listening:
            self._http = _HttpServer(host, port, _no_answer_after_websocket(app), _Handler, fd=listening.fileno())
        self.host, self.port = host, int(self._http.port)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="gpu-engine http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address to open, with a slash at its end; for a server on all addresses, this machine's loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    def close(self) -> None:
        """Stop accepting, cut the connections, end all threads. The second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._http.shutdown()
        self._thread.join(CLOSE_SECONDS)
        self.app.extensions[EXTENSION].close()
        self._http.cut_connections(CLOSE_SECONDS)

    def __enter__(self) -> Server:
        """Return the server, for use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the server."""
        self.close()


class _Handler(WSGIRequestHandler):
    """Reads one request; small answers leave at once (TCP_NODELAY)."""

    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log each request for those who debug."""
        log.debug("%s %s", getattr(self, "requestline", "?"), code)

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log malformed requests and dropped connections for those who debug."""
        log.debug(message, *args)

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """Take no further request from a connection that ended."""
        self.close_connection = True


class _HttpServer(ThreadedWSGIServer):
    """Knows its connections and their threads, so that they can be ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection on the current thread."""
        thread = threading.current_thread()
        with self._lock:
            self._connections[thread] = request
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._connections[thread]

    def cut_connections(self, seconds: float) -> None:
        """Shut all connections down and wait for their threads, `seconds` at most for each."""
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join(seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong below HTTP; the server goes on."""
        log.warning("connection from %s failed", client_address, exc_info=True)

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log werkzeug's own messages through our logger."""
        log.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Made here because werkzeug ends the process where this fails."""
    if not 0 <= port <= MAX_PORT:  # getaddrinfo would take the rest of a division
        raise OSError(EADDRNOTAVAIL, f"port {port} does not exist. Choose 0 to {MAX_PORT}")
    family = select_address_family(host, port)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(get_sockaddr(host, port, family))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _no_answer_after_websocket(app: Flask) -> Callable[..., Iterable[bytes]]:
    """Return `app` such that a request that became a websocket ends its connection without an HTTP answer."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(*arguments: Any) -> Any:
            if environ.get(WEBSOCKET_FLAG):
                raise ConnectionAbortedError("the websocket is over")
            return start_response(*arguments)

        return app(environ, start)

    return application
