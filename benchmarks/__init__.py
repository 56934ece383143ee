"""Benchmarks: one workload, generated from a seed, measured on the engine and checked against DuckDB.

docs/benchmarks.md says how to run them and what they gave.
"""
