"""gpu_engine: a real-time OLAP engine. Tables with keys, joins, cubes and live queries, moved by every transaction.

Names for users; `import gpu_engine as ge`. Files of the package import submodules, never this one.
"""

import gpu_engine.errors as errors
from gpu_engine.backend.choice import BackendReport, ProbeStep
from gpu_engine.cube.change import CellChange
from gpu_engine.cube.cube import Cube
from gpu_engine.cube.hierarchy import Hierarchy, Level
from gpu_engine.cube.live import LiveQuery
from gpu_engine.cube.measure import Measure, agg
from gpu_engine.cube.plan import Explanation
from gpu_engine.cube.provider import AggregateProvider
from gpu_engine.database.branches import Branches, BranchInfo
from gpu_engine.database.diff import TableDiff
from gpu_engine.database.report import CommitReport, TableReport
from gpu_engine.database.retention import CompactionReport, Pin, RetentionPolicy
from gpu_engine.database.table import Table
from gpu_engine.database.transaction import Transaction
from gpu_engine.database_interface import DatabaseInterface, DatabaseStatistics
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.expression import field
from gpu_engine.expression.join import Join
from gpu_engine.expression.parameter import ListType, Parameter, param
from gpu_engine.query.prepared import PreparedQuery
from gpu_engine.query.query_runner import QueryRunner
from gpu_engine.query.table_statistics import ColumnStatistics, TableStatistics
from gpu_engine.schema import (
    BOOLEAN,
    DECIMAL,
    DOUBLE,
    FLOAT,
    INT,
    LOCAL_DATE,
    LONG,
    STRING,
    TIMESTAMP,
    VECTOR,
    DataType,
)
from gpu_engine.session import Session
from gpu_engine.statistics import SessionStatistics
from gpu_engine.stream.listener import StreamListener, StreamOptions, TransactionInfo
from gpu_engine.stream.registration import Registration
from gpu_engine.stream.streamer import StreamerStatistics
from gpu_engine.supervisor import BackgroundTask, Failure, Health

__version__ = "0.1.0"

__all__ = [
    "BOOLEAN",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "LOCAL_DATE",
    "LONG",
    "STRING",
    "TIMESTAMP",
    "VECTOR",
    "AggregateProvider",
    "BackendReport",
    "BackgroundTask",
    "BranchInfo",
    "Branches",
    "CellChange",
    "ColumnStatistics",
    "CommitReport",
    "CompactionReport",
    "Condition",
    "Cube",
    "DataType",
    "DatabaseInterface",
    "DatabaseStatistics",
    "Explanation",
    "Failure",
    "Health",
    "Hierarchy",
    "Join",
    "Level",
    "ListType",
    "LiveQuery",
    "Measure",
    "Parameter",
    "Pin",
    "PreparedQuery",
    "ProbeStep",
    "QueryRunner",
    "Registration",
    "RetentionPolicy",
    "Session",
    "SessionStatistics",
    "StreamListener",
    "StreamOptions",
    "StreamerStatistics",
    "Table",
    "TableDiff",
    "TableReport",
    "TableStatistics",
    "Transaction",
    "TransactionInfo",
    "agg",
    "errors",
    "field",
    "param",
]
