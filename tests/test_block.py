"""Blocks: one buffer, read without an object per event, says and refuses what decoding each event does."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.block import BODY_HEAD_BYTES, MAX_BODY_BYTES, Block, decode_body, encode_body, sign_submission
from ledger.entry import (
    ISSUE,
    MAX_EVENTS,
    REINSTATE,
    REVOKE,
    SUSPEND,
    Issue,
    StatusEvent,
    StatusRoot,
    Submission,
    decode,
    encode,
    encode_issue,
    encode_status_event,
    issuer_id,
)
from ledger.errors import MalformedBody, MalformedEntry, RuleViolation, SignatureInvalid, TooLarge, UnknownEntry
from ledger.signing import Ed25519Key

ORIGIN = "log.example/test"
KEY = Ed25519Key.from_seed(b"\x01" * 32)
ISSUER = issuer_id("did:example:issuer")
OTHER = issuer_id("did:example:other")


def issue(k: int, issuer: bytes = ISSUER) -> bytes:
    return encode_issue(issuer, 1000 + k, sha256(b"%d" % k).digest())


def status(kind: int, k: int, reason: int = 2, issuer: bytes = ISSUER) -> bytes:
    return encode_status_event(kind, issuer, 1000 + k, reason)


def mix(k: int) -> bytes:
    """An issue or a status event, in an order without period."""
    return issue(k) if sha256(b"mix %d" % k).digest()[0] & 1 else status(REVOKE + k % 3, k, k % 7)


def sign(events: list[bytes]) -> Block:
    return sign_submission(ORIGIN, KEY, ISSUER, 2, b"".join(events), 5, b"\x07" * 16)


def head(count: int) -> Submission:
    """A submission of that many events whose root and signature are zeros."""
    return Submission(1, ISSUER, 2, count, 5, bytes(16), bytes(32), 1, bytes(64))


def naive_root(entries: list[bytes]) -> bytes:
    """RFC 6962 section 2.1 as it is written."""
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return sha256(b"\1" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def check_against_events(block: Block, events: list[bytes]) -> None:
    """Every view of the block agrees with the codec, event by event."""
    decoded = [decode(event) for event in events]
    assert all(isinstance(event, (Issue, StatusEvent)) for event in decoded)
    assert block.count == len(block.kinds) == len(block.reasons) == len(block.slots) == len(events)
    assert block.events == b"".join(events)
    assert block.entries() == events
    assert [block.entry(k) for k in range(len(events))] == events
    assert list(block.kinds) == [event[1] for event in events]
    assert block.types == {event[1] for event in events}
    assert block.slots == [event.slot for event in decoded if isinstance(event, (Issue, StatusEvent))]
    assert list(block.reasons) == [event.reason if isinstance(event, StatusEvent) else 0 for event in decoded]
    assert block.commitments() == [event.commitment for event in decoded if isinstance(event, Issue)]
    assert block.leaf_hashes == [sha256(b"\0" + event).digest() for event in events]
    assert block.bundle_parts() == [len(event).to_bytes(2, "big") + event for event in events]
    assert block.bundle_slice(0, len(events)) == b"".join(block.bundle_parts())
    assert block.events_root == naive_root(events)


issues_only = st.lists(st.builds(issue, st.integers(0, 2**40)), min_size=1, max_size=40)
status_events = st.builds(status, st.sampled_from([REVOKE, SUSPEND, REINSTATE]), st.integers(0, 99), st.integers(0, 6))
status_only = st.lists(status_events, min_size=1, max_size=40)
mixed = st.lists(st.builds(issue, st.integers(0, 2**40)) | status_events, min_size=1, max_size=40)


@given(issues_only | status_only | mixed)
def test_a_block_is_its_events(events: list[bytes]) -> None:
    """Uniform or mixed, every view of the buffer is what decoding each event gives."""
    block = Block.decode(head(len(events)), b"".join(events))
    check_against_events(block, events)
    assert block.foreign_issuer is None


@pytest.mark.parametrize("build", [issue, mix, lambda k: status(SUSPEND, k)], ids=["issues", "mixed", "status"])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1000])
def test_blocks_around_the_widths_of_the_columns(build: object, count: int) -> None:
    """Columns are read 256 entries at a time: the counts around that agree with the codec too."""
    assert callable(build)
    events = [build(k) for k in range(count)]
    check_against_events(sign(events), events)


@given(st.data(), st.sampled_from(["issues", "status", "mixed"]))
def test_bundle_slices(data: st.DataObject, kind: str) -> None:
    """Any slice is the length-prefixed events of its range."""
    block = BLOCKS[kind]
    events = EVENTS[kind]
    start = data.draw(st.integers(0, 700))
    stop = data.draw(st.integers(start, 700))
    expected = b"".join(len(event).to_bytes(2, "big") + event for event in events[start:stop])
    assert block.bundle_slice(start, stop) == expected


BLOCKS = {
    "issues": sign([issue(k) for k in range(700)]),
    "status": sign([status(REVOKE + k % 3, k, k % 7) for k in range(700)]),
    "mixed": sign([mix(k) for k in range(700)]),
}
EVENTS = {kind: block.entries() for kind, block in BLOCKS.items()}


@pytest.mark.parametrize("kind", BLOCKS)
def test_positions_outside_the_block_are_errors(kind: str) -> None:
    """Positions do not wrap around and slices are not cut short in silence."""
    block = BLOCKS[kind]
    for start, stop in ((-1, 3), (3, 2), (0, 701), (701, 701)):
        with pytest.raises(IndexError):
            block.bundle_slice(start, stop)
    for k in (-1, 700):
        with pytest.raises(IndexError):
            block.entry(k)


# Refusals ------------------------------------------------------------------------------------------------------------


def refused(data: bytes, count: int) -> MalformedEntry:
    with pytest.raises(MalformedEntry) as caught:
        Block.decode(head(count), data)
    return caught.value


@given(st.data(), issues_only | status_only | mixed)
def test_one_wrong_byte_is_refused_exactly_as_the_codec_refuses(data: st.DataObject, events: list[bytes]) -> None:
    """With one byte changed, the block is refused at that event if the codec refuses the event, and else is the
    changed events. (A changed type can change the length of an event, and with it all that follow.)"""
    k = data.draw(st.integers(0, len(events) - 1))
    at = data.draw(st.integers(0, 1) | st.just(len(events[k]) - 1) | st.integers(0, len(events[k]) - 1))
    changed = bytearray(events[k])
    changed[at] = data.draw(st.integers(0, 9) | st.integers(0, 255))
    buffer = b"".join([*events[:k], bytes(changed), *events[k + 1 :]])
    kind: type[MalformedEntry] | None = None
    try:
        decode(bytes(changed))
    except MalformedEntry as error:
        kind = type(error)
    if kind is not None:
        found = refused(buffer, len(events))
        if len(changed) == {5: 74, 6: 43, 7: 43, 8: 43}.get(changed[1]):
            assert found.members["positions"] == [k]
            assert type(found) is kind
    else:
        block = Block.decode(head(len(events)), buffer)
        check_against_events(block, [*events[:k], bytes(changed), *events[k + 1 :]])


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("k", [0, 1, 256, 699])
def test_unknown_versions_and_types_name_their_position(kind: str, k: int) -> None:
    """An event of another version or type is unknown, an entry that is no event malformed, wherever it stands."""
    block = BLOCKS[kind]
    start = len(b"".join(block.entries()[:k]))
    for offset, value in ((0, 0), (0, 2), (1, 0), (1, 10), (1, 255), (1, 1), (1, 4), (1, 9)):
        data = bytearray(block.events)
        data[start + offset] = value
        error = refused(bytes(data), 700)
        assert isinstance(error, UnknownEntry) == (value not in (1, 4, 9))
        assert error.members == {"positions": [k]}


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 9])
def test_entries_that_are_no_events_are_refused(kind: int) -> None:
    """Nothing but events stands between the events of a submission."""
    error = refused(issue(0) + bytes([1, kind]) + bytes(72) + issue(2), 3)
    assert not isinstance(error, UnknownEntry)
    assert error.members == {"positions": [1]}
    root = encode(StatusRoot(1, 2, 3, 4, 5, 6, bytes(32)))
    assert refused(issue(0) + root, 2).members == {"positions": [1]}


@pytest.mark.parametrize("build", [issue, mix, lambda k: status(REVOKE, k)], ids=["issues", "mixed", "status"])
def test_every_truncation_of_a_buffer_is_refused(build: object) -> None:
    """A buffer cut anywhere is refused at the event that is cut, or for the events it lacks."""
    assert callable(build)
    events = [build(k) for k in range(5)]
    buffer = b"".join(events)
    ends = [len(b"".join(events[:k])) for k in range(6)]
    for end in range(len(buffer)):
        whole = max(k for k in range(6) if ends[k] <= end)
        assert refused(buffer[:end], 5).members["positions"] == [whole]
    for byte in range(256):
        assert refused(buffer + bytes([byte]), 5).members["positions"] == [5]


def test_reasons_above_six_are_all_named() -> None:
    """Of several wrong reasons each position is named, at most a hundred, uniform or mixed."""
    events = [status(REVOKE, k) for k in range(300)]
    bad = {0, 7, 299}
    broken = [event[:-1] + b"\x07" if k in bad else event for k, event in enumerate(events)]
    assert refused(b"".join(broken), 300).members["positions"] == sorted(bad)
    assert refused(b"".join([issue(0), *broken]), 301).members["positions"] == [k + 1 for k in sorted(bad)]
    every = b"".join(event[:-1] + b"\xff" for event in events)
    assert refused(every, 300).members["positions"] == list(range(100))


def test_the_first_failing_event_decides() -> None:
    """A wrong reason before an unreadable event is what is reported: an auditor stops at the first of them."""
    data = issue(0) + status(REVOKE, 1)[:-1] + b"\x09" + b"\x02" + bytes(42)
    assert refused(data, 3).members["positions"] == [1]


@pytest.mark.parametrize("stated", [1, 2, 4, 100])
def test_another_number_of_events_than_stated_is_refused(stated: int) -> None:
    """`count` is the number of events, neither more nor less; the position is the first that lacks or is too many."""
    assert refused(b"".join(issue(k) for k in range(3)), stated).members["positions"] == [min(3, stated)]


def test_a_block_has_1_to_100000_events() -> None:
    """No events are refused, and so are 100,001, uniform or mixed; 100,000 are a block."""
    assert refused(b"", 1).members["positions"] == [0]
    event = issue(0)
    assert Block.decode(head(MAX_EVENTS), event * MAX_EVENTS).count == MAX_EVENTS
    for data in (
        event * (MAX_EVENTS + 1),
        event * MAX_EVENTS + status(REVOKE, 0),
        status(REVOKE, 0) * (MAX_EVENTS + 1),
    ):
        error = refused(data, MAX_EVENTS)
        assert "at most" in error.detail
        assert error.members["positions"] == [MAX_EVENTS]


@pytest.mark.parametrize("build", [issue, mix], ids=["issues", "mixed"])
@pytest.mark.parametrize("count", [1, 3, 63, 64, 300])
def test_foreign_issuers_are_found(build: object, count: int) -> None:
    """One event with one bit of another issuer, at any position, is found; the first of several is named."""
    assert callable(build)
    events = [build(k) for k in range(count)]
    assert Block.decode(head(count), b"".join(events)).foreign_issuer is None
    for k in {0, count // 2, count - 1}:
        for at in (2, 33):
            foreign = bytearray(events[k])
            foreign[at] ^= 1
            buffer = b"".join([*events[:k], bytes(foreign), *events[k + 1 :]])
            assert Block.decode(head(count), buffer).foreign_issuer == k
    everything = b"".join(issue(k, OTHER) for k in range(count))
    assert Block.decode(head(count), everything).foreign_issuer == 0


def test_an_issuer_of_another_length_matches_no_event() -> None:
    """A submission that holds a prefix of the issuer or more than it does not pass for the issuer's."""
    for issuer in (b"", ISSUER[:31], ISSUER + b"\0"):
        submission = msgspec.structs.replace(head(100), issuer=issuer)
        assert Block.decode(submission, b"".join(issue(k) for k in range(100))).foreign_issuer == 0


