"""Benchmarks of the backends: the same work on the CPU and on a GPU, beside what the card's memory allows.

`ci/gpu` runs them on a GPU machine; docs/gpu.md says how.
"""
