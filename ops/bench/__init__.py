"""Benchmarks of the running service. `python -m ops.bench --help`; how to read them: docs/operations.md."""
