"""The strict backend's index: takes and gives device arrays only."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_engine.backend.numpy_index import NumpyIndex
from tests.strict.strict_array import StrictArray, operand, refuse
from tests.strict.transfers import TransferMeter


class StrictIndex:
    """An `IntIndex` of device arrays."""

    def __init__(self, meter: TransferMeter) -> None:
        self._index, self._meter = NumpyIndex(), meter

    def __len__(self) -> int:
        return len(self._index)

    @property
    def keys(self) -> StrictArray:
        return StrictArray(self._index.keys, self._meter)

    @property
    def nbytes(self) -> int:
        return self._index.nbytes

    def lookup(self, keys: Any) -> StrictArray:
        return StrictArray(self._index.lookup(_keys(keys)), self._meter)

    def insert(self, keys: Any) -> StrictArray:
        self._meter.size()  # the host has to know how many there are now
        return StrictArray(self._index.insert(_keys(keys)), self._meter)


def _keys(keys: Any) -> Any:
    host = operand(keys, "index")
    if not isinstance(host, np.ndarray) or host.ndim != 1:
        refuse(f"an index of {keys!r}:", "Its keys are (n,) int64 device arrays.")
    return host
