"""The command `gpu-engine dead-letters`: list, replay or discard the dead letters of a service that runs.

Floor 6. Speaks HTTP to the service, so it works from any machine that reaches it.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

__all__ = ["ServiceError", "add_dead_letter_commands"]

TIMEOUT_SECONDS = 60.0


class ServiceError(Exception):
    """The service does not answer, or refuses; the message is for the person who typed the command."""


def add_dead_letter_commands(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "dead-letters", help="list, replay or discard the records that a running service could not make rows of"
    )
    parser.add_argument("action", choices=("list", "replay", "discard"))
    parser.add_argument("ids", nargs="*", metavar="ID", help="which; replay and discard need ids or --all")
    parser.add_argument("--all", action="store_true", help="replay or discard all of them")
    parser.add_argument("--table", help="list those of one table")
    parser.add_argument("--limit", type=int, default=100, help="list at most so many (default: %(default)s)")
    parser.add_argument("--url", default="http://127.0.0.1:8765", help="the service (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Do it and print the answer as JSON, a dead letter on each line; 1 if some could not be replayed."""
    if options.action == "list":
        given = {"limit": options.limit, **({"table": options.table} if options.table else {})}
        return _print(_ask(f"{options.url}/api/v1/dead-letters?{urlencode(given)}")["dead_letters"])
    if bool(options.ids) == options.all:
        raise ServiceError(f"{options.action} needs either ids or --all.")
    body = {"all": True} if options.all else {"ids": options.ids}
    answer = _ask(f"{options.url}/api/v1/dead-letters/{options.action}", body)
    _print([{name: answer[name] for name in ("replayed", "refused", "discarded") if name in answer}])
    return 1 if answer.get("refused") else 0


def _print(lines: list[Any]) -> int:
    sys.stdout.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return 0


def _ask(address: str, body: Any = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    wanted = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(wanted, timeout=TIMEOUT_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise ServiceError(_reason(error)) from error
    except (OSError, ValueError) as error:
        raise ServiceError(f"{address} does not answer: {error}. Give the address of a service: --url.") from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {error.code} {error.reason}"
