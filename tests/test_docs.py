"""The code in README.md and docs/ runs as written.

Python blocks of a page run in order, as one program, in an empty folder. A comment before a block changes that:

- `<!-- file: NAME -->`: the block is that file, there for the other blocks of the page;
- `<!-- run against MODULE:FUNCTION -->`: the block, shell or Python, talks to `gpu-engine serve MODULE:FUNCTION`;
- `<!-- not run -->`: the block is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import line_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MUST_HAVE_PYTHON = [ROOT / "README.md"]
DEFAULT_ADDRESS = "127.0.0.1:8765"
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>]*) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    mark: str
    language: str
    line: int
    code: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(match["mark"] or "", match["language"], line, match["code"]))
    return found


def program_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python" and not block.mark]


def served_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.mark.startswith("run against ")]


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.mark.startswith("file: "):
            (folder / block.mark.removeprefix("file: ")).write_text(block.code, encoding="utf-8")


def label(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run(command: list[str], folder: Path) -> str:
    """Run a command in `folder` and return what it wrote; fail with it if the command fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "CURL_HOME": str(folder)}


@contextmanager
def served(target: str, folder: Path) -> Iterator[str]:
    """Serve `module:function` with the command line, on a free port, and yield host:port."""
    command = [sys.executable, "-m", "api.cli", "serve", target, "--port", "0"]
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=log, text=True
        ) as server,
    ):
        try:
            line = line_of(server)
            address = re.search(r"http://([\w.:]+)", line)
            assert address, f"no address in {line!r}\n{(folder / 'server.log').read_text()}"
            yield address[1]
        finally:
            server.kill()


@pytest.mark.parametrize("page", [page for page in PAGES if program_blocks(page)], ids=label)
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    # Blocks keep their place in the page, so that a traceback names its line.
    program = [""] * len(page.read_text(encoding="utf-8").splitlines())
    for block in program_blocks(page):
        code = block.code.splitlines()
        program[block.line - 1 : block.line - 1 + len(code)] = code
    script = tmp_path / f"{page.name}.py"
    script.write_text("\n".join(program), encoding="utf-8")
    run([sys.executable, str(script)], tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if served_blocks(page)], ids=label)
def test_requests_of_a_page_are_answered(page: Path, tmp_path: Path, curl: str) -> None:
    write_files(page, tmp_path)
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n", encoding="utf-8")
    targets = {block.mark.removeprefix("run against ") for block in served_blocks(page)}
    assert len(targets) == 1, f"one page, one served session: {sorted(targets)}"
    with served(targets.pop(), tmp_path) as address:
        for block in served_blocks(page):
            assert DEFAULT_ADDRESS in block.code, f"line {block.line}: no request to {DEFAULT_ADDRESS}"
            code = block.code.replace(DEFAULT_ADDRESS, address)
            shell = ["bash", "-euo", "pipefail", "-c", code]
            output = run(shell if block.language == "sh" else [sys.executable, "-c", code], tmp_path)
            assert output
            assert '"type":"error"' not in output


@pytest.mark.parametrize("page", MUST_HAVE_PYTHON, ids=label)
def test_page_has_python_that_runs(page: Path) -> None:
    assert program_blocks(page)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_fences_are_closed_and_name_their_language(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(fences) % 2 == 0
    assert all(fences[::2]), "a block without a language"
    assert not any(fences[1::2])
    assert not {"py", "Python"} & set(fences), "write ```python, or the block does not run"


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_marks_of_blocks_are_known(page: Path) -> None:
    for block in blocks(page):
        assert re.fullmatch(r"|not run|file: [\w.-]+|run against \w+:\w+", block.mark), f"line {block.line}"
