"""Routes of cubes: which there are, what they are made of, and their queries.

Floor 6.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

import gpu_engine as ge
from api.queries import parse_query
from api.service import json_body, reply, reply_table, service, wants_arrow
from api.wire import rows

__all__ = ["cube_routes"]


def cube_routes() -> Blueprint:
    """Return the blueprint with the routes under /cubes."""
    blueprint = Blueprint("cubes", __name__)
    blueprint.get("/cubes")(_list_cubes)
    blueprint.get("/cubes/<cube>")(_show_cube)
    blueprint.post("/cubes/<cube>/query")(_query_cube)
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
