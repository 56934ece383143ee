"""Which error becomes which status and JSON: the one place that decides.

Floor 6. An answer that failed is {"error": {"code", "message", ...}}: `code` is stable, `message` says what was given,
what exists and what to do. Errors of the engine keep their code. What nobody foresaw is reported in the session's
health, and the client learns no more than that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from simple_websocket import ConnectionError as HandshakeError
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch
from wsproto.utilities import RemoteProtocolError

import gpu_engine as ge
from api.http_refusals import explained

__all__ = ["RequestError", "answer", "placed", "refusal"]

STATUS_OF_CLASS: tuple[tuple[type[BaseException], int], ...] = (
    (ge.errors.UnknownTableError, HTTPStatus.NOT_FOUND),
    (ge.errors.UnknownCubeError, HTTPStatus.NOT_FOUND),
    (ge.errors.UnknownBranchError, HTTPStatus.NOT_FOUND),
    (ge.errors.EpochNotRetainedError, HTTPStatus.NOT_FOUND),
    (ge.errors.BranchInUseError, HTTPStatus.CONFLICT),
    (ge.errors.DuplicateNameError, HTTPStatus.CONFLICT),
    (ge.errors.BackendUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ge.errors.SessionClosedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ge.errors.LogFailedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ge.errors.LogWriteError, HTTPStatus.INSUFFICIENT_STORAGE),
    (ge.errors.MemoryShortageError, HTTPStatus.INSUFFICIENT_STORAGE),
    (ge.errors.EngineError, HTTPStatus.BAD_REQUEST),
)
"""First match wins. What is named in a body comes as a `RequestError`, but for the version to read or write."""

MAX_KNOWN = 100


class RequestError(Exception):
    """The request itself is wrong; `place` says where, as a path from the root `$` of its JSON."""

    def __init__(
        self, code: str, message: str, *, status: int = 400, place: str | None = None, known: tuple[str, ...] = ()
    ) -> None:
        self.code, self.status, self.place, self.known = code, status, place, known
        self.message = message if place is None else f"{place}: {message}"
        super().__init__(self.message)


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Turn the engine's errors into `RequestError`s that name `place`, the part of the body they speak of."""
    try:
        yield
    except (ge.errors.SessionClosedError, ge.errors.LogFailedError, ge.errors.LogWriteError):
        raise
    except ge.errors.EngineError as error:
        raise RequestError(error.code, str(error), place=place, known=_known(error)) from error


def refusal(error: BaseException) -> tuple[int, dict[str, Any]] | None:
    """Return status and JSON for an error that is the client's to know, None for one that nobody foresaw."""
    if isinstance(error, RequestError):
        return error.status, _body(error.code, error.message, place=error.place, known=error.known)
    if isinstance(error, HTTPException):
        return _http_refusal(error)
    if isinstance(error, RemoteProtocolError | HandshakeError):
        return 400, _body("bad_handshake", "this is not a websocket handshake (version 13).")
    for kind, status in STATUS_OF_CLASS:
        if isinstance(error, kind):
            return int(status), _body(getattr(error, "code", "engine_error"), str(error), known=_known(error))
    return None


def answer(error: BaseException, session: ge.Session, component: str) -> tuple[int, dict[str, Any]]:
    """Return status and JSON for any error; an unforeseen one is reported in health as a failure of `component`."""
    known = refusal(error)
    if known is not None:
        return known
    session.report_failure(component, error)
    return 500, _body("internal_error", "the service failed on this request; its health and log say more.")


def _http_refusal(error: HTTPException) -> tuple[int, dict[str, Any]]:
    if isinstance(error, WebsocketMismatch):
        return 400, _body("websocket_expected", "this address is a websocket; open it as one.")
    status = error.code or 500
    code = re.sub(r"[^a-z]+", "_", error.name.lower()).strip("_")
    message, known = explained(error)
    return status, _body(code, message, known=known)


def _known(error: BaseException) -> tuple[str, ...]:
    return tuple(str(name) for name in getattr(error, "known", ()))


def _body(code: str, message: str, *, place: str | None = None, known: tuple[str, ...] = ()) -> dict[str, Any]:
    details: dict[str, Any] = {"code": code, "message": message}
    if place is not None:
        details["place"] = place
    if known:
        details["known"] = list(known[:MAX_KNOWN])
    return {"error": details}
