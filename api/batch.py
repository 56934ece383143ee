"""A batch: a session is built, the queries of a file are run at one epoch, and each answer is written as Parquet.

Floor 6. All queries are checked before the first one runs. Files are written beside their place and then renamed, the
summary last: while `summary.json` is missing, the batch has not ended.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import gpu_engine as ge
from api.batch_queries import BatchQuery, expect_queries, parse_queries
from api.errors import RequestError
from api.progress import ProgressLine
from api.wire import load

__all__ = ["SUMMARY", "BatchError", "BatchOptions", "run_batch"]

SUMMARY = "summary.json"
"""Name of the summary in the folder of the results."""

LIBRARIES = ("numpy", "pandas", "pyarrow")

log = logging.getLogger(__name__)


class BatchError(Exception):
    """A batch cannot start or cannot write its results; the message is for the person who started it."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a batch is to do."""

    queries: Path
    """File with the queries, see `api.batch_queries`."""
    out: Path
    """Folder of the results; made if it is not there."""
    since: int | None = None
    """An epoch: write only the cells that differ between it and the head."""
    audit: bool = True
    """Whether to compute every provider anew from the rows afterwards."""


def run_batch(build: Callable[[], ge.Session], options: BatchOptions, progress: ProgressLine) -> Mapping[str, Any]:
    """Run a batch and return what its summary file says; "exit_status" is 0 if all went well, else 1.

    Parameters
    ----------
    build : callable
        Returns the session, which is closed at the end. What it raises ends the batch.

    Raises
    ------
    BatchError
        If the queries cannot be read, or the summary cannot be written.
    RequestError
        If a query is wrong; its place in the file is named. No query has run then.
    EpochNotRetainedError
        If the epoch to compare with is not kept. No query has run then.
    """
    started = time.perf_counter()
    asked = _read(options.queries)
    _prepare(options.out)
    loads: list[ge.LoadProgress] = []

    def heard(load: ge.LoadProgress) -> None:
        progress.load(load)
        if load.done:
            loads.append(load)

    with ge.watching_loads(heard), ExitStack() as opened:
        session = opened.enter_context(build())
        session.load_all_data()
        built = time.perf_counter()
        queries = _placed(options.queries, lambda: parse_queries(session, asked, differences=options.since is not None))
        epochs = _pinned(session, queries, options.since, opened)
        answers = _answers(queries, epochs, options, progress)
        answered = time.perf_counter()
        report = _audited(session, options, progress)
        ended = time.perf_counter()
        health = session.health()
        failed = any("error" in answer for answer in answers) or bool(report and report.different_cells)
        summary = {
            "exit_status": int(failed or health.status != "ok"),
            "versions": {
                "gpu_engine": ge.__version__,
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
            "backend": {"name": session.backend.name, "reason": session.backend.reason},
            "since": options.since,
            "epochs": epochs,
            "sources": [_source(load) for load in loads],
            "tables": {name: len(table) for name, table in session.tables.items()},
            "queries": answers,
            "audit": None if report is None else _audit(report),
            "failures": [asdict(failure) for failure in health.failures],
            "seconds": {
                "build": built - started,
                "queries": answered - built,
                "audit": ended - answered,
                "total": ended - started,
            },
        }
    try:
        _write(options.out / SUMMARY, lambda path: path.write_text(json.dumps(summary, indent=2, allow_nan=False)))
    except OSError as error:
        raise BatchError(f"cannot write {options.out / SUMMARY}: {error.strerror or error}.") from error
    return summary


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BatchError(f"cannot read the queries {path}: {error.strerror or error}. Give a JSON file.") from error
    return _placed(path, lambda: expect_queries(load(text)))


def _placed(path: Path, parse: Callable[[], list[Any]]) -> list[Any]:
    """Return what `parse` does; its error names the file of the queries too."""
    try:
        return parse()
    except RequestError as error:
        raise RequestError(error.code, f"{path}: {error}", known=error.known) from error


def _prepare(out: Path) -> None:
    """Make the folder, and take away the summary of an earlier batch, which would speak for this one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / SUMMARY).unlink(missing_ok=True)
    except OSError as error:
        raise BatchError(
            f"cannot write to the folder {out}: {error.strerror or error}. Choose another --out."
        ) from error


def _pinned(session: ge.Session, queries: Sequence[BatchQuery], since: int | None, opened: ExitStack) -> dict[str, int]:
    """Return the epoch at which the queries of each branch are run; it stays readable until the batch ends."""
    epochs = {}
    for branch in sorted({query.branch for query in queries}):
        epochs[branch] = opened.enter_context(session.pin(branch=branch)).epoch
        if since is not None:
            opened.enter_context(session.pin(since, branch))
    return epochs


def _answers(
    queries: Sequence[BatchQuery], epochs: Mapping[str, int], options: BatchOptions, progress: ProgressLine
) -> list[dict[str, Any]]:
    started = time.perf_counter()
    answers = []
    for number, query in enumerate(queries, start=1):
        progress.step(query.name, number, len(queries), time.perf_counter() - started)
        answers.append(_answer(query, epochs[query.branch], options))
    progress.clear()
    return answers


def _answer(query: BatchQuery, epoch: int, options: BatchOptions) -> dict[str, Any]:
    """Run one query and write its file; return what the summary says of it. A failure ends this query only."""
    begun = time.perf_counter()
    told: dict[str, Any] = {"name": query.name, **query.about(), "branch": query.branch}
    path = options.out / f"{query.name}.parquet"
    try:
        found = query.run(epoch, options.since)
        answered = time.perf_counter()
        _write(path, lambda beside: pq.write_table(found.table, beside))
    except Exception as error:
        log.exception("query %s failed", query.name)
        code = getattr(error, "code", type(error).__name__)
        return {**told, "error": {"code": code, "message": str(error)}, "seconds": time.perf_counter() - begun}
    return {
        **told,
        "epoch": _epoch(found.table),
        "source": found.source,
        "provider": found.provider,
        "file": path.name,
        "rows": found.table.num_rows,
        "bytes": path.stat().st_size,
        "query_seconds": answered - begun,
        "seconds": time.perf_counter() - begun,
    }


def _epoch(table: pa.Table) -> int:
    return int(table.schema.metadata[b"epoch"])


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file beside `path`, and give it its name once it is complete."""
    beside = path.with_name(f".{path.name}.part")
    try:
        write(beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _audited(session: ge.Session, options: BatchOptions, progress: ProgressLine) -> ge.AuditReport | None:
    if not options.audit:
        return None
    progress.step("audit of the providers", 1, 1, 0.0)
    report = session.reprocess()
    progress.clear()
    return report


def _source(load: ge.LoadProgress) -> dict[str, Any]:
    return {
        "source": load.source,
        "format": load.file_format,
        "files": load.files,
        "rows": load.rows,
        "bytes": load.nbytes,
        "seconds": load.seconds,
    }


def _audit(report: ge.AuditReport) -> dict[str, Any]:
    return {
        "cells": report.cells,
        "different_cells": report.different_cells,
        "providers": [
            {**asdict(audit), "differences": [str(difference) for difference in audit.differences]}
            for audit in report.providers
        ],
        "seconds": report.seconds,
    }