# The events tree -----------------------------------------------------------------------------------------------------


def test_events_root_of_every_small_block() -> None:
    """The root is RFC 6962's for every count up to 130."""
    events = [mix(k) for k in range(130)]
    for count in range(1, 131):
        block = Block.decode(head(count), b"".join(events[:count]))
        assert block.events_root == naive_root(events[:count])


@pytest.mark.parametrize("count", [256, 257, 511, 512, 513, 768, 1000])
def test_event_nodes(count: int) -> None:
    """Above 256 events the complete subtrees of 256 leaves are kept, and only those; asking is enough to have them."""
    events = [issue(k) for k in range(count)]
    block = Block.decode(head(count), b"".join(events))
    nodes = block.event_nodes
    assert block.events_root == naive_root(events)
    assert block.event_nodes == nodes
    if count <= 256:
        assert nodes is None
        return
    expected = [naive_root(events[start : start + 256]) for start in range(0, count - 255, 256)]
    assert nodes == b"".join(expected)


def test_check_events_root() -> None:
    """The root that was signed passes; any other is a violation of the rule events-root."""
    for block in BLOCKS.values():
        block.check_events_root()
        other = msgspec.structs.replace(block.submission, events_root=bytes(32))
        with pytest.raises(RuleViolation) as caught:
            Block.decode(other, block.events).check_events_root()
        assert caught.value.rule == "events-root"


