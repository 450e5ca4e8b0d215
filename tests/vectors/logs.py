"""Vectors of entries, messages, bulk bodies, checkpoints and cosignatures; of whole logs and what violates them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ledger import signing
from ledger.block import Block, encode_body
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.cosignature import cosign, ed25519_message, mldsa_message, verify_cosignature
from ledger.entry import (
    BINDING_PUBLISHED,
    LIST_SLOTS,
    RETIRE,
    REVOKE,
    ROLE_ISSUE,
    ROLE_STATUS,
    TYPE_NAMES,
    Issue,
    LogParams,
    Predecessor,
    StatusEvent,
    StatusList,
    decode,
    encode,
)
from ledger.errors import MalformedEntry, RuleViolation, SignatureInvalid
from ledger.merkle import leaf_hash
from ledger.message import idempotency_key, key_message, slots_message, submission_message
from ledger.note import (
    ED25519,
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    Note,
    SignatureLine,
    VerifierKey,
    format_note,
    format_vkey,
    sign_note,
)
from ledger.replay import Replay, Unit
from ledger.signing import MLDSA44Key, verify_ed25519
from ledger.units import UnitReader
from tests.builders import ORIGIN, START_MS, BuiltIssuer, LogBuilder, seeded_key

HERE = Path(__file__).resolve().parent
#: The order of the base point.
L = 2**252 + 27742317777372353535851937790883648493
NAME = "https://école.example/badges"


def plain(value: Any) -> Any:
    """Structs, bytes and numbers as JSON: hex for bytes, strings for numbers that JSON readers may round."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**53:
        return str(value)
    return value


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """`entry-*`, `message-*`, `bulk-body`, `ed25519`, `checkpoint-*`, `log-*`."""
    yield from _entries()
    yield from _messages()
    yield (
        "ed25519",
        {
            "description": "which signatures are accepted: libraries differ, logs must not",
            "cases": list(_ed25519()),
        },
    )
    yield from _checkpoints()
    yield from _logs()


# Entries -------------------------------------------------------------------------------------------------------------


def _small_log() -> tuple[LogBuilder, BuiltIssuer]:
    """A log with every type of entry but a predecessor."""
    log = LogBuilder()
    school = log.issuer(NAME, binding=BINDING_PUBLISHED, lists=1)
    online = log.add_key(school, roles=ROLE_ISSUE | ROLE_STATUS)
    log.time += 1_000
    log.submit(school, [school.issue(slot) for slot in range(4)], key=online)
    log.time += 1_000
    log.seal()
    log.submit(school, [school.suspend(0, 5), school.suspend(1), school.revoke(2, 6)], key=online)
    log.submit(school, [school.reinstate(0), school.revoke(1, 4)])
    log.time += 1_000
    log.seal()
    log.retire_key(school, online)
    log.add_key(school, roles=ROLE_STATUS)
    club = log.issuer(lists=1)
    log.issue(club, [LIST_SLOTS, 2 * LIST_SLOTS - 1])
    log.time += 1_000
    log.seal()
    return log, school


def _entries() -> Iterator[tuple[str, dict[str, Any]]]:
    log, _ = _small_log()
    shown: dict[str, bytes] = {}
    for data in log.entries:
        shown.setdefault(TYPE_NAMES[data[1]], data)
    predecessor = Predecessor("ledger.example/before", 1_000, bytes(range(32)))
    shown["log_params-predecessor"] = encode(LogParams(START_MS, ORIGIN, predecessor=predecessor))
    shown["issuer_key-delegated"] = log.entries[4]
    retired = [data for data in log.entries if data[1] == 2 and data[10] == RETIRE]
    shown["issuer_key-retire"] = retired[0]
    shown["status_root-first"] = log.entries[1]
    shown["status_root"] = log.entries[-1]
    for name, data in shown.items():
        yield (
            f"entry-{name}",
            {
                "type": TYPE_NAMES[data[1]],
                "fields": plain(decode(data)),
                "entry": data.hex(),
                "leaf_hash": leaf_hash(data).hex(),
            },
        )
    yield (
        "entry-refused",
        {
            "description": "bytes that are no entry; unknown-entry: another version or type",
            "cases": list(_refused_entries(shown)),
        },
    )


