"""gpu_engine: a real-time OLAP engine. Tables with keys, joins, cubes and live queries, moved by every transaction.

Names for users; `import gpu_engine as ge`. Files of the package import submodules, never this one.
"""

import gpu_engine.durability.offline as data_directory
import gpu_engine.errors as errors
import gpu_engine.kafka as kafka
from gpu_engine.backend.array_backend import DeviceColumn
from gpu_engine.backend.choice import BackendReport
from gpu_engine.backend.cuda_probe import ProbeStep, probe_gpu
from gpu_engine.cube.audit import CellDifference, ProviderAudit
from gpu_engine.cube.change import CellChange
from gpu_engine.cube.cube import Cube
from gpu_engine.cube.hierarchy import Hierarchy, Level
from gpu_engine.cube.live import LiveQuery
from gpu_engine.cube.measure import Measure, agg
from gpu_engine.cube.plan import Explanation
from gpu_engine.cube.provider import AggregateProvider
from gpu_engine.database.branches import Branches, BranchInfo
from gpu_engine.database.dead_letter import DeadLetter
from gpu_engine.database.diff import TableDiff
from gpu_engine.database.report import CommitReport, TableReport
from gpu_engine.database.retention import CompactionReport, Pin, RetentionPolicy
from gpu_engine.database.table import Table
from gpu_engine.database.transaction import Transaction
from gpu_engine.database_interface import DatabaseInterface, DatabaseStatistics
from gpu_engine.dead_letters import DeadLetters, ReplayReport
from gpu_engine.durability.data_directory import DataDirectory, DataDirectoryStatistics
from gpu_engine.durability.recovery import RecoveryReport
from gpu_engine.durability.repair import RepairReport
from gpu_engine.durability.write_ahead_log import LogStatistics
from gpu_engine.expression.condition import Condition
from gpu_engine.expression.expression import field
from gpu_engine.expression.join import Join
from gpu_engine.expression.parameter import ListType, Parameter, param
from gpu_engine.kafka_loading import KafkaLoad, KafkaLoadStatistics
from gpu_engine.load_progress import LoadProgress, watching_loads
from gpu_engine.query.prepared import PreparedQuery
from gpu_engine.query.query_runner import QueryRunner
from gpu_engine.query.table_statistics import ColumnStatistics, TableStatistics
from gpu_engine.reprocess import AuditReport
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
    "AuditReport",
    "BackendReport",
    "BackgroundTask",
    "BranchInfo",
    "Branches",
    "CellChange",
    "CellDifference",
    "ColumnStatistics",
    "CommitReport",
    "CompactionReport",
    "Condition",
    "Cube",
    "DataDirectory",
    "DataDirectoryStatistics",
    "DataType",
    "DatabaseInterface",
    "DatabaseStatistics",
    "DeadLetter",
    "DeadLetters",
    "DeviceColumn",
    "Explanation",
    "Failure",
    "Health",
    "Hierarchy",
    "Join",
    "KafkaLoad",
    "KafkaLoadStatistics",
    "Level",
    "ListType",
    "LiveQuery",
    "LoadProgress",
    "LogStatistics",
    "Measure",
    "Parameter",
    "Pin",
    "PreparedQuery",
    "ProbeStep",
    "ProviderAudit",
    "QueryRunner",
    "RecoveryReport",
    "Registration",
    "RepairReport",
    "ReplayReport",
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
    "data_directory",
    "errors",
    "field",
    "kafka",
    "param",
    "probe_gpu",
    "watching_loads",
]
