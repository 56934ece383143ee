"""The command `gpu-engine`: serve a session that a user's function builds, or the demo; run a batch of queries on one.

Floor 6. A service ends with status 0 on Ctrl-C and SIGTERM, a batch with 130. Where it cannot start, the status is 2
and a sentence on stderr says why.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import gpu_engine as ge
from api.batch import SUMMARY, BatchError, BatchOptions, run_batch
from api.data_directory import add_commands, add_options, session_settings
from api.dead_letter_commands import ServiceError, add_dead_letter_commands
from api.doctor import diagnosis
from api.errors import RequestError
from api.progress import ProgressLine

__all__ = ["main"]

DEMO = "examples.market_risk:create_session"
BACKENDS = ("auto", "cpu", "gpu")


class CommandError(Exception):
    """The command cannot do what it was told; the message is for the person who typed it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the command's name; those of the process by default.
    """
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    try:
        status: int = options.run(options)
        return status
    except (CommandError, BatchError, RequestError, ServiceError, ge.errors.EngineError) as error:
        print(f"gpu-engine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-engine", description="Live cubes over tables, in memory.")
    parser.add_argument("--version", action="version", version=f"gpu-engine {ge.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    serve = commands.add_parser(
        "serve",
        help="serve the session that a function of yours builds",
        description=(
            "Import MODULE (the current folder is searched too) and serve what FUNCTION gives: "
            "FUNCTION() returns a gpu_engine.Session; FUNCTION(session) fills the one it is handed, "
            "which works on the backend chosen here, and may return it."
        ),
    )
    serve.add_argument("target", metavar="module:function")
    demo = commands.add_parser("demo", help="serve the market-risk example with moving prices")
    demo.set_defaults(target=DEMO)
    batch = commands.add_parser(
        "batch",
        help="run queries of a file on the session that a function of yours builds, and write Parquet",
        description="Build a session as `serve` does, run the queries, write one Parquet file each and summary.json.",
    )
    batch.add_argument("target", metavar="module:function")
    batch.add_argument("--query", required=True, type=Path, metavar="FILE", help="JSON list of named queries")
    batch.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where the results go")
    batch.add_argument("--since", type=int, metavar="EPOCH", help="write only the cells that differ from that epoch")
    batch.add_argument("--no-audit", action="store_true", help="do not compute the providers anew from the rows")
    batch.set_defaults(run=_batch)
    add_dead_letter_commands(commands)
    doctor = commands.add_parser("doctor", help="say step by step whether a GPU works here; status 0 if one does")
    doctor.set_defaults(run=_doctor)
    for command in (serve, demo, batch):
        command.add_argument("--backend", choices=BACKENDS, help="where arrays live (default: auto, a GPU that works)")
    for command in (serve, batch):
        add_options(command)
    add_commands(commands, _data_directory)
    for command in (serve, demo):
        command.set_defaults(run=_serve)
        command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        command.add_argument("--port", type=int, default=8765, help="port, 0 for a free one (default: %(default)s)")
    return parser


def _serve(options: argparse.Namespace) -> int:
    """Build the session, serve it, wait to be told to stop."""
    if not 0 <= options.port <= 65535:
        raise CommandError(f"port {options.port} does not exist. Choose 0 to 65535.")
    _end_on_signals()
    with _build(_function(options.target), options.target, session_settings(options)) as session:
        try:
            url = session.serve(host=options.host, port=options.port)
        except OSError as error:
            raise CommandError(
                f"cannot listen on {options.host}:{options.port}: {error.strerror or error}. "
                "Choose another --port, or 0 for a free one."
            ) from error
        print(f"gpu-engine is serving at {url}", flush=True)
        _wait()
    return 0


def _batch(options: argparse.Namespace) -> int:
    """Run a batch: 0 if all went well, 1 if a query failed, a provider was wrong or a background task has failed."""
    _end_on_signals()
    wanted = BatchOptions(options.query, options.out, options.since, audit=not options.no_audit)
    try:
        function = _function(options.target)
        settings = session_settings(options)
        summary = run_batch(lambda: _build(function, options.target, settings), wanted, ProgressLine(sys.stderr))
    except KeyboardInterrupt:
        print("gpu-engine: stopped before the end; there is no summary", file=sys.stderr)
        return 130
    written = sum("file" in query for query in summary["queries"])
    print(f"gpu-engine wrote {written} of {len(summary['queries'])} queries; see {options.out / SUMMARY}")
    return int(summary["exit_status"])


def _data_directory(options: argparse.Namespace) -> int:
    """Do something to a data directory and say what was done."""
    try:
        print(f"gpu-engine: {options.answer(options)}")
    except OSError as error:
        raise CommandError(str(error)) from error
    return 0


def _doctor(options: argparse.Namespace) -> int:
    """Say whether a GPU works here: 0 if it does, 1 if not."""
    steps = ge.probe_gpu()
    print("\n".join(diagnosis(steps)))
    return 0 if steps[-1].ok else 1


def _end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end what runs; Ctrl-C also where a shell that started it in the background ignores it."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)


def _wait() -> None:
    """Return when Ctrl-C or SIGTERM asks to stop."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        logging.getLogger(__name__).info("stopping")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _function(target: str) -> Callable[..., Any]:
    """Return the function that `module:function` names, importing the module."""
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise CommandError(f"{target!r} is not of the form module:function. Write for example my_cubes:create_session.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise CommandError(_missing(module_name, error.name or "")) from error
    except Exception as error:
        logging.getLogger(__name__).exception("importing %s failed", module_name)
        raise CommandError(f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise CommandError(f"module {module_name!r} has no function {name!r}. It has: {', '.join(public) or 'none'}.")
    return function  # type: ignore[no-any-return]


def _missing(module_name: str, missing: str) -> str:
    if missing == module_name or module_name.startswith(f"{missing}."):
        where = (
            "Run the demo in a clone of the project" if module_name == DEMO.partition(":")[0] else "Run from its folder"
        )
        return f"there is no module {module_name!r}. {where}, or put its folder on PYTHONPATH."
    return f"module {module_name!r} needs {missing!r}, which is not installed. Install it: pip install {missing}"


def _build(function: Callable[..., Any], target: str, settings: Mapping[str, Any]) -> ge.Session:
    """Return the session that the user's function builds or fills."""
    takes_session = _takes_session(function, target)
    if settings and not takes_session:
        option = next(iter(settings)).replace("_", "-")
        raise CommandError(f"--{option} needs a function that takes the session: {target} chooses its own.")
    session = ge.Session(**settings) if takes_session else None
    try:
        result = function(session) if takes_session else function()
        built = session if result is None else result
        if not isinstance(built, ge.Session):
            raise CommandError(f"{target} returned {type(built).__name__}; it must return a gpu_engine.Session.")
        return built
    except (CommandError, ge.errors.EngineError):
        _close(session)
        raise
    except Exception as error:
        _close(session)
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise CommandError(_missing(target.partition(":")[0], error.name)) from error
        logging.getLogger(__name__).exception("%s failed", target)
        raise CommandError(f"{target} failed: {type(error).__name__}: {error}") from error


def _close(session: ge.Session | None) -> None:
    if session is not None:
        session.close()


def _takes_session(function: Callable[..., Any], target: str) -> bool:
    """Return whether the function wants a session handed in: by a required argument, or one named `session`."""
    parameters = list(inspect.signature(function).parameters.values())
    required = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(required) > 1 or any(parameter.kind is parameter.KEYWORD_ONLY for parameter in required):
        names = ", ".join(parameter.name for parameter in required)
        raise CommandError(f"{target} needs the arguments {names}; it must take none, or the session alone.")
    return bool(required) or bool(parameters and parameters[0].name == "session")


if __name__ == "__main__":
    sys.exit(main())
