"""The common workload on other engines, each used as its own documentation recommends."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from benchmarks.peers.peer import Peer

__all__ = ["PEERS", "Peer", "installed", "peer"]

PEERS = {
    "duckdb": "DuckDBPeer",
    "polars": "PolarsPeer",
    "datafusion": "DataFusionPeer",
    "perspective": "PerspectivePeer",
}
"""Package to import, by which the command line knows a peer too -> its class in the module of that name here."""


def installed(name: str) -> bool:
    """Return whether the package of a peer is there."""
    return find_spec(name) is not None


def peer(name: str) -> type[Peer]:
    """Return the class of a peer that is installed."""
    return cast("type[Peer]", getattr(import_module(f"benchmarks.peers.{name}"), PEERS[name]))
