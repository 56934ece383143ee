"""The server and the page's files: addresses, headers, and an end without leftovers."""

from __future__ import annotations

import socket
import threading

import pytest

from api.app import create_app
from api.page import perspective_files
from api.server import serve
from tests.api.conftest import DEADLINE


def fetch(http, path: str):
    """Return status, headers and bytes of an address outside the API."""
    return http.raw("GET", f"/../..{path}")


def test_a_free_port_is_taken_and_given_back(session):
    with serve(session, "127.0.0.1", 0) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/"
        port = server.port
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_in_use_is_refused(session):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        serve(session, "127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_does_not_exist_is_refused(session, port):
    with pytest.raises(OSError, match=f"port {port} does not exist. Choose 0 to 65535"):
        session.serve(port=port)
    assert session.url is None


def test_all_threads_end_with_the_server(session):
    before = set(threading.enumerate())
    server = serve(session)
    idle = socket.create_connection((server.host, server.port), DEADLINE)
    with idle:
        server.close()
        server.close()
    assert [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()] == []


def test_the_session_serves_itself_and_knows_its_address(session):
    url = session.serve(port=0)
    assert session.url == url
    with socket.create_connection(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])), DEADLINE) as client:
        client.sendall(b"GET /api/v1/health HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_rubbish_instead_of_http_ends_only_its_connection(server, http):
    with socket.create_connection((server.host, server.port), DEADLINE) as client:
        client.sendall(b"\x16\x03\x01\x00\xff rubbish\r\n\r\n")
        client.recv(65536)
    assert http.get("/health")[0] == 200


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/style.css"])
def test_the_page_loads_nothing_from_elsewhere(session, path):
    answer = create_app(session).test_client().get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert answer.status_code == 200
    assert "default-src 'self'" in policy
    assert "unsafe-eval'" not in policy.replace("'wasm-unsafe-eval'", "")
    assert "http://" not in answer.get_data(as_text=True).replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in answer.get_data(as_text=True)


def test_perspective_comes_from_its_wheel_and_nothing_else_does(session):
    client = create_app(session).test_client()
    assert perspective_files() is not None
    answer = client.get("/vendor/perspective/perspective-anywidget.js")
    assert (answer.status_code, answer.mimetype) == (200, "text/javascript")
    assert len(answer.get_data()) > 1_000_000
    for path in ("__init__.py", "../viewer/viewer.py", "..%2f..%2f__init__.py", "x"):
        assert client.get(f"/vendor/perspective/{path}").status_code == 404


def test_health_says_version_backend_and_failures(http, session):
    _, _, content = http.get("/health")
    assert (content["status"], content["failures"], content["backend"]["name"]) == ("ok", [], "cpu")
    assert content["backend"] == {"name": "cpu", "requested": "cpu", "reason": session.backend.reason, "steps": []}
    session.report_failure("ticker", ValueError("no price"))
    _, _, content = http.get("/health")
    assert content["status"] == "degraded"
    assert (content["failures"][0]["component"], content["failures"][0]["message"]) == ("ticker", "no price")


def test_statistics_are_those_of_session_and_broadcaster(http):
    _, _, content = http.get("/statistics")
    assert content["live"]["subscribers"] == 0
    assert isinstance(content["session"], dict)