def _refused_entries(shown: dict[str, bytes]) -> Iterator[dict[str, Any]]:
    def spoil(data: bytes, offset: int, value: int) -> bytes:
        return data[:offset] + bytes([value]) + data[offset + 1 :]

    issue, revoke, root, submission = (shown[name] for name in ("issue", "revoke", "status_root", "submission"))
    params, key = shown["log_params"], shown["issuer_key"]
    roles = 10 + 1 + 32 + 2 + len(NAME.encode())
    cases = [
        ("empty", b""),
        ("one byte", b"\x01"),
        ("version 2", spoil(issue, 0, 2)),
        ("type 10", spoil(issue, 1, 10)),
        ("type 0", spoil(issue, 1, 0)),
        ("an issue cut short", issue[:-1]),
        ("an issue with a byte to spare", issue + b"\x00"),
        ("reason 7", spoil(revoke, 42, 7)),
        ("a status_root cut short", root[:-1]),
        ("a submission of no events", submission[:50] + bytes(4) + submission[54:]),
        ("a submission of 100,001 events", submission[:50] + (100_001).to_bytes(4, "big") + submission[54:]),
        ("signature algorithm 2", spoil(submission, 110, 2)),
        ("protocol 2", spoil(params, 11 + len(ORIGIN), 2)),
        ("predecessor flag 2", spoil(params, len(params) - 1, 2)),
        ("an empty origin", params[:10] + b"\x00" + params[11 + len(ORIGIN) :]),
        ("an origin with a space", params.replace(ORIGIN.encode(), ORIGIN.replace("/", " ").encode())),
        ("key action 3", spoil(key, 10, 3)),
        ("roles 0", spoil(key, roles, 0)),
        ("roles 8", spoil(key, roles, 8)),
        ("binding 5", spoil(key, roles + 34, 5)),
        ("an identifier that is not UTF-8", key.replace("é".encode(), b"\xff\xff")),
        ("an identifier with a control character", key.replace("é".encode(), b"\x01a")),
    ]
    for reason, data in cases:
        try:
            decode(data)
        except MalformedEntry as error:
            yield {"reason": reason, "entry": data.hex(), "error": error.slug}
        else:
            raise AssertionError(f"{reason} was read")


# Signatures ----------------------------------------------------------------------------------------------------------


def _messages() -> Iterator[tuple[str, dict[str, Any]]]:
    log, school = _small_log()
    block = next(unit for _, unit in log.units if isinstance(unit, Block))
    submission, online = block.submission, school.keys[1]
    yield (
        "message-submission",
        {
            "origin": ORIGIN,
            "fields": plain(submission),
            "events": [entry.hex() for entry in block.entries()],
            "seed": online.key.seed.hex(),
            "public_key": online.key.public_key.hex(),
            "message": submission_message(ORIGIN, submission).hex(),
            "signature": submission.signature.hex(),
            "idempotency_key": idempotency_key(submission).hex(),
        },
    )
    yield (
        "bulk-body",
        {
            "description": "the submission of message-submission as it is sent",
            "body": encode_body(block).hex(),
        },
    )
    key = decode(log.entries[4])
    manage = school.keys[0].key
    assert hasattr(key, "prev")
    fields = {name: getattr(key, name) for name in ("action", "prev", "identifier", "roles", "algorithm", "public_key")}
    message = key_message(ORIGIN, **fields)
    yield (
        "message-key",
        {
            "origin": ORIGIN,
            "fields": {name: plain(value) for name, value in fields.items()},
            "message": message.hex(),
            "possession_seed": online.key.seed.hex(),
            "possession_sig": online.key.sign(message).hex(),
            "manage_seed": manage.seed.hex(),
            "manage_sig": manage.sign(message).hex(),
        },
    )
    nonce = bytes(range(16))
    message = slots_message(ORIGIN, school.id, online.index, START_MS + 60_000, nonce, 500)
    yield (
        "message-slots",
        {
            "origin": ORIGIN,
            "fields": {
                "issuer": school.id.hex(),
                "key": online.index,
                "not_after": START_MS + 60_000,
                "nonce": nonce.hex(),
                "count": 500,
            },
            "seed": online.key.seed.hex(),
            "message": message.hex(),
            "signature": online.key.sign(message).hex(),
        },
    )


