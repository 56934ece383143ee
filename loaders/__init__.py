"""The outside world as Arrow batches, each with a position; knows nothing of the engine.

Floor 0: imports nothing of the project but itself (docs/architecture.md).

- `source`: the batch that every source gives, and what a source is.
- `errors`: the one error for bad input; it names file, line, column and value.
- `files`: which files a path, a folder or a glob means, and how to tell that one has changed.
- `csv` (with `csv_decoding`, `csv_faults`) and `parquet`: files to batches.
- `watch` (with `settling`, `observing`): which files of a folder are new or changed, once they have come to rest.
- `csv_salvage`: what can be read of a CSV file that has bad records, and the bad records as they are.
- `kafka` (with `kafka_settings`, `kafka_start`): a topic to batches of messages; `kafka_record`, `kafka_decoding`,
  `debezium`, `kafka_registry`: messages to rows.
- `testing`: the contract that every source keeps, for anyone to run on their own.
"""
