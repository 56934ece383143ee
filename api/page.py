"""The web page: its own files, and Perspective's from the installed perspective-python wheel.

Floor 6. Nothing comes from another host, and nothing of Perspective is in this repository; where its wheel is missing
the page shows a plain table.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, send_from_directory

__all__ = ["CONTENT_SECURITY_POLICY", "page_routes", "perspective_files"]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
PERSPECTIVE_FILES = frozenset({"perspective-anywidget.js", "perspective-anywidget.css"})


def page_routes() -> Blueprint:
    """Return the blueprint with the page and its vendored files."""
    blueprint = Blueprint("page", __name__)
    blueprint.get("/")(_page)
    blueprint.get("/vendor/perspective/<name>")(_perspective)
    return blueprint


@cache
def perspective_files() -> Path | None:
    """Return the folder of Perspective's browser files, None if it is not installed. Imports nothing of it."""
    spec = find_spec("perspective")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "widget" / "static"
        if all((folder / name).is_file() for name in PERSPECTIVE_FILES):
            return folder
    return None


def _page() -> Response:
    return current_app.send_static_file("index.html")


def _perspective(name: str) -> Response:
    folder = perspective_files()
    if folder is None or name not in PERSPECTIVE_FILES:
        abort(404)
    return send_from_directory(folder, name, max_age=3600)
