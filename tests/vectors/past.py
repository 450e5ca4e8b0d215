"""Vectors of the past: dated receipts and histories, those that hold and those that must be refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from ledger.badge_history import History, format_history, parse_history, verify_history
from ledger.dated import DatedReceipt, format_dated, parse_dated, verify_dated
from ledger.entry import StatusRoot, Submission, encode
from ledger.errors import LedgerError
from ledger.policy import parse_policy
from tests.builders import ORIGIN, START_MS
from tests.past_builder import Liar, World, grown, rebuilt
from tests.receipt_builder import policy_text

POLICY = policy_text(ORIGIN)
NOW_S = START_MS // 1000 + 5
MAX_AGE_S = 3600

Vector = tuple[str, dict[str, Any]]


def vectors() -> Iterator[Vector]:
    """Every case: the file's name without `.json`, and its content."""
    world = World(grown())
    yield from _dated(world)
    yield from _dated_refused(world)
    yield from _histories(world)
    yield from _histories_refused(world)


def _inputs(document: bytes) -> dict[str, Any]:
    return {
        "document": base64.b64encode(document).decode(),
        "policy": POLICY,
        "now_s": NOW_S,
        "max_age_s": MAX_AGE_S,
    }


def prove_dated(vector: dict[str, Any]) -> dict[str, Any]:
    """What the dated receipt of a vector proves. Raises LedgerError."""
    dated = parse_dated(base64.b64decode(vector["document"]))
    now, past = verify_dated(
        dated, policy=parse_policy(vector["policy"]), now_s=vector["now_s"], max_age_s=vector["max_age_s"]
    )
    return {
        "at_ms": past.at_ms,
        "state_then": past.state,
        "head_size": past.size,
        "head_time_ms": past.status_root.time,
        "until_ms": past.until_ms,
        "state": now.state,
    }


def prove_history(vector: dict[str, Any]) -> dict[str, Any]:
    """What the history of a vector proves. Raises LedgerError."""
    history = parse_history(base64.b64decode(vector["document"]))
    proven = verify_history(
        history, policy=parse_policy(vector["policy"]), now_s=vector["now_s"], max_age_s=vector["max_age_s"]
    )
    return {
        "slot": proven.issue.slot,
        "commitment": proven.issue.commitment.hex(),
        "identifier": proven.identifier,
        "binding": proven.binding,
        "state": proven.state,
        "events": [
            {
                "index": event.index,
                "type": event.type,
                "reason": event.reason,
                "time_ms": event.time_ms,
                "submission": event.submission,
                "key": event.key,
            }
            for event in proven.events
        ],
    }


def refusal_of(prove: Any, vector: dict[str, Any]) -> dict[str, Any]:
    """Error, step and rule of a refusal; what is not refused is a ValueError."""
    try:
        prove(vector)
    except LedgerError as error:
        found = {"error": error.slug, "step": error.members.get("step", 1), "rule": error.members.get("rule")}
        return {name: value for name, value in found.items() if value is not None}
    raise ValueError("not refused")


def _dated(world: World) -> Iterator[Vector]:
    size, first = world.log.size, world.issued()[0]
    cases = {
        "unissued": world.dated(first, START_MS + 500, size),
        "active": world.dated(first, START_MS + 1_000, size),
        "suspended": world.dated(first, START_MS + 2_999, size),
        "reinstated": world.dated(first, START_MS + 3_000, size),
        "revoked": world.dated(first, START_MS + 4_500, size),
        "short": world.dated(first, START_MS + 2_500, size, full=False),
        "under-an-older-head": world.dated(first, START_MS + 1_500, world.roots[-3] + 1),
    }
    for name, dated in cases.items():
        vector = _inputs(format_dated(dated))
        yield f"dated-{name}", vector | {"proven": prove_dated(vector)}


