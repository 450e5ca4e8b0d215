"""The tests. A package, so that `tests.samples` is this one and no other that is installed."""
