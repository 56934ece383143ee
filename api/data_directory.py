"""Commands on data directories: backup, restore, repair, checkpoint, export; and the options that name one.

Floor 6.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_engine as ge

__all__ = ["add_commands", "add_options", "session_settings"]

DURABILITIES = ("fsync", "group", "os")


def add_options(command: argparse.ArgumentParser) -> None:
    """Let a command take the options of the session that it makes."""
    command.add_argument("--data-dir", type=Path, metavar="FOLDER", help="keep the session on disk, in this folder")
    command.add_argument(
        "--durability",
        choices=DURABILITIES,
        help="when a commit counts as written (default: group)",
    )


def session_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a session that were given on the command line."""
    names = ("backend", "data_dir", "durability")
    given = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def add_commands(commands: Any, run: Callable[[argparse.Namespace], int]) -> None:
    """Add the commands; `run` is given the options, whose `answer` does the work and returns a sentence."""

    def command(name: str, help: str, answer: Callable[[argparse.Namespace], str]) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
        parser.set_defaults(run=run, answer=answer)
        return parser

    backup = command("backup", "copy a data directory, also while a session works on it", _backup)
    backup.add_argument("directory", type=Path, metavar="DATA_DIR")
    backup.add_argument("target", type=Path, metavar="BACKUP", help="a folder that does not exist")
    restore = command("restore", "make a data directory of a backup", _restore)
    restore.add_argument("backup", type=Path, metavar="BACKUP")
    restore.add_argument("directory", type=Path, metavar="DATA_DIR", help="a folder that does not exist")
    repair = command("repair", "give up what comes after the damage in a data directory", _repair)
    repair.add_argument("directory", type=Path, metavar="DATA_DIR")
    checkpoint = command("checkpoint", "write a checkpoint, so that the next start is quick", _checkpoint)
    checkpoint.add_argument("directory", type=Path, metavar="DATA_DIR")
    export = command("export", "write the tables of a version as Parquet files", _export)
    export.add_argument("directory", type=Path, metavar="DATA_DIR")
    export.add_argument("target", type=Path, metavar="FOLDER", help="a folder that does not exist")
    export.add_argument("--branch", default="master", help="default: %(default)s")
    export.add_argument("--epoch", type=int, help="default: the newest of the branch")
    export.add_argument("--table", action="append", metavar="NAME", help="only this one; may be given again")


def _backup(options: argparse.Namespace) -> str:
    return f"{options.directory} is copied to {ge.data_directory.backup(options.directory, options.target)}"


def _restore(options: argparse.Namespace) -> str:
    return f"{options.backup} is restored to {ge.data_directory.restore(options.backup, options.directory)}"


def _checkpoint(options: argparse.Namespace) -> str:
    return f"wrote {ge.data_directory.checkpoint(options.directory)}"


def _repair(options: argparse.Namespace) -> str:
    report = ge.data_directory.repair(options.directory)
    if not report.taken_away:
        return f"{options.directory} has no damage; its newest epoch is {report.epoch}"
    return (
        f"{options.directory} goes to epoch {report.epoch} now; given up: {report.lost_records} sound records that "
        f"came after the damage, and the damaged ones. Taken away: {', '.join(report.taken_away)}"
    )


def _export(options: argparse.Namespace) -> str:
    rows = ge.data_directory.export(options.directory, options.target, options.branch, options.epoch, options.table)
    written = ", ".join(f"{name} ({count} rows)" for name, count in rows.items())
    return f"wrote to {options.target}: {written or 'nothing, there is no table'}"