def test_every_event_and_their_order_are_under_the_root() -> None:
    """Changing a slot, a commitment or the order of two events changes the root."""
    events = [issue(k) for k in range(300)]
    root = naive_root(events)
    for changed in (
        [*events[:298], events[299], events[298]],
        [encode_issue(ISSUER, 5, sha256(b"0").digest()), *events[1:]],
        [*events[:299], encode_issue(ISSUER, 1299, bytes(32))],
    ):
        block = Block.decode(msgspec.structs.replace(head(300), events_root=root), b"".join(changed))
        with pytest.raises(RuleViolation):
            block.check_events_root()


# Signatures and time -------------------------------------------------------------------------------------------------


def test_signature_and_what_it_remembers() -> None:
    """A signature is verified with one key for one log; the block remembers both, and nothing after a failure."""
    block = decode_body(encode_body(BLOCKS["issues"]))
    assert block.verified_key is None
    for origin, public_key in (("log.example/other", KEY.public_key), (ORIGIN, Ed25519Key(b"\2" * 32).public_key)):
        with pytest.raises(SignatureInvalid):
            block.verify_signature(origin, public_key)
        assert block.verified_key is None
    with ThreadPoolExecutor(1) as pool:
        pool.submit(block.verify_signature, ORIGIN, KEY.public_key).result()
    remembered: tuple[object, object] = (block.verified_key, block.verified_origin)
    assert remembered == (KEY.public_key, ORIGIN)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": OTHER},
        {"key": 3},
        {"not_after": 6},
        {"nonce": bytes(16)},
        {"events_root": bytes(32)},
        {"signature": bytes(64)},
    ],
)
def test_every_signed_field_is_under_the_signature(change: dict[str, object]) -> None:
    """A submission with any of its issuer's fields changed does not verify."""
    block = BLOCKS["mixed"]
    changed = Block.decode(msgspec.structs.replace(block.submission, **change), block.events)
    with pytest.raises(SignatureInvalid):
        changed.verify_signature(ORIGIN, KEY.public_key)


