"""The store against a real server: what is committed is read back, all of it, from one snapshot, or not at all."""

from __future__ import annotations

import pytest

from ledger.store import Store
from tests.store.growing import GrowingLog


@pytest.mark.parametrize(
    "counts",
    [
        [2, 1, 1, 3],
        [255, 1, 1],
        [256, 256],
        [257, 254, 1, 600],
        [1000, 24, 24, 976],
        [65_535, 1, 1],
        [70_000, 61_072, 300],
    ],
    ids=str,
)
async def test_everything_committed_is_read_back(store: Store, counts: list[int]) -> None:
    """After each commit every tile, bundle, entry, edge and commit row is what the entries alone demand."""
    log = GrowingLog()
    for count in counts:
        await log.grow(store, count)
        await log.check(store)