def _dated_refused(world: World) -> Iterator[Vector]:
    size, issue = world.log.size, world.issued()[0]
    good = world.dated(issue, START_MS + 1_500, size)
    past, roots = good.past, [index for index in world.roots if world.time(index) >= START_MS + 1_000]
    skipped = replace(good, past=world.past(issue, roots[0], roots[2], size))

    def with_past(**changes: Any) -> DatedReceipt:
        return replace(good, past=replace(past, **changes))

    last = world.entries[-1]
    assert isinstance(last, StatusRoot)
    falling = Liar(world)
    falling.change(size - 1, encode(replace(last, time=START_MS + 1_000)))
    cases: dict[str, bytes] = {
        "skipped-status-root": format_dated(skipped),
        "later-heads": format_dated(replace(good, past=world.past(issue, world.roots[-2], world.roots[-1], size))),
        "moment-too-early": format_dated(replace(good, at_ms=START_MS + 999)),
        "moment-too-late": format_dated(replace(good, at_ms=START_MS + 2_000)),
        "log-proof-changed": format_dated(with_past(log_proof=(bytes(32), *past.log_proof[1:]))),
        "log-proof-too-long": format_dated(with_past(log_proof=(*past.log_proof, bytes(32)))),
        "log-proof-too-short": format_dated(with_past(log_proof=past.log_proof[:-1])),
        "status-proof-changed": format_dated(with_past(status_proof=(bytes(32), *past.status_proof[1:]))),
        "chunk-changed": format_dated(with_past(chunk=b"\x80" + bytes(63))),
        "entries-exchanged": format_dated(
            with_past(status_root=past.successor, successor=past.status_root), checked=True
        ),
        "no-chunk": format_dated(with_past(chunk=None, status_proof=()), checked=True),
        "chunk-of-an-unissued-badge": format_dated(
            replace(
                world.dated(issue, START_MS + 500, size),
                past=replace(world.dated(issue, START_MS + 500, size).past, chunk=bytes(64)),
            ),
            checked=True,
        ),
        "successor-behind-the-head": format_dated(with_past(successor=(size, past.successor[1])), checked=True),
        "successor-contradicts-the-head": format_dated(
            with_past(successor=(size - 1, past.successor[1])), checked=True
        ),
        "times-fall": format_dated(falling.dated(issue, START_MS + 1_500, roots[0], roots[1])),
        "receipt-without-signatures": format_dated(
            replace(good, receipt=replace(good.receipt, signatures=good.receipt.signatures[:1]))
        ),
    }
    document = json.loads(format_dated(good))
    spoilt: dict[str, Any] = {
        "unknown-member": document | {"more": 1},
        "no-past": {name: value for name, value in document.items() if name != "past"},
        "moment-with-a-fraction": document | {"at": 1.5},
        "half-a-status": document | {"past": {k: v for k, v in document["past"].items() if k != "status_proof"}},
        "null-chunk": document | {"past": document["past"] | {"chunk": None}},
    }
    cases |= {name: json.dumps(value, separators=(",", ":")).encode() for name, value in spoilt.items()}
    for name, data in cases.items():
        vector = _inputs(data)
        yield f"dated-refused-{name}", vector | refusal_of(prove_dated, vector)


def _histories(world: World) -> Iterator[Vector]:
    size, (first, second, third, *_) = world.log.size, world.issued()
    cases = {
        "of-six-events": world.history(first, size),
        "suspended-then-revoked": world.history(second, size),
        "short-and-legal": world.history(first, size, shown=[world.events(first, size)[k] for k in (0, -1)]),
        "before-the-revocation": world.history(third, world.roots[-4] + 1),
    }
    for name, history in cases.items():
        vector = _inputs(format_history(history))
        yield f"history-{name}", vector | {"proven": prove_history(vector)}


def _histories_refused(world: World) -> Iterator[Vector]:
    size, issue = world.log.size, world.issued()[0]
    good, events = world.history(issue, size), world.events(issue, size)
    first, *rest = good.submissions
    header = world.entries[good.submissions[-1].index]
    assert isinstance(header, Submission)

    def lie(changed: Submission) -> History:
        liar = Liar(world)
        liar.change(good.submissions[-1].index, encode(changed))
        return liar.history(issue)

    club = next(k for k, data in enumerate(world.log.entries) if data[1] == 2 and k > good.keys[-1][0])
    other = world.history(world.issued()[1], size)
    cases: dict[str, History] = {
        "without-the-last-event": world.history(issue, size, shown=events[:-1]),
        "without-a-suspension": world.history(issue, size, shown=[*events[:1], *events[2:]]),
        "log-proof-changed": replace(good, log_proof=(bytes(32), *good.log_proof[1:])),
        "status-proof-changed": replace(good, status_proof=(bytes(32), *good.status_proof[1:])),
        "events-proof-changed": replace(good, submissions=(replace(first, events_proof=(bytes(32),) * 2), *rest)),
        "without-an-issue": replace(good, submissions=tuple(rest)),
        "of-two-slots": replace(good, submissions=(*good.submissions[:-1], other.submissions[-1])),
        "out-of-order": replace(good, submissions=(first, *rest[::-1])),
        "a-key-too-many": rebuilt(world, replace(good, keys=(*good.keys, (club, world.log.entries[club])))),
        "a-key-too-few": rebuilt(world, replace(good, keys=good.keys[1:])),
        "no-signature-of-the-submission": lie(replace(header, signature=bytes(64))),
        "out-of-its-window": lie(replace(header, not_after=header.time - 1)),
        "time-that-falls": lie(replace(header, time=START_MS, not_after=START_MS)),
        "another-events-root": lie(replace(header, events_root=bytes(32))),
        "one-witness": replace(good, signatures=good.signatures[:2]),
    }
    documents = {name: format_history(history, checked=True) for name, history in cases.items()}
    document = json.loads(format_history(good))
    documents["unknown-member"] = json.dumps(document | {"more": 1}, separators=(",", ":")).encode()
    documents["no-submissions"] = json.dumps(document | {"submissions": []}, separators=(",", ":")).encode()
    for name, data in documents.items():
        vector = _inputs(data)
        yield f"history-refused-{name}", vector | refusal_of(prove_history, vector)
