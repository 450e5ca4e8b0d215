"""Dated receipts over small logs: every moment, badge and head against a naive recomputation; what is false refused."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import dated as module
from ledger import merkle, status
from ledger.checkpoint import Checkpoint
from ledger.dated import (
    MAX_DATED_BYTES,
    DatedReceipt,
    Past,
    check_dated,
    format_dated,
    load_any,
    parse_dated,
    plan_past,
    verify_dated,
)
from ledger.entry import StatusRoot, encode
from ledger.errors import LedgerError, MalformedReceipt, ProofInvalid, Stale, TooLarge, VerificationError
from ledger.moment import format_timestamp, parse_moment, parse_timestamp
from ledger.receipt import encode_packed
from ledger.receipt_json import format_json
from ledger.status import StatusTree
from ledger.verify import Proven
from tests.builders import START_MS, LogBuilder
from tests.past_builder import World
from tests.receipt_builder import AllNodes, build_from, policy, sign_head

NONE_POLICY = policy(LogBuilder().origin, quorum="none")


def grown() -> LogBuilder:
    """Two issuers, a second list opened late, every kind of event, two heads of one time, a head without events."""
    log = LogBuilder()
    school = log.issuer("https://school.example/badges", lists=1)
    log.seal()
    log.time += 1_000
    log.issue(school, [school.slot(k) for k in (0, 1, 300)])
    log.seal()
    log.time += 1_500
    log.submit(school, [school.suspend(school.slot(1)), school.issue(school.slot(2))])
    log.seal()
    log.submit(school, [school.revoke(school.slot(0), 4)])
    log.seal()  # at the time of the one before
    log.time += 700
    club = log.issuer(lists=1)
    log.issue(club, [club.slot(5)])
    log.time += 300
    log.seal()
    log.time += 2_000
    log.submit(school, [school.reinstate(school.slot(1))])
    log.submit(club, [club.suspend(club.slot(5)), club.revoke(club.slot(5))])
    log.seal()
    log.time += 10_000
    log.seal()  # a heartbeat
    return log


@pytest.fixture(scope="module")
def world() -> World:
    return World(grown())


def prove(dated: DatedReceipt, **changes: Any) -> tuple[Proven, module.ProvenPast]:
    now_s = dated.receipt.status_root_entry().time // 1000
    return verify_dated(dated, policy=policy(dated.receipt.origin), now_s=changes.pop("now_s", now_s), **changes)


def moments(world: World, size: int) -> Iterator[int]:
    """Around every head below `size`, and between."""
    times = sorted({world.time(index) for index in world.roots if index < size})
    for time, following in itertools.pairwise(times):
        yield from sorted({time, time + 1, (time + following) // 2, following - 1})


def test_every_moment_of_every_badge_under_every_head(world: World) -> None:
    """What is proven is what the entries up to the last head at or before that moment say."""
    seen = set()
    for size in (index + 1 for index in world.roots):
        for issue in (index for index in world.issued() if index < size):
            for at_ms in moments(world, size):
                for full in (True, False):
                    dated = world.dated(issue, at_ms, size, full=full)
                    assert parse_dated(format_dated(dated)) == dated
                    proven, past = prove(dated)
                    below = max(index for index in world.roots if world.time(index) <= at_ms) + 1
                    assert past.state == world.naive(issue, below)
                    assert proven.state == world.naive(issue, size)
                    assert (past.at_ms, past.size) == (at_ms, below)
                    assert past.status_root.time <= at_ms < past.until_ms
                    seen.add((past.state, proven.state))
    assert {state for state, _ in seen} == {"unissued", "active", "suspended", "revoked"}
    assert ("active", "revoked") in seen
    assert ("suspended", "active") in seen


def test_no_other_pair_of_heads_serves(world: World) -> None:
    """Of all pairs of status_roots only neighbours that enclose the moment are accepted, so nobody picks one."""
    size = world.roots[-1] + 1
    issue = world.issued()[0]
    accepted = 0
    for at_ms in moments(world, size):
        for first in world.roots:
            for successor in (index for index in world.roots if index > first):
                dated = DatedReceipt(at_ms, world.receipt(issue, size), world.past(issue, first, successor, size))
                entry = world.entries[successor]
                assert isinstance(entry, StatusRoot)
                if entry.previous == first and world.time(first) <= at_ms < world.time(successor):
                    prove(dated)
                    accepted += 1
                else:
                    with pytest.raises(ProofInvalid) as refused:
                        prove(dated)
                    assert refused.value.members["step"] == 10
    assert accepted == len(list(moments(world, size)))


@pytest.fixture
def dated(world: World) -> DatedReceipt:
    """The first badge, suspended neighbour in its chunk, at a moment before it was revoked."""
    return world.dated(world.issued()[0], START_MS + 1_500, world.roots[-1] + 1)


def flips(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def test_every_hash_counts(dated: DatedReceipt) -> None:
    """Each hash of both proofs changed, left out, doubled; each proof cut short."""
    for name in ("log_proof", "status_proof"):
        proof = getattr(dated.past, name)
        assert proof
        changed = [(*proof[:k], bytes(32), *proof[k + 1 :]) for k in range(len(proof))]
        changed += [(*proof[:k], *proof[k + 1 :]) for k in range(len(proof))]
        changed += [proof[:k] for k in range(len(proof))] + [(*proof, proof[-1])]
        for wrong in changed:
            with pytest.raises(ProofInvalid):
                prove(replace(dated, past=replace(dated.past, **{name: wrong})))


def test_every_byte_of_chunk_and_entries_counts(dated: DatedReceipt) -> None:
    """A changed bit of the chunk, the status_root or its successor is refused."""
    assert dated.past.chunk is not None
    for chunk in flips(dated.past.chunk):
        with pytest.raises(LedgerError):
            prove(replace(dated, past=replace(dated.past, chunk=chunk)))
    for name in ("status_root", "successor"):
        index, data = getattr(dated.past, name)
        for entry in flips(data):
            with pytest.raises((MalformedReceipt, ProofInvalid)):
                prove(replace(dated, past=replace(dated.past, **{name: (index, entry)})))


def test_entries_swapped_or_elsewhere_are_refused(dated: DatedReceipt, world: World) -> None:
    """The two entries exchanged, at other indexes, of other types, or contradicting the receipt's own."""
    first, successor = dated.past.status_root, dated.past.successor
    size = dated.receipt.tree_size
    for past in (
        replace(dated.past, status_root=successor, successor=first),
        replace(dated.past, status_root=(first[0], successor[1]), successor=(successor[0], first[1])),
        replace(dated.past, status_root=(first[0] - 1, first[1])),
        replace(dated.past, successor=(successor[0] + 1, successor[1])),
        replace(dated.past, successor=(size, successor[1])),
        replace(dated.past, successor=(size - 1, successor[1])),
        replace(dated.past, status_root=(first[0], world.log.entries[dated.receipt.index])),
        replace(dated.past, successor=(successor[0], b"")),
    ):
        with pytest.raises((MalformedReceipt, ProofInvalid)):
            prove(replace(dated, past=past))


