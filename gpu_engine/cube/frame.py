"""Frames: answers as pandas DataFrames, indexed by their levels.

Floor 4. The index is made from codes: the members of a level become pandas labels once, in the order of the level, and
each answer only says which of them its cells have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gpu_engine.backend.array_backend import Array, ArrayBackend
from gpu_engine.cube.answer import Answer, numbers_to_arrow
from gpu_engine.cube.hierarchy import Level
from gpu_engine.expression.expression import NumericKind
from gpu_engine.schema import LOCAL_DATE
from gpu_engine.storage.column import Values, decode

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_of"]

NOT_AVAILABLE = "N/A"
TOTAL = "Total"

_MANY = 10_000
"""Members from which on only those that an answer has become labels, unless it has a good part of them."""


def frame_of(answer: Answer) -> pd.DataFrame:
    """Return a frame indexed by the levels, with a column per measure.

    N/A is the text "N/A" in levels of text and NaT or NaN in others; in a total the levels that it does not name read
    "Total".
    """
    import pandas as pd

    measures = zip(answer.query.measures, answer.values, strict=True)
    columns = {name: _numbers(answer.backend, values, measure.kind) for (name, measure), values in measures}
    if not answer.query.levels:
        return pd.DataFrame(columns)
    named = [_named(answer, place) for place in range(len(answer.codes))]
    names = [level.name for level in answer.query.levels]
    if len(names) == 1:
        places, labels = named[0]
        return pd.DataFrame(columns, index=labels.take(places).rename(names[0]), copy=False)
    index = pd.MultiIndex(
        levels=[labels for _, labels in named],
        codes=[places for places, _ in named],
        names=names,
        verify_integrity=False,
    )
    return pd.DataFrame(columns, index=index, copy=False)


def _numbers(backend: ArrayBackend, values: Values, kind: NumericKind) -> Any:
    """Return numbers as pandas holds them: NaN where null, `Decimal` for decimals."""
    if kind.name == "decimal":
        return numbers_to_arrow(backend, values, kind).to_pandas().to_numpy()
    if values.valid is None or backend.scalar(values.valid.all()):
        return backend.to_host(values.data)
    return backend.to_host(backend.xp.where(values.valid, values.data, float("nan")))


def _named(answer: Answer, place: int) -> tuple[Any, pd.Index]:
    """Return (n,) places of the cells among the labels of a level, and the labels."""
    import pandas as pd

    level, backend, xp = answer.query.levels[place], answer.backend, answer.backend.xp
    ranks, codes = level.ranks(), answer.codes[place]
    places = ranks.take(codes + 1)
    if len(ranks) <= max(_MANY, 4 * len(places)):
        labels = _all_labels(level, ranks, backend)
    else:
        groups = backend.group(places)
        members = backend.group_max(codes.astype("int64"), groups.group_of, len(groups.keys), -1)
        labels, places = _labels(level, members, backend), groups.group_of
    if answer.depth is not None:
        places = xp.where(answer.depth > place, places, len(labels))
        labels = pd.Index([*labels, TOTAL], dtype=None if level.type.coded else object)
    return backend.to_host(places), labels


def _all_labels(level: Level, ranks: Array, backend: ArrayBackend) -> pd.Index:
    """Return the labels of all members, in their order and N/A last; made anew when the level has changed."""
    known = level.labels
    if known is None or known[0] is not ranks:
        labels = _labels(level, backend.xp.argsort(ranks) - 1, backend)  # the place of N/A, code -1, is the first
        known = level.labels = (ranks, labels)
    return known[1]


def _labels(level: Level, codes: Array, backend: ArrayBackend) -> pd.Index:
    """Return the labels of (k,) codes in the order of their level: N/A, code -1, can only be the last."""
    import pandas as pd

    members = decode(backend, level.reference.column.dictionary, codes)
    if level.type == LOCAL_DATE:
        members = members.cast(pa.timestamp("s"))
    labels = pd.Index(members.to_pandas())
    if level.type.coded and members.null_count:
        labels = pd.Index([*labels[:-1], NOT_AVAILABLE])
    return labels