def test_with_time_changes_the_time_only() -> None:
    """The ledger's time is not under the signature: the copy shares the buffers, and what was verified stays so."""
    block = sign([issue(k) for k in range(3)])
    block.verify_signature(ORIGIN, KEY.public_key)
    later = block.with_time(77)
    assert later.submission == msgspec.structs.replace(block.submission, time=77)
    assert block.submission.time == 0
    assert later.events is block.events
    assert later.leaf_hashes is block.leaf_hashes
    assert later.verified_key == KEY.public_key
    later.verify_signature(ORIGIN, KEY.public_key)
    later.check_events_root()


def test_a_time_copy_of_an_unverified_block_is_unverified() -> None:
    """Copying does not vouch for a signature that nobody checked."""
    assert BLOCKS["issues"].with_time(1).verified_key is None


# The bulk body -------------------------------------------------------------------------------------------------------


def test_bulk_body_bytes() -> None:
    """The body has exactly the bytes of the interface: no version, type or time of the ledger."""
    block = sign([issue(0), status(REVOKE, 0)])
    submission = block.submission
    expected = (
        b"BLS1"
        + ISSUER
        + bytes.fromhex("0000000000000002 00000002 0000000000000005")
        + b"\x07" * 16
        + submission.events_root
        + b"\x01"
        + submission.signature
        + issue(0)
        + status(REVOKE, 0)
    )
    assert encode_body(block) == expected
    assert BODY_HEAD_BYTES == 169
    assert MAX_BODY_BYTES == 169 + 7_400_000


