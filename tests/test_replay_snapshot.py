"""Snapshots: they go on as the log does, and nothing damaged is believed."""

from __future__ import annotations

import contextlib
import hashlib
import random

import pytest

from ledger.block import Block
from ledger.errors import MalformedInput, RuleViolation
from ledger.replay import Replay
from tests.builders import ORIGIN, demo_log


def test_a_snapshot_at_any_point_goes_on_as_the_log_does() -> None:
    """Restore after each unit and play the rest: the same end, and the same refusals on the way."""
    log = demo_log()
    units = log.all_units()
    replay = Replay()
    for k, unit in enumerate(units):
        replay.apply(unit)
        restored = Replay.from_snapshot(replay.snapshot(), ORIGIN)
        assert restored.snapshot() == replay.snapshot()
        assert restored.issuers == replay.issuers
        for later in units[k + 1 :]:
            restored.apply(later)
        assert restored.snapshot() == log.replay.snapshot()
        if isinstance(unit, Block):
            with pytest.raises(RuleViolation):
                replay.draft().append(unit)


def test_snapshots_of_another_version_or_log_are_refused() -> None:
    """Whoever cannot read it exactly reads the log again."""
    data = demo_log().replay.snapshot()
    for bad in (
        b"",
        data[:4],
        data[:5],
        data[:-1],
        data + b"\0",
        b"BLSX" + data[4:],
        data[:4] + b"\x00" + data[5:],
        data[:4] + b"\x02" + data[5:],
    ):
        with pytest.raises(MalformedInput):
            Replay.from_snapshot(bad)
    with pytest.raises(MalformedInput, match="is of the log"):
        Replay.from_snapshot(data, "other.example")
    assert Replay.from_snapshot(data, ORIGIN).origin == ORIGIN


def test_a_damaged_snapshot_is_refused() -> None:
    """Any bit flipped anywhere is found."""
    data = demo_log().replay.snapshot()
    rng = random.Random(4)
    for position in [*range(64), *rng.sample(range(64, len(data)), 200)]:
        bad = bytearray(data)
        bad[position] ^= 1 << rng.randrange(8)
        with pytest.raises(MalformedInput):
            Replay.from_snapshot(bytes(bad))


def test_a_snapshot_whose_parts_do_not_add_up_is_refused() -> None:
    """Written whole but wrong: bits, chunks and totals that contradict each other are found, and nothing that can be
    wrong ends in anything but MalformedInput."""
    replay = demo_log().replay
    data = replay.snapshot()

    def spoiled(position: int, mask: int) -> bytes:
        body = bytearray(data[37:])
        body[position] ^= mask
        return data[:5] + hashlib.sha256(body).digest() + body

    chunk = next(iter(replay.status.chunks().values()))
    for start, length in ((data.index(chunk), 64), (data.index(b"\xff" * 32), 32)):
        for position in range(start - 37, start - 37 + length):
            with pytest.raises(MalformedInput):
                Replay.from_snapshot(spoiled(position, 4))
    rng = random.Random(4)
    for _ in range(2_000):
        with contextlib.suppress(MalformedInput):
            Replay.from_snapshot(spoiled(rng.randrange(len(data) - 37), 1 << rng.randrange(8)))


def test_the_empty_log_has_a_snapshot() -> None:
    """Nothing, stored and read back, is nothing."""
    assert Replay.from_snapshot(Replay().snapshot()).size == 0