def test_a_chunk_exactly_if_issued(dated: DatedReceipt, world: World) -> None:
    """A badge that was issued cannot be shown as unissued, nor the other way round."""
    with pytest.raises(MalformedReceipt):
        prove(replace(dated, past=replace(dated.past, chunk=None, status_proof=())))
    with pytest.raises(MalformedReceipt):
        prove(replace(dated, past=replace(dated.past, chunk=None)))
    late = world.dated(world.issued()[-1], START_MS + 500, world.roots[-1] + 1)
    assert late.past.chunk is None
    assert prove(late)[1].state == "unissued"
    with pytest.raises(MalformedReceipt):
        prove(replace(late, past=replace(late.past, chunk=bytes(64))))
    with pytest.raises(MalformedReceipt):
        prove(replace(late, past=replace(late.past, status_proof=(bytes(32),))))
    with pytest.raises(MalformedReceipt):
        check_dated(replace(dated, past=replace(dated.past, chunk=bytes(63))))
    with pytest.raises(MalformedReceipt):
        check_dated(replace(dated, past=replace(dated.past, log_proof=(bytes(31),))))


def test_the_moment_is_bound_by_the_heads(dated: DatedReceipt) -> None:
    """One millisecond outside is refused; every moment between is proven by the same document."""
    past = prove(dated)[1]
    for at_ms in (past.status_root.time, past.until_ms - 1):
        assert prove(replace(dated, at_ms=at_ms))[1].state == past.state
    for at_ms in (past.status_root.time - 1, past.until_ms, 0, 2**53 - 1):
        with pytest.raises(ProofInvalid, match="do not enclose the moment"):
            prove(replace(dated, at_ms=at_ms))
    for at_ms in (-1, 2**53):
        with pytest.raises(MalformedReceipt):
            prove(replace(dated, at_ms=at_ms))


