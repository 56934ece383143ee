"""The contract kit finds sources that break the contract; every fault it looks for is played to it here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pyarrow as pa
import pytest

from loaders.source import SourceBatch
from loaders.testing import ContractError, ScriptedSource, check_source

Batches = list[SourceBatch]


def batch(position: object, *numbers: float, name: str = "n") -> SourceBatch:
    return SourceBatch(pa.RecordBatch.from_pydict({name: pa.array(numbers, pa.float64())}), position)


GOOD = [batch(2, 1, float("nan")), batch(2), batch(3, 3)]


def after(batches: Batches, position: Any) -> Batches:
    return [batch for batch in batches if position is None or cast(int, batch.position) > position]


def resumable(batches: Batches) -> Callable[[Any], ScriptedSource]:
    return lambda resume: ScriptedSource(after(batches, resume))


def test_a_good_source_passes() -> None:
    check_source(resumable(GOOD))


def test_positions_may_be_of_any_kind() -> None:
    letters = {"a": batch({"partition": "a"}, 1), "b": batch({"partition": "b"}, 2)}

    def open_at(resume: dict[str, str] | None) -> ScriptedSource:
        return ScriptedSource(b for name, b in letters.items() if resume is None or name > resume["partition"])

    check_source(open_at, position_key=lambda position: position["partition"])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least one batch"),
        ([batch(1, 1), batch(2, 2, name="m")], "another schema"),
        ([batch(2, 1), batch(1, 2)], "goes back"),
        ([batch(1, 1), batch(1, 2)], "does not grow"),
    ],
)
def test_a_faulty_script_is_found_out(batches: Batches, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_source(resumable(batches))


def test_a_source_that_does_not_resume_is_found_out() -> None:
    with pytest.raises(ContractError, match="just the rows after it"):
        check_source(lambda resume: ScriptedSource(GOOD))


def test_a_source_that_changes_is_found_out() -> None:
    scripts = iter([GOOD, GOOD[:1]])
    with pytest.raises(ContractError, match="a second reading"):
        check_source(lambda resume: ScriptedSource(next(scripts)))


def test_a_source_that_ignores_close_is_found_out() -> None:
    class Stubborn(ScriptedSource):
        def close(self) -> None:
            """Do nothing."""

    with pytest.raises(ContractError, match="after it was closed"):
        check_source(lambda resume: Stubborn(after(GOOD, resume)))


def test_an_error_of_the_source_comes_through() -> None:
    source = ScriptedSource([batch(1, 1), OSError("gone"), batch(2, 2)])
    assert next(source).position == 1
    with pytest.raises(OSError, match="gone"):
        next(source)
    assert next(source).position == 2
