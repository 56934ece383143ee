"""Routes of cubes: which there are, what they are made of, their queries and differences.

Floor 6.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response

import gpu_engine as ge
from api.expect import expect_object
from api.queries import parse_query
from api.service import json_body, reply, reply_table, service, wants_arrow
from api.versions import marked, version_of
from api.wire import rows

__all__ = ["cube_routes"]

CELL_CHANGES = ("added", "changed", "changed_from", "removed")


def cube_routes() -> Blueprint:
    """Return the blueprint with the routes under /cubes."""
    blueprint = Blueprint("cubes", __name__)
    blueprint.get("/cubes")(_list_cubes)
    blueprint.get("/cubes/<cube>")(_show_cube)
    blueprint.post("/cubes/<cube>/query")(_query_cube)
    blueprint.post("/cubes/<cube>/diff")(_diff_cube)
    return blueprint


def _list_cubes() -> Response:
    cubes = service().session.cubes
    return reply({"cubes": [{"name": name, "fact_table": cubes[name].fact.name} for name in cubes]})


def _show_cube(cube: str) -> Response:
    found = service().session.cubes[cube]
    return reply(
        {
            "name": found.name,
            "fact_table": found.fact.name,
            "levels": [_level(found, level) for level in _levels_of(found)],
            "hierarchies": [
                {
                    "name": hierarchy.name,
                    "levels": [[level.table, level.column] for level in hierarchy.levels],
                    "slicing": hierarchy.slicing,
                }
                for hierarchy in found.hierarchies.values()
            ],
            "measures": list(found.measures),
        }
    )


def _query_cube(cube: str) -> Response:
    query = parse_query(service().session.cubes[cube], json_body(), past=True)
    as_arrow = wants_arrow()
    table = query.run()
    epoch = int(table.schema.metadata[b"epoch"])
    if as_arrow:
        return reply_table(table, epoch, query.branch)
    return reply(
        {
            "levels": [level.name for level in query.levels],
            "measures": query.measures,
            "columns": table.column_names,
            "rows": rows(table),
        },
        epoch,
        branch=query.branch,
    )


def _diff_cube(cube: str) -> Response:
    body = expect_object(json_body(), "$")
    since, until = version_of(body.get("since"), "$.since"), version_of(body.get("until"), "$.until")
    query = parse_query(service().session.cubes[cube], body, more=("since", "until"))
    as_arrow = wants_arrow()
    change = query.cube.diff(
        *query.measures, since=since, until=until, levels=query.levels, filter=query.filter, totals=query.totals
    )
    if change is None:
        at_end = replace(query, branch=until[0], epoch=until[1])
        nothing = at_end.run().slice(0, 0)
        parts = dict.fromkeys(CELL_CHANGES, nothing)
    else:
        parts = {name: getattr(change, name) for name in CELL_CHANGES}
    if as_arrow:
        return reply_table(marked(parts), until[1], until[0])
    answer = {
        "since": {"branch": since[0], "epoch": since[1]},
        "levels": [level.name for level in query.levels],
        "measures": query.measures,
        "columns": parts["added"].column_names,
        **{name: rows(part) for name, part in parts.items()},
    }
    return reply(answer, until[1], branch=until[0])


def _levels_of(cube: ge.Cube) -> list[ge.Level]:
    """Return each level once, in the order of the hierarchies."""
    named = {(level.table, level.column): level for shape in cube.hierarchies.values() for level in shape.levels}
    return list(named.values())


def _level(cube: ge.Cube, level: ge.Level) -> dict[str, Any]:
    order = level.order
    return {
        "name": level.name,
        "table": level.table,
        "column": level.column,
        "type": str(level.type),
        "hierarchy": level.hierarchy,
        "order": order if isinstance(order, str) else "custom",
        "key": level.table == cube.fact.name and level.column in cube.fact.keys,
    }