def test_the_past_of_another_badge_or_log_is_refused(dated: DatedReceipt, world: World) -> None:
    """Past and receipt are of one head: a past with the paths of another tree does not lead there."""
    other = World(grown_longer())
    size = world.roots[-1] + 1
    assert other.log.entries[: size - 1] == world.log.entries[: size - 1]
    foreign = other.dated(other.issued()[0], dated.at_ms, other.roots[-1] + 1)
    assert foreign.past.log_proof != dated.past.log_proof
    with pytest.raises(ProofInvalid):
        prove(replace(dated, past=foreign.past))
    dated = world.dated(world.issued()[0], START_MS + 3_000, size)
    far = world.dated(world.issued()[2], dated.at_ms, size)  # another chunk
    with pytest.raises(ProofInvalid, match="status proof"):
        prove(replace(dated, past=far.past))


def grown_longer() -> LogBuilder:
    log = grown()
    log.time += 1_000
    log.seal()
    return log


def test_the_receipt_is_verified_as_ever(dated: DatedReceipt) -> None:
    """An old head is stale, an unsigned one refused, another badge is another badge."""
    head_s = dated.receipt.status_root_entry().time // 1000
    with pytest.raises(Stale):
        prove(dated, now_s=head_s + 100, max_age_s=99)
    with pytest.raises(LedgerError):
        prove(replace(dated, receipt=replace(dated.receipt, signatures=dated.receipt.signatures[:1])))
    with pytest.raises(LedgerError):
        prove(dated, commitment=bytes(32))


