"""Entries become units again, however they are cut into pieces; what is out of place is named by its index."""

from __future__ import annotations

import random

import pytest

from ledger.assemble import Logged
from ledger.entry import ISSUE, ISSUE_BYTES, STATUS_EVENT_BYTES, Submission, decode
from ledger.errors import MalformedEntry, RuleViolation, UnknownEntry
from ledger.merkle import leaf_hashes
from ledger.units import UnitReader
from tests.builders import demo_log

ENTRIES = tuple(demo_log().entries)


def read(entries: list[bytes]) -> list[Logged]:
    return list(UnitReader().feed(entries))


def block_start() -> int:
    """The index of a submission with several events."""
    return next(
        k for k, data in enumerate(ENTRIES) if isinstance(entry := decode(data), Submission) and entry.count > 1
    )


def test_any_cut_gives_the_same_units() -> None:
    """Pieces of random sizes, empty ones among them; indexes, bytes and leaves are those of the log."""
    whole = read(list(ENTRIES))
    leaves = [leaf for unit in whole for leaf in unit.leaves()]
    assert leaves == leaf_hashes(ENTRIES)
    for seed in range(50):
        chosen = random.Random(seed)
        reader, units, at = UnitReader(), [], 0
        while at < len(ENTRIES):
            take = chosen.randrange(6)
            units += list(reader.feed(ENTRIES[at : at + take]))
            at += take
        assert not reader.waiting
        assert reader.index == len(ENTRIES)
        assert [(unit.index, unit.data, unit.leaf, unit.count) for unit in units] == [
            (unit.index, unit.data, unit.leaf, unit.count) for unit in whole
        ]


def test_a_log_that_ends_in_a_submission_waits() -> None:
    reader = UnitReader()
    list(reader.feed(ENTRIES[: block_start() + 2]))
    assert reader.waiting


def test_an_event_outside_any_submission() -> None:
    event = next(data for data in ENTRIES if data[1] == ISSUE)
    with pytest.raises(RuleViolation) as refusal:
        read([*ENTRIES[:2], event])
    assert (refusal.value.rule, refusal.value.index) == ("entry-order", 2)


def test_another_entry_among_the_events() -> None:
    """Nothing stands between a submission and its events: the entry found in an event's place is the violation."""
    at = block_start()
    with pytest.raises(RuleViolation) as refusal:
        read([*ENTRIES[: at + 2], ENTRIES[1], *ENTRIES[at + 2 :]])
    assert (refusal.value.rule, refusal.value.index) == ("count", at + 2)


def test_bytes_do_not_move_between_events() -> None:
    """Joined, the events of these logs are the honest ones; entry by entry they are not, and their leaves would be
    taken from what the joined bytes decode to."""
    at = block_start()
    first, second = ENTRIES[at + 1], ENTRIES[at + 2]
    for left, right in (
        (first + second[:1], second[1:]),
        (first[:-1], first[-1:] + second),
        (first + second, b""),
        (first[:2], first[2:] + second),
    ):
        with pytest.raises((MalformedEntry, RuleViolation)) as refusal:
            read([*ENTRIES[: at + 1], left, right, *ENTRIES[at + 3 :]])
        error = refusal.value
        index = error.index if isinstance(error, RuleViolation) else error.members["index"]
        assert index in (at + 1, at + 2)


def test_a_malformed_event_is_named_by_its_index() -> None:
    at = block_start()
    events = [k for k, data in enumerate(ENTRIES) if len(data) == STATUS_EVENT_BYTES]
    spoilt = list(ENTRIES)
    spoilt[events[0]] = spoilt[events[0]][:-1] + bytes([7])
    with pytest.raises(MalformedEntry) as refusal:
        read(spoilt)
    assert refusal.value.members["index"] == events[0]
    spoilt = list(ENTRIES)
    spoilt[at + 1] = bytes([2]) + spoilt[at + 1][1:]
    assert len(spoilt[at + 1]) in (ISSUE_BYTES, STATUS_EVENT_BYTES)
    with pytest.raises(MalformedEntry) as refusal:
        read(spoilt)
    assert refusal.value.members["index"] == at + 1


def test_an_unknown_entry_stops_the_reader() -> None:
    with pytest.raises(UnknownEntry) as refusal:
        read([*ENTRIES[:2], b"\x01\x0a" + bytes(40)])
    assert refusal.value.members["index"] == 2