@given(mixed)
def test_bulk_bodies_round_trip(events: list[bytes]) -> None:
    """A body reads as the block it was written from, with time 0, and is written the same."""
    block = sign(events)
    again = decode_body(encode_body(block.with_time(9)))
    assert again.submission == block.submission
    assert again.events == block.events
    again.check_events_root()
    again.verify_signature(ORIGIN, KEY.public_key)
    assert encode_body(again) == encode_body(block)


def test_every_truncation_of_a_body_is_refused() -> None:
    """A body cut anywhere is refused, and one that is too large is refused before it is read."""
    body = encode_body(sign([issue(0), status(REVOKE, 0)]))
    for end in range(len(body)):
        with pytest.raises(MalformedBody if end < BODY_HEAD_BYTES else MalformedEntry):
            decode_body(body[:end])
    with pytest.raises(MalformedEntry):
        decode_body(body + b"\1")
    with pytest.raises(TooLarge):
        decode_body(body + bytes(MAX_BODY_BYTES))
    for at in range(4):
        with pytest.raises(MalformedBody):
            decode_body(body[:at] + b"?" + body[at + 1 :])


@pytest.mark.parametrize(("offset", "value"), [(44, b"\0\0\0\0"), (44, b"\0\1\x86\xa1"), (104, b"\0"), (104, b"\2")])
def test_submission_fields_of_a_body_are_checked(offset: int, value: bytes) -> None:
    """A count out of range and an unknown algorithm are refused as in an entry."""
    body = encode_body(sign([issue(0)]))
    with pytest.raises(MalformedEntry):
        decode_body(body[:offset] + value + body[offset + len(value) :])


@pytest.mark.parametrize(
    "change", [{"issuer": ISSUER[1:]}, {"nonce": bytes(15)}, {"key_index": -1}, {"not_after": 2**64}, {"events": b""}]
)
def test_nothing_malformed_is_signed(change: dict[str, object]) -> None:
    """A client cannot sign what no entry can hold."""
    arguments: dict[str, object] = {
        "issuer": ISSUER,
        "key_index": 2,
        "events": issue(0),
        "not_after": 5,
        "nonce": bytes(16),
    }
    with pytest.raises(MalformedEntry):
        sign_submission(ORIGIN, KEY, **(arguments | change))  # type: ignore[arg-type]


def test_no_object_per_event_beyond_slot_and_leaf_hash() -> None:
    """A block of 10,000 issues holds its buffer, 32 bytes of leaf hash and one integer an event, and nothing else."""
    data = b"".join(issue(k) for k in range(10_000))
    tracemalloc.start()
    block = Block.decode(head(10_000), data)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert block.kinds == bytes([ISSUE]) * 10_000
    # A bytes object of 32 is 65 bytes, rounded to 80; an int of this size 32; a place in each of the two lists.
    assert held < 10_000 * (80 + 32 + 2 * 9 + 2) + 50_000