class Liar:
    """A log that breaks its rules and signs what it likes: entries changed, status trees of its own."""

    def __init__(self, world: World, changes: dict[int, StatusRoot], tree: StatusTree | None = None) -> None:
        self.entries = list(world.log.entries)
        for index, entry in changes.items():
            self.entries[index] = encode(entry)
        self.world = world
        self.tree = tree

    def dated(self, issue: int, at_ms: int, first: int, successor: int) -> DatedReceipt:
        world, size = self.world, len(self.entries)
        slot = int.from_bytes(self.entries[issue][34:42], "big")
        leaves = merkle.leaf_hashes(self.entries)
        signatures = sign_head(Checkpoint(world.log.origin, size, merkle.tree_hash(leaves)), world.log.time // 1000)
        tree = self.tree or world.trees[size]
        receipt = build_from(world.log.origin, self.entries, issue, tree.proof(slot), signatures, full=True)
        chunk, proof = world.trees[first + 1].proof(slot)
        plan = plan_past(first, successor, size)
        return DatedReceipt(
            at_ms,
            receipt,
            Past(
                (first, self.entries[first]),
                (successor, self.entries[successor]),
                tuple(merkle.build(plan, AllNodes(leaves))),
                chunk,
                tuple(proof),
            ),
        )


def test_a_signed_lie_that_the_document_itself_shows_is_refused(world: World) -> None:
    """Times that fall between the entries shown, and a revocation that has gone."""
    issue = world.issued()[0]
    first, successor, last = world.roots[-3], world.roots[-2], world.roots[-1]
    roots = {index: world.entries[index] for index in (first, successor, last)}
    at_ms = world.time(first)
    assert prove(Liar(world, {}).dated(issue, at_ms, first, successor))[1].state == "revoked"
    for index, time in ((first, START_MS - 1), (last, world.time(successor) - 1)):
        entry = roots[index]
        assert isinstance(entry, StatusRoot)
        lie = Liar(world, {index: replace(entry, time=time)}).dated(
            issue, time if index == first else at_ms, first, successor
        )
        with pytest.raises(VerificationError) as refused:
            prove(lie, now_s=world.log.time // 1000)
        assert refused.value.members["rule"] == "time-decreases"
    tree, entry = StatusTree.from_chunks(2, {}), roots[last]
    assert isinstance(entry, StatusRoot)
    with pytest.raises(VerificationError) as refused:
        prove(Liar(world, {last: replace(entry, root=tree.root)}, tree).dated(issue, at_ms, first, successor))
    assert refused.value.members == {"rule": "illegal-transition", "step": 11}


# The document ---------------------------------------------------------------------------------------------------------


def document(dated: DatedReceipt) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(format_dated(dated))
    return found


def test_the_document_is_as_the_protocol_says(dated: DatedReceipt) -> None:
    """Its members, by name; the receipt in it is an ordinary one."""
    found = document(dated)
    assert list(found) == ["format", "at", "receipt", "past"]
    assert found["format"] == "badge-ledger/v1 dated receipt"
    assert found["at"] == dated.at_ms
    assert list(found["past"]) == ["status_root", "successor", "log_proof", "chunk", "status_proof"]
    assert load_any(json.dumps(found["receipt"]).encode()) == dated.receipt
    assert load_any(encode_packed(dated.receipt)) == load_any(format_json(dated.receipt)) == dated.receipt
    with pytest.raises(MalformedReceipt, match="of no past moment"):
        parse_dated(format_json(dated.receipt))


def test_every_member_is_needed_and_no_other_is_read(dated: DatedReceipt) -> None:
    """A member left out, one more, a value of another kind: refused, in a sentence."""
    found = document(dated)
    wrong: list[dict[str, Any]] = []
    for place in ((), ("past",), ("past", "status_root"), ("past", "successor"), ("receipt",)):
        for name in _at(found, place):
            wrong.append(_changed(found, place, name, None, drop=True))
            others: tuple[Any, ...] = (None, True, -1, 1.5, "+", [], {}, 2**53)
            wrong += [_changed(found, place, name, other) for other in others]
        wrong.append(_changed(found, place, "more", 1))
    for value in wrong:
        with pytest.raises(MalformedReceipt) as refused:
            parse_dated(json.dumps(value).encode())
        assert refused.value.detail


def _at(document: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    for name in place:
        document = document[name]
    return document


def _changed(
    document: dict[str, Any], place: tuple[str, ...], name: str, value: Any, *, drop: bool = False
) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    inner = _at(copy, place)
    if drop:
        del inner[name]
    else:
        inner[name] = value
    return copy


def test_text_that_is_cut_off_or_doubled_is_refused(dated: DatedReceipt) -> None:
    """Every prefix; a member given twice; base64 in another spelling; sizes past the limit."""
    data = format_dated(dated)
    for length in range(0, len(data), 7):
        with pytest.raises(MalformedReceipt):
            parse_dated(data[:length])
    with pytest.raises(MalformedReceipt):
        parse_dated(data.replace(b'"at":', b'"at":1,"at":', 1))
    found = document(dated)
    found["past"]["log_proof"] = base64.b64encode(b"x" * 33).decode()
    with pytest.raises(MalformedReceipt, match="whole number of hashes"):
        parse_dated(json.dumps(found).encode())
    with pytest.raises(TooLarge):
        parse_dated(data + b" " * MAX_DATED_BYTES)
    with pytest.raises(TooLarge):
        load_any(format_json(dated.receipt) + b" " * 65_536)
    with pytest.raises(TooLarge):
        format_dated(replace(dated, past=replace(dated.past, log_proof=(bytes(32),) * 3_000)))
    with pytest.raises(MalformedReceipt, match="2\\^53"):
        format_dated(replace(dated, past=replace(dated.past, status_root=(2**53, b""))), checked=True)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | st.text(max_size=20) | st.sampled_from(["AAAA", "=", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_hostile_documents_raise_nothing_else(data: st.DataObject) -> None:
    """Whatever stands in place of some member, reading and proving end in a LedgerError or in a proof."""
    world = World(_SMALL)
    dated = world.dated(world.issued()[0], world.time(world.roots[-2]), world.roots[-1] + 1)
    found = document(dated)
    for _ in range(data.draw(st.integers(1, 3))):
        places = [(), ("past",), ("past", "status_root"), ("past", "successor"), ("receipt",)]
        place = data.draw(st.sampled_from(places))
        try:
            inner = _at(found, place)
            name = data.draw(st.sampled_from(sorted(inner) or ["x"]))
            inner[name] = data.draw(_VALUES | st.sampled_from(_spoilt(inner.get(name))))
        except (KeyError, TypeError, AttributeError):
            break
    try:
        prove(parse_dated(json.dumps(found).encode()))
    except LedgerError as error:
        assert error.detail  # noqa: PT017 - either outcome will do


def _spoilt(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [value, value[:-4], value + value, value.swapcase()]
    if isinstance(value, int):
        return [value, value + 1, max(0, value - 1), 0]
    return [value]


_SMALL = LogBuilder()
_ISSUER = _SMALL.issuer("https://school.example/badges", lists=1)
_SMALL.issue(_ISSUER, [_ISSUER.slot(3)])
_SMALL.seal()
_SMALL.time += 1_000
_SMALL.submit(_ISSUER, [_ISSUER.revoke(_ISSUER.slot(3))])
_SMALL.seal()


@given(st.binary(max_size=300))
def test_bytes_that_are_nothing_are_malformed(data: bytes) -> None:
    """No other error than MalformedReceipt."""
    with pytest.raises(MalformedReceipt):
        load_any(data)


def test_status_of_a_slot_outside_the_lists_of_then_is_no_state(dated: DatedReceipt, world: World) -> None:
    """A head before the slot's list was opened proves nothing about the slot."""
    late = world.issued()[-1]
    slot = int.from_bytes(world.log.entries[late][34:42], "big")
    assert status.list_of(slot) == 1
    with pytest.raises(ProofInvalid):
        status.verify_status(slot, bytes(64), 1, dated.past.status_proof, bytes(32))


def test_the_largest_document_there_can_be_fits(dated: DatedReceipt) -> None:
    """Two leaves of a log of 2^53 entries and a slot among 2^32 lists."""
    size = 2**53 - 1
    plan = plan_past(size // 3, size // 3 * 2, size)
    hashes = sum(len(group) for group in plan)
    deep = sum(len(group) for group in status.plan_status(2**48 + 77, 2**32 - 1))
    past = replace(dated.past, log_proof=(bytes(32),) * hashes, status_proof=(bytes(32),) * deep)
    data = format_dated(replace(dated, past=past), checked=True)
    assert len(data) - len(format_json(dated.receipt)) < MAX_DATED_BYTES - 65_536
    for wrong in ((5, 5, 9), (6, 5, 9), (5, 9, 9), (-1, 5, 9)):
        with pytest.raises(ValueError, match="no two leaves"):
            plan_past(*wrong)


# Moments --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-05-03T12:00Z", "2026-05-03T12:00:00.000Z"),
        ("2026-05-03T14:00+02:00", "2026-05-03T12:00:00.000Z"),
        ("2026-05-03", "2026-05-03T00:00:00.000Z"),
        ("2026-05-03T12:00:00.2509Z", "2026-05-03T12:00:00.250Z"),
        ("2026-05-03T24:00:00Z", "2026-05-04T00:00:00.000Z"),
    ],
)
def test_moments_as_people_type_them(text: str, same: str) -> None:
    """Seconds or the time may be left out; the zone may not."""
    assert format_timestamp(parse_moment(text)) == same
    assert parse_timestamp(same) == parse_moment(text)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-05-03T12:00", "2026-05-03 12:00Z", "2026-13-01", "2026-05-03T12Z", "2026-05-03T12:00:00"],
)
def test_what_is_no_moment(text: str) -> None:
    """No zone, no time: refused rather than guessed."""
    with pytest.raises(LedgerError, match="with its zone"):
        parse_moment(text)


def test_a_past_is_a_value(dated: DatedReceipt) -> None:
    """Frozen, and equal by what it holds."""
    assert msgspec.structs.replace(dated) == dated
    with pytest.raises(AttributeError):
        dated.at_ms = 1  # type: ignore[misc]
