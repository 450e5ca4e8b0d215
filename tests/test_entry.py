"""The codec of log entries: golden bytes, round trips, and the refusal of everything that is not the one spelling."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import entry as codec
from ledger.entry import (
    NONE_INDEX,
    Entry,
    Issue,
    IssuerKey,
    LogParams,
    Predecessor,
    StatusEvent,
    StatusList,
    StatusRoot,
    Submission,
    decode,
    did_key,
    encode,
    issuer_id,
)
from ledger.errors import MalformedEntry, UnknownEntry

A, B, C, D = (bytes([byte]) * 32 for byte in (0xAA, 0xBB, 0xCC, 0xDD))

#: One of each type, its bytes written by hand from the wire format, field by field.
GOLDEN: dict[str, tuple[Entry, str]] = {
    "log_params": (
        LogParams(time=1_700_000_000_000, origin="log.example"),
        "01 01  0000018bcfe56800  0b 6c6f672e6578616d706c65  01  00020000  0100  01  00",
    ),
    "log_params with predecessor": (
        LogParams(time=0, origin="b", predecessor=Predecessor("a.c", 258, A)),
        "01 01  0000000000000000  01 62  01  00020000  0100  01  01  03 612e63  0000000000000102" + "aa" * 32,
    ),
    "issuer_key": (
        IssuerKey(
            time=1,
            action=codec.ADD,
            prev=bytes(32),
            identifier="https://é.example",
            roles=7,
            algorithm=1,
            public_key=B,
            binding=codec.BINDING_VOUCHED,
            evidence=C,
            signer=NONE_INDEX,
            possession_sig=b"\x11" * 64,
            manage_sig=bytes(64),
        ),
        "01 02  0000000000000001  01"
        + "00" * 32
        + "0012 68747470733a2f2f c3a9 2e6578616d706c65  07 01"
        + "bb" * 32
        + "03"
        + "cc" * 32
        + "ffffffffffffffff"
        + "11" * 64
        + "00" * 64,
    ),
    "issuer_key retired": (
        IssuerKey(
            time=2**64 - 1,
            action=codec.RETIRE,
            prev=A,
            identifier="x",
            roles=codec.ROLE_MANAGE,
            algorithm=1,
            public_key=B,
            binding=codec.BINDING_DELEGATED,
            evidence=bytes(32),
            signer=2,
            possession_sig=bytes(64),
            manage_sig=b"\x22" * 64,
        ),
        "01 02  ffffffffffffffff  02"
        + "aa" * 32
        + "0001 78  04 01"
        + "bb" * 32
        + "04"
        + "00" * 32
        + "0000000000000002"
        + "00" * 64
        + "22" * 64,
    ),
    "status_list": (StatusList(time=2, list=0x01020304, issuer=A), "01 03  0000000000000002  01020304" + "aa" * 32),
    "submission": (
        Submission(
            time=3,
            issuer=A,
            key=4,
            count=100_000,
            not_after=5,
            nonce=b"\x77" * 16,
            events_root=B,
            algorithm=1,
            signature=b"\x88" * 64,
        ),
        "01 04  0000000000000003"
        + "aa" * 32
        + "0000000000000004  000186a0  0000000000000005"
        + "77" * 16
        + "bb" * 32
        + "01"
        + "88" * 64,
    ),
    "issue": (Issue(A, 131_073, C), "01 05" + "aa" * 32 + "0000000000020001" + "cc" * 32),
    "revoke": (StatusEvent(codec.REVOKE, A, 2**64 - 1, 6), "01 06" + "aa" * 32 + "ffffffffffffffff 06"),
    "suspend": (StatusEvent(codec.SUSPEND, A, 0, 0), "01 07" + "aa" * 32 + "0000000000000000 00"),
    "reinstate": (StatusEvent(codec.REINSTATE, D, 1, 3), "01 08" + "dd" * 32 + "0000000000000001 03"),
    "status_root": (
        StatusRoot(time=6, previous=NONE_INDEX, lists=1, issued=2, revoked=3, suspended=4, root=D),
        "01 09  0000000000000006  ffffffffffffffff  0000000000000001 0000000000000002 0000000000000003 0000000000000004"
        + "dd" * 32,
    ),
}
CASES = [pytest.param(entry, bytes.fromhex(text), id=name) for name, (entry, text) in GOLDEN.items()]
every_case = pytest.mark.parametrize(("entry", "data"), CASES)

u64 = st.integers(0, 2**64 - 1)
b32 = st.binary(min_size=32, max_size=32)
b64 = st.binary(min_size=64, max_size=64)
printable = st.characters(exclude_categories=("Cc", "Cs"))
identifiers = st.text(printable, min_size=1, max_size=600).filter(lambda text: len(text.encode()) <= 2048)
origins = st.text(st.characters(exclude_categories=("Cc", "Cs", "Z"), exclude_characters="+"), min_size=1, max_size=63)
entries: st.SearchStrategy[Entry] = st.one_of(
    st.builds(
        LogParams,
        time=u64,
        origin=origins,
        predecessor=st.none() | st.builds(Predecessor, origin=origins, size=u64, root=b32),
    ),
    st.builds(
        IssuerKey,
        time=u64,
        action=st.integers(1, 2),
        prev=b32,
        identifier=identifiers,
        roles=st.integers(1, 7),
        algorithm=st.just(1),
        public_key=b32,
        binding=st.integers(1, 4),
        evidence=b32,
        signer=u64,
        possession_sig=b64,
        manage_sig=b64,
    ),
    st.builds(StatusList, time=u64, list=st.integers(0, 2**32 - 1), issuer=b32),
    st.builds(
        Submission,
        time=u64,
        issuer=b32,
        key=u64,
        count=st.integers(1, 100_000),
        not_after=u64,
        nonce=st.binary(min_size=16, max_size=16),
        events_root=b32,
        algorithm=st.just(1),
        signature=b64,
    ),
    st.builds(Issue, issuer=b32, slot=u64, commitment=b32),
    st.builds(StatusEvent, type=st.integers(6, 8), issuer=b32, slot=u64, reason=st.integers(0, 6)),
    st.builds(StatusRoot, time=u64, previous=u64, lists=u64, issued=u64, revoked=u64, suspended=u64, root=b32),
)


@every_case
def test_golden_bytes(entry: Entry, data: bytes) -> None:
    """Each type has exactly the bytes that the wire format gives it, in both directions."""
    assert encode(entry) == data
    assert decode(data) == entry


def test_published_lengths() -> None:
    """The constants that other modules cut buffers by are the lengths of the entries."""
    lengths = {len(bytes.fromhex(GOLDEN[name][1])) for name in ("issue",)}
    assert lengths == {codec.ISSUE_BYTES} == {74}
    for name in ("revoke", "suspend", "reinstate"):
        assert len(bytes.fromhex(GOLDEN[name][1])) == codec.STATUS_EVENT_BYTES == 43
    assert len(bytes.fromhex(GOLDEN["submission"][1])) == codec.SUBMISSION_BYTES == 175
    assert len(bytes.fromhex(GOLDEN["status_root"][1])) == codec.STATUS_ROOT_BYTES == 82
    assert len(bytes.fromhex(GOLDEN["status_list"][1])) == codec.STATUS_LIST_BYTES == 46


@given(entries)
def test_every_entry_comes_back(entry: Entry) -> None:
    """What is written reads as the same entry."""
    assert decode(encode(entry)) == entry


@given(st.binary(max_size=200), st.sampled_from(CASES), st.data())
def test_what_is_read_is_written_the_same(junk: bytes, case: Any, data: st.DataObject) -> None:
    """Whatever bytes the reader accepts, writing gives those bytes again: no entry has two spellings."""
    golden: bytes = case.values[1]
    at = data.draw(st.integers(0, len(golden)))
    changed = golden[:at] + junk + golden[at + len(junk) :]
    try:
        entry = decode(changed)
    except MalformedEntry:
        return
    assert encode(entry) == changed


@every_case
def test_every_truncation_is_refused(entry: Entry, data: bytes) -> None:
    """No proper prefix of an entry is an entry."""
    for end in range(len(data)):
        with pytest.raises(MalformedEntry):
            decode(data[:end])


@every_case
def test_every_extra_byte_is_refused(entry: Entry, data: bytes) -> None:
    """A byte behind the entry, whatever its value, is refused; so is a second entry."""
    for byte in range(256):
        with pytest.raises(MalformedEntry):
            decode(data + bytes([byte]))
    with pytest.raises(MalformedEntry):
        decode(data + data)


@every_case
def test_every_other_version_is_unknown(entry: Entry, data: bytes) -> None:
    """Any version but 1 is not guessed at."""
    for version in set(range(256)) - {1}:
        with pytest.raises(UnknownEntry):
            decode(bytes([version]) + data[1:])


@every_case
def test_every_other_type_is_unknown_or_malformed(entry: Entry, data: bytes) -> None:
    """Types outside 1 to 9 are unknown; another known type never reads these bytes, unless it has the same layout."""
    for kind in set(range(256)) - {data[1]}:
        changed = data[:1] + bytes([kind]) + data[2:]
        if not 1 <= kind <= 9:
            with pytest.raises(UnknownEntry):
                decode(changed)
        elif isinstance(entry, StatusEvent) and kind in (6, 7, 8):
            assert decode(changed) == msgspec.structs.replace(entry, type=kind)
        else:
            with pytest.raises(MalformedEntry):
                decode(changed)


@every_case
def test_every_flipped_bit_is_another_entry_or_none(entry: Entry, data: bytes) -> None:
    """No bit is ignored: flipping any one gives another entry or a refusal."""
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        try:
            other = decode(bytes(changed))
        except MalformedEntry:
            continue
        assert other != entry
        assert encode(other) == changed


BAD_FIELDS = [
    ("log_params", "time", (-1, 2**64)),
    ("log_params", "protocol", (0, 2, 255)),
    ("log_params", "list_slots", (0, 131_071, 131_073)),
    ("log_params", "chunk_slots", (0, 255, 257)),
    ("log_params", "hash", (0, 2)),
    (
        "log_params",
        "origin",
        ("", "a" * 256, "é" * 128, "a b", "a+b", "a\nb", "a\u00a0b", "a\u2003b", "\x7f", "\ud800"),
    ),
    ("log_params", "predecessor", (Predecessor("", 1, A), Predecessor("a", -1, A), Predecessor("a", 1, A[1:]))),
    ("issuer_key", "time", (-1, 2**64)),
    ("issuer_key", "action", (0, 3)),
    ("issuer_key", "prev", (b"", A[1:], A + b"a")),
    (
        "issuer_key",
        "identifier",
        ("", "a" * 2049, "é" * 1025, "a\x00", "a\x1f", "\x7f", "\x80", "\x9f", "\n", "\udfff"),
    ),
    ("issuer_key", "roles", (0, 8)),
    ("issuer_key", "algorithm", (0, 2)),
    ("issuer_key", "public_key", (A[1:], A + b"a")),
    ("issuer_key", "binding", (0, 5)),
    ("issuer_key", "evidence", (A[1:], A + b"a")),
    ("issuer_key", "signer", (-1, 2**64)),
    ("issuer_key", "possession_sig", (bytes(63), bytes(65))),
    ("issuer_key", "manage_sig", (bytes(63), bytes(65))),
    ("status_list", "time", (-1, 2**64)),
    ("status_list", "list", (-1, 2**32)),
    ("status_list", "issuer", (A[1:], A + b"a")),
    ("submission", "time", (-1, 2**64)),
    ("submission", "issuer", (A[1:], A + b"a")),
    ("submission", "key", (-1, 2**64)),
    ("submission", "count", (-1, 0, 100_001, 2**32)),
    ("submission", "not_after", (-1, 2**64)),
    ("submission", "nonce", (bytes(15), bytes(17))),
    ("submission", "events_root", (A[1:], A + b"a")),
    ("submission", "algorithm", (0, 2)),
    ("submission", "signature", (bytes(63), bytes(65))),
    ("issue", "issuer", (A[1:], A + b"a")),
    ("issue", "slot", (-1, 2**64)),
    ("issue", "commitment", (A[1:], A + b"a")),
    ("revoke", "type", (5, 9)),
    ("revoke", "issuer", (A[1:], A + b"a")),
    ("revoke", "slot", (-1, 2**64)),
    ("revoke", "reason", (-1, 7)),
    ("status_root", "time", (-1, 2**64)),
    ("status_root", "previous", (-1, 2**64)),
    ("status_root", "lists", (-1, 2**64)),
    ("status_root", "issued", (-1, 2**64)),
    ("status_root", "revoked", (-1, 2**64)),
    ("status_root", "suspended", (-1, 2**64)),
    ("status_root", "root", (A[1:], A + b"a")),
]


@pytest.mark.parametrize(("name", "field", "values"), BAD_FIELDS, ids=[f"{n}.{f}" for n, f, _ in BAD_FIELDS])
def test_no_field_out_of_its_range_is_written(name: str, field: str, values: tuple[Any, ...]) -> None:
    """Every field of every type refuses values just outside its range, instead of padding or cutting them."""
    for value in values:
        with pytest.raises(MalformedEntry):
            encode(msgspec.structs.replace(GOLDEN[name][0], **{field: value}))


def test_every_field_is_in_the_table_of_bad_values() -> None:
    """The table above misses no field, so a new field cannot stay unchecked."""
    covered = {(type(GOLDEN[name][0]), field) for name, field, _ in BAD_FIELDS}
    for entry, _ in GOLDEN.values():
        for field in entry.__struct_fields__:
            assert (type(entry), field) in covered


@pytest.mark.parametrize(
    ("name", "offset", "admissible"),
    [
        ("log_params", 22, {1}),  # protocol
        ("log_params", 29, {1}),  # hash
        ("log_params", 30, {0}),  # predecessor: 1 would need more bytes
        ("log_params with predecessor", 19, {1}),
        ("issuer_key", 10, {1, 2}),  # action
        ("issuer_key", 63, set(range(1, 8))),  # roles
        ("issuer_key", 64, {1}),  # algorithm
        ("issuer_key", 97, {1, 2, 3, 4}),  # binding
        ("submission", 110, {1}),  # algorithm
        ("revoke", 42, set(range(7))),  # reason
        ("suspend", 42, set(range(7))),
        ("reinstate", 42, set(range(7))),
    ],
)
def test_enumerated_bytes_when_read(name: str, offset: int, admissible: set[int]) -> None:
    """Of the 256 values of an enumerated byte exactly the listed ones are read."""
    data = bytearray.fromhex(GOLDEN[name][1])
    for value in range(256):
        data[offset] = value
        if value in admissible:
            assert encode(decode(bytes(data))) == data
        else:
            with pytest.raises(MalformedEntry):
                decode(bytes(data))


@pytest.mark.parametrize("count", [0, 100_001, 2**32 - 1])
def test_counts_out_of_range_are_not_read(count: int) -> None:
    """A submission heads 1 to 100,000 events."""
    data = bytes.fromhex(GOLDEN["submission"][1])
    with pytest.raises(MalformedEntry):
        decode(data[:50] + count.to_bytes(4, "big") + data[54:])


def _with_identifier(identifier: bytes) -> bytes:
    data = bytes.fromhex(GOLDEN["issuer_key"][1])
    return data[:43] + len(identifier).to_bytes(2, "big") + identifier + data[63:]


@pytest.mark.parametrize(
    "identifier",
    [
        b"",
        b"a" * 2049,
        b"\xff",
        b"\xc3",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"a\nb",
        b"\x7f",
        b"\xc2\x80",
        b"\xc2\x9f",
        b"\xf5",
    ],
)
def test_identifiers_that_are_not_read(identifier: bytes) -> None:
    """Empty, too long, invalid or overlong UTF-8, surrogates and control characters are refused when read."""
    assert isinstance(decode(_with_identifier(b"x")), IssuerKey)
    with pytest.raises(MalformedEntry):
        decode(_with_identifier(identifier))


def test_identifiers_at_the_limits_are_exact_bytes() -> None:
    """1 and 2,048 bytes pass; composed and decomposed spellings stay two identifiers."""
    for identifier in (b"x", b"a" * 2048, "é".encode() * 1024):
        entry = decode(_with_identifier(identifier))
        assert isinstance(entry, IssuerKey)
        assert entry.identifier.encode() == identifier
    assert issuer_id("caf\u00e9") != issuer_id("cafe\u0301")
    assert issuer_id("did:web:example.org") == hashlib.sha256(b"did:web:example.org").digest()
    with pytest.raises(MalformedEntry):
        issuer_id("")


def test_origins_at_the_limit() -> None:
    """255 bytes of origin pass and 256 do not."""
    entry = LogParams(time=1, origin="é" * 127 + "x")
    assert decode(encode(entry)) == entry
    assert codec.encode_origin("ab") == b"\x02ab"


def test_did_key() -> None:
    """An Ed25519 example of the did:key specification, with its raw key; a key of another length is refused."""
    public_key = bytes.fromhex("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6")
    assert did_key(public_key) == "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    with pytest.raises(MalformedEntry):
        did_key(public_key + b"\0")


@given(b32, u64, b32)
def test_fast_issue_is_the_codec_s(issuer: bytes, slot: int, commitment: bytes) -> None:
    """The builder without an object writes what the codec writes."""
    data = codec.encode_issue(issuer, slot, commitment)
    assert decode(data) == Issue(issuer, slot, commitment)


@given(st.integers(6, 8), b32, u64, st.integers(0, 6))
def test_fast_status_event_is_the_codec_s(kind: int, issuer: bytes, slot: int, reason: int) -> None:
    """The builder without an object writes what the codec writes."""
    data = codec.encode_status_event(kind, issuer, slot, reason)
    assert decode(data) == StatusEvent(kind, issuer, slot, reason)


def test_a_buffer_view_reads_like_bytes() -> None:
    """Callers may hand in a bytearray or a memoryview; what is kept is bytes."""
    for entry, text in GOLDEN.values():
        assert decode(memoryview(bytearray.fromhex(text))) == entry  # type: ignore[arg-type]