def _ed25519() -> Iterator[dict[str, Any]]:
    key, message = seeded_key("ed25519"), b"message"
    signature = key.sign(message)
    scalar = bytearray(hashlib.sha512(key.seed).digest()[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    identity = b"\x01" + bytes(31)

    def challenge(r: bytes, a: bytes) -> int:
        return int.from_bytes(hashlib.sha512(r + a + message).digest(), "little") % L

    def number(value: int) -> bytes:
        return (value % 2**256).to_bytes(32, "little")

    s = int.from_bytes(signature[32:], "little")
    small_r = identity + number(challenge(identity, key.public_key) * int.from_bytes(scalar, "little") % L)
    cases = [
        ("a signature", key.public_key, message, signature, True),
        ("another message", key.public_key, b"massage", signature, False),
        ("S + L", key.public_key, message, signature[:32] + number(s + L), False),
        ("R of small order, though the equation holds", key.public_key, message, small_r, False),
        ("A of small order, though the equation holds", identity, message, identity + bytes(32), False),
        ("A of small order, not canonical", b"\xee" + b"\xff" * 30 + b"\x7f", message, identity + bytes(32), False),
        ("holds only after multiplying by the cofactor", signing._COFACTOR_KEY, b"cofactor",
         signing._COFACTOR_SIGNATURE, False),
    ]  # fmt: skip
    for reason, public_key, signed, value, accepted in cases:
        try:
            verify_ed25519(public_key, signed, value)
            holds = True
        except SignatureInvalid:
            holds = False
        assert holds == accepted, reason
        yield {
            "reason": reason,
            "public_key": public_key.hex(),
            "message": signed.hex(),
            "signature": value.hex(),
            "accepted": accepted,
        }


def _checkpoints() -> Iterator[tuple[str, dict[str, Any]]]:
    checkpoint = Checkpoint(ORIGIN, 20_852_163, hashlib.sha256(b"root").digest())
    text, time_s = format_checkpoint(checkpoint), 1_750_000_000
    log, north = seeded_key(f"log {ORIGIN}"), seeded_key("witness north")
    lines = [sign_note(text, ORIGIN, log), cosign(checkpoint, "north.example/w", north, time_s)]
    keys = [
        VerifierKey(ORIGIN, ED25519, log.public_key),
        VerifierKey("north.example/w", ED25519_COSIGNATURE, north.public_key),
    ]
    yield (
        "checkpoint-ed25519",
        {
            "origin": ORIGIN,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "text": text,
            "verifier_keys": [format_vkey(key) for key in keys],
            "key_ids": [key.key_id.hex() for key in keys],
            "timestamp_s": time_s,
            "cosigned_message": ed25519_message(time_s, text).hex(),
            "note": format_note(Note(text, tuple(lines))).decode(),
        },
    )
    quantum = MLDSA44Key.from_seed(hashlib.sha256(b"log ml-dsa-44").digest())
    key = VerifierKey(ORIGIN, MLDSA44_COSIGNATURE, quantum.public_key)
    yield (
        "checkpoint-mldsa44",
        {
            "description": "the log's own timestamped ML-DSA-44 line; FIPS 204 with an empty context, hedged",
            "origin": ORIGIN,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "seed": quantum.seed.hex(),
            "verifier_key": format_vkey(key),
            "key_id": key.key_id.hex(),
            "timestamp_s": time_s,
            "cosigned_message": mldsa_message(ORIGIN, time_s, ORIGIN, 0, checkpoint.size, checkpoint.root).hex(),
            "signature": _committed(checkpoint, key, quantum, time_s).hex(),
        },
    )


def _committed(checkpoint: Checkpoint, key: VerifierKey, signer: MLDSA44Key, time_s: int) -> bytes:
    """The signature that stands in the committed file if it verifies, else a new one: each signing gives another."""
    path = HERE / "checkpoint-mldsa44.json"
    if path.exists():
        signature = bytes.fromhex(json.loads(path.read_bytes())["signature"])
        try:
            if verify_cosignature(checkpoint, key, SignatureLine(key.name, key.key_id, signature)) == time_s:
                return signature
        except SignatureInvalid:
            pass
    return cosign(checkpoint, key.name, signer, time_s).signature


# Whole logs ----------------------------------------------------------------------------------------------------------


def _logs() -> Iterator[tuple[str, dict[str, Any]]]:
    log, _ = _small_log()
    yield (
        "log-valid",
        {
            "description": "a whole log that the rules admit, with its root at each size that a head may have",
            "entries": [data.hex() for data in log.entries],
            "heads": [
                {"size": index + 1, "root": log.root(index + 1).hex()}
                for index, data in enumerate(log.entries)
                if data[1] == 9
            ],
        },
    )
    for name, spoil in _VIOLATIONS.items():
        log, school = _small_log()
        unit = spoil(log, school)
        entries = unit if isinstance(unit, list) else _entries_of(unit)
        rule, index = violation(log.entries, entries)
        if rule != name.partition(".")[0]:
            raise AssertionError(f"{name} broke {rule}")
        yield (
            f"log-violation-{name.replace('.', '-')}",
            {"log": "log-valid", "then": [data.hex() for data in entries], "rule": rule, "index": index},
        )


def violation(before: list[bytes], then: list[bytes]) -> tuple[str, int]:
    """The rule that entries break behind others that break none, and the index where an auditor stops."""
    replay, reader = Replay(), UnitReader()
    for logged in reader.feed(before):
        replay.apply(logged.unit)
    try:
        for logged in reader.feed(then):
            replay.apply(logged.unit)
    except RuleViolation as error:
        if error.index is None:
            raise
        return error.rule, error.index
    except MalformedEntry as error:
        return error.slug, reader.index
    raise AssertionError("nothing was violated")


def _entries_of(unit: Unit) -> list[bytes]:
    return [encode(unit.submission), *unit.entries()] if isinstance(unit, Block) else [encode(unit)]


def _with_a_root_between(log: LogBuilder, school: BuiltIssuer) -> list[bytes]:
    entries = _entries_of(log.block(school, [school.issue(9), school.issue(10)]))
    return [*entries[:2], encode(log.replay.draft().status_root(log.time)), entries[2]]


def _unsigned(block: Block) -> Block:
    signature = bytes([block.submission.signature[0] ^ 1]) + block.submission.signature[1:]
    return Block.decode(replace(block.submission, signature=signature), block.events)


def _other_root(log: LogBuilder, school: BuiltIssuer) -> Unit:
    block = log.block(school, [school.issue(9), school.issue(10)])
    return Block.decode(block.submission, school.issue(9) + school.issue(11))


_VIOLATIONS: dict[str, Callable[[LogBuilder, BuiltIssuer], Unit | list[bytes]]] = {
    "entry-order.stray-event": lambda log, school: [school.issue(9)],
    "unknown-entry.type": lambda log, school: [b"\x01\x0a"],
    "unknown-entry.version": lambda log, school: [b"\x02" + school.issue(9)[1:]],
    "malformed-entry": lambda log, school: [encode(log.replay.draft().status_root(log.time))[:-1]],
    "count": _with_a_root_between,
    "key-role.issue": lambda log, school: log.block(school, [school.issue(9)], key=school.keys[2]),
    "nonce": lambda log, school: log.block(school, [school.suspend(3)], nonce=(2).to_bytes(16, "big")),
    "entry-order": lambda log, school: LogParams(log.time, ORIGIN),
    "time-decreases": lambda log, school: log.replay.draft().status_root(log.time - 1),
    "status-root": lambda log, school: replace(log.replay.draft().status_root(log.time), revoked=0),
    "list-number": lambda log, school: StatusList(log.time, 5, school.id),
    "unknown-issuer": lambda log, school: StatusList(log.time, 2, bytes(32)),
    "unknown-key": lambda log, school: log.block(school, [school.issue(9)], key=log.issuers[1].keys[0]),
    "key-retired": lambda log, school: log.block(school, [school.issue(9)], key=school.keys[1]),
    "window.late": lambda log, school: log.block(school, [school.issue(9)], not_after=log.time - 1),
    "window.early": lambda log, school: log.block(school, [school.issue(9)], not_after=log.time + 86_400_001),
    "events-root": _other_root,
    "signature": lambda log, school: _unsigned(log.block(school, [school.issue(9)])),
    "signature.other-log": lambda log, school: log.block(school, [school.issue(9)], origin="elsewhere.example"),
    "foreign-issuer": lambda log, school: log.block(
        school, [school.issue(9), encode(Issue(log.issuers[1].id, LIST_SLOTS + 9, bytes(32)))]
    ),
    "not-owner": lambda log, school: log.block(school, [school.issue(9), school.issue(LIST_SLOTS + 9)]),
    "not-owner.no-list": lambda log, school: log.block(school, [school.issue(2 * LIST_SLOTS)]),
    "slot-issued": lambda log, school: log.block(school, [school.issue(9), school.issue(0)]),
    "slot-issued.revoked": lambda log, school: log.block(school, [school.issue(2)]),
    "slot-issued.twice": lambda log, school: log.block(school, [school.issue(9), school.issue(9)]),
    "illegal-transition.revoked": lambda log, school: log.block(school, [school.revoke(2)]),
    "illegal-transition.unissued": lambda log, school: log.block(
        school, [encode(StatusEvent(REVOKE, school.id, 100, 0))]
    ),
    "illegal-transition.active": lambda log, school: log.block(school, [school.reinstate(0)]),
    "key-prev": lambda log, school: log.key_entry(school, seeded_key("new"), prev=bytes(32)),
    "key-duplicate": lambda log, school: log.key_entry(school, school.keys[0].key),
    "last-manage": lambda log, school: log.key_entry(school, school.keys[0].key, action=RETIRE),
    "binding": lambda log, school: log.key_entry(school, seeded_key("new"), binding=BINDING_PUBLISHED),
    "binding.did-key": lambda log, school: log.key_entry(
        BuiltIssuer(log.issuers[1].identifier[:-1] + "x"), seeded_key("new"), binding=1
    ),
}
