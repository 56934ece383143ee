"""What every route works on: the session and the broadcaster of the application that serves it.

Floor 6. `api.app` puts one `Service` into the application; routes fetch it with `service()` and answer with `reply`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from flask import Response, current_app, request

import gpu_engine as ge
from api.errors import RequestError
from api.hub import Hub
from api.wire import ARROW_STREAM, BRANCH, dump, ipc, load

__all__ = ["EXTENSION", "Service", "json_body", "reply", "reply_table", "service", "wants_arrow"]

EXTENSION = "gpu_engine"


@dataclass(frozen=True, slots=True)
class Service:
    """One application's session and broadcaster."""

    session: ge.Session
    hub: Hub

    def close(self) -> None:
        """Stop what this application started; the session is its owner's to close."""
        self.hub.close()


def service() -> Service:
    """Return the `Service` of the application that handles the current request."""
    found: Service = current_app.extensions[EXTENSION]
    return found


def reply(content: Mapping[str, Any], epoch: int | None = None, status: int = 200, branch: str = BRANCH) -> Response:
    """Return a JSON answer with branch and epoch (master's head unless given) in front."""
    at = service().session.epoch if epoch is None else epoch
    body = dump({"branch": branch, "epoch": at, **content})
    response = Response(body, status=status, mimetype="application/json")
    return stamped(response, at, branch)


def reply_table(table: pa.Table, epoch: int, branch: str = BRANCH) -> Response:
    """Return an Arrow IPC stream; branch and epoch are in its schema's metadata and in the headers."""
    metadata = {**(table.schema.metadata or {}), b"branch": branch.encode(), b"epoch": str(epoch).encode()}
    return stamped(Response(ipc(table.replace_schema_metadata(metadata)), mimetype=ARROW_STREAM), epoch, branch)


def stamped(response: Response, epoch: int, branch: str) -> Response:
    """Return the answer with its version in the headers; a name that headers cannot hold is percent-encoded."""
    response.headers["Epoch"] = str(epoch)
    response.headers["Branch"] = quote(branch, safe=" ")
    return response


def wants_arrow() -> bool:
    """Return whether the client prefers Arrow to JSON.

    Raises
    ------
    RequestError
        `not_acceptable`, if it accepts neither.
    """
    best = request.accept_mimetypes.best_match(["application/json", ARROW_STREAM])
    if best is None and "Accept" in request.headers:
        raise RequestError("not_acceptable", f"answers come as application/json or {ARROW_STREAM}.", status=406)
    return best == ARROW_STREAM


def json_body() -> Any:
    """Return the JSON value of the request's body.

    Raises
    ------
    RequestError
        `unsupported_media_type` if it is not declared as JSON (a page of another site cannot declare that without
        asking first), `malformed_json` if it is none.
    """
    if request.mimetype != "application/json":
        raise RequestError(
            "unsupported_media_type",
            f"the body is declared as {request.mimetype or 'nothing'!r}. Send Content-Type: application/json.",
            status=415,
        )
    return load(request.get_data())
