"""Routes of branches: which there are, new ones, and their end.

Floor 6.
"""

from __future__ import annotations

import dataclasses

from flask import Blueprint, Response

from api.expect import expect_branch, expect_epoch, expect_members, expect_object
from api.service import json_body, reply, service

__all__ = ["branch_routes"]


def branch_routes() -> Blueprint:
    """Return the blueprint with the routes under /branches."""
    blueprint = Blueprint("branches", __name__)
    blueprint.get("/branches")(_list_branches)
    blueprint.post("/branches")(_create_branch)
    blueprint.delete("/branches/<any_name:branch>")(_delete_branch)
    return blueprint


def _list_branches() -> Response:
    return reply({"branches": [dataclasses.asdict(branch) for branch in service().session.branches.list()]})


def _create_branch() -> Response:
    body = expect_object(json_body(), "$")
    expect_members(body, ("name", "from_branch", "epoch"), "$")
    parent = expect_branch(body.get("from_branch"), "$.from_branch")
    epoch = expect_epoch(body.get("epoch"), "$.epoch")
    made = service().session.branches.create(body.get("name"), parent, epoch)
    return reply(dataclasses.asdict(made), made.epoch, status=201, branch=made.name)


def _delete_branch(branch: str) -> Response:
    service().session.branches.delete(branch)
    return reply({"deleted": branch})
