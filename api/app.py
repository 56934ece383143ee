"""The Flask application of one session.

Floor 6. Everything under /api/v1 answers JSON (errors too) with branch and epoch; `/` is the page.
"""

from __future__ import annotations

import dataclasses

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

import gpu_engine as ge
from api.any_name import AnyName
from api.branches import branch_routes
from api.cubes import cube_routes
from api.dead_letters import dead_letter_routes
from api.errors import answer
from api.hub import Hub
from api.live import SOCKET_OPTIONS, live_routes
from api.page import CONTENT_SECURITY_POLICY, page_routes
from api.prepared import PreparedQueries
from api.reads import read_routes
from api.service import EXTENSION, Service, reply, service
from api.streams import stream_routes
from api.tables import table_routes
from api.transactions import transaction_routes
from api.versions import NamedPins, version_routes
from api.wire import BRANCH, dump

__all__ = ["create_app"]

PREFIX = "/api/v1"
MAX_BODY_BYTES = 64 * 1024 * 1024
PATIENCE_SECONDS = 10.0


def create_app(session: ge.Session) -> Flask:
    """Return the application that serves `session`.

    Parameters
    ----------
    session : Session
        Stays its owner's. `app.extensions["gpu_engine"].close()` stops the broadcaster that the application starts
        with its first subscription; closing the session stops it too.

    Notes
    -----
    `app.config` may be changed before the first request: MAX_CONTENT_LENGTH (bytes of a body), ALLOWED_ORIGINS (origins
    besides our own whose pages may open the websocket), LIVE_PATIENCE_SECONDS (how long a websocket client may take
    nothing before it is cut off).
    """
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        ALLOWED_ORIGINS=(),
        LIVE_PATIENCE_SECONDS=PATIENCE_SECONDS,
        SOCK_SERVER_OPTIONS=SOCKET_OPTIONS,
    )
    app.url_map.converters["any_name"] = AnyName
    app.extensions[EXTENSION] = Service(session, Hub(session))
    app.register_blueprint(page_routes())
    blueprints = (
        _session_routes(),
        branch_routes(),
        cube_routes(),
        table_routes(),
        dead_letter_routes(),
        read_routes(),
        transaction_routes(),
        version_routes(),
        NamedPins(session).routes(),
        PreparedQueries(session).routes(),
        live_routes(),
        stream_routes(),
    )
    for blueprint in blueprints:
        app.register_blueprint(blueprint, url_prefix=PREFIX)
    app.register_error_handler(Exception, _refuse)
    app.after_request(_add_headers)
    return app


def _session_routes() -> Blueprint:
    blueprint = Blueprint("session", __name__)
    blueprint.get("/health")(_health)
    blueprint.get("/statistics")(_statistics)
    return blueprint


def _health() -> Response:
    session = service().session
    health = session.health()
    return reply(
        {
            "status": health.status,
            "failures": [dataclasses.asdict(failure) for failure in health.failures],
            "backend": dataclasses.asdict(session.backend),
            "version": ge.__version__,
        }
    )


def _statistics() -> Response:
    found = service()
    return reply(
        {
            "session": dataclasses.asdict(found.session.statistics()),
            "database": dataclasses.asdict(found.session.database.statistics()),
            "live": dataclasses.asdict(found.hub.statistics()),
        }
    )


def _refuse(error: Exception) -> Response | HTTPException:
    """Answer an error; under /api always as JSON."""
    if isinstance(error, HTTPException) and not request.path.startswith("/api"):
        return error
    status, body = answer(error, service().session, "http")
    response = Response(dump(body), status=status, mimetype="application/json")
    if isinstance(error, HTTPException):
        response.headers.extend(
            (name, value) for name, value in error.get_headers(request.environ) if name in ("Allow", "Retry-After")
        )
    return response


def _add_headers(response: Response) -> Response:
    if request.path.startswith("/api"):
        response.headers.setdefault("Branch", BRANCH)
        response.headers.setdefault("Epoch", str(service().session.epoch))
        response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
