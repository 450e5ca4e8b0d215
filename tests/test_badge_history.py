"""Histories over small logs: every badge under every head, whatever is changed or left out, and hostile documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import badge_history as module
from ledger import merkle
from ledger.badge_history import (
    MAX_HISTORY_BYTES,
    MAX_HISTORY_EVENTS,
    History,
    ProvenHistory,
    SignedEvents,
    check_history,
    format_history,
    parse_history,
    verify_history,
)
from ledger.entry import REASONS, TYPE_NAMES, Submission, decode, encode, encode_status_event
from ledger.errors import (
    LedgerError,
    MalformedInput,
    NotIssued,
    ProofInvalid,
    QuorumNotMet,
    SignatureInvalid,
    Stale,
    TooLarge,
    VerificationError,
)
from tests.builders import ORIGIN, START_MS, LogBuilder
from tests.past_builder import Liar, World, grown, rebuilt
from tests.receipt_builder import policy


@pytest.fixture(scope="module")
def world() -> World:
    return World(grown())


def prove(history: History, **changes: Any) -> ProvenHistory:
    return verify_history(history, policy=policy(ORIGIN), now_s=changes.pop("now_s", START_MS // 1000), **changes)


@pytest.fixture
def history(world: World) -> History:
    """The badge with the longest history: suspended and reinstated twice, then revoked."""
    return world.history(world.issued()[0], world.log.size)


def test_every_badge_under_every_head(world: World) -> None:
    """Events, times, reasons and states are those of the entries; documents are read as they were written."""
    lengths = set()
    for size in (index + 1 for index in world.roots):
        for issue in (index for index in world.issued() if index < size):
            history = world.history(issue, size)
            assert parse_history(format_history(history)) == history
            proven = prove(history, commitment=world.log.entries[issue][42:], issuer=world.log.entries[issue][2:34])
            assert [event.index for event in proven.events] == world.events(issue, size)
            assert proven.state == world.naive(issue, size) == proven.events[-1].state
            for event in proven.events:
                data = world.log.entries[event.index]
                assert event.type == TYPE_NAMES[data[1]]
                assert event.reason == (None if event.type == "issue" else data[42])
                assert event.state == world.naive(issue, event.index + 1)
                header = world.entries[event.submission]
                assert isinstance(header, Submission)
                assert (event.time_ms, event.key) == (header.time, header.key)
            lengths.add(len(proven.events))
    assert lengths == {1, 2, 3, 4, 5, 6} - {5} | ({5} & lengths)
    assert prove(world.history(world.issued()[0], world.log.size)).identifier == "https://school.example/badges"
    assert len(REASONS) == 7


def test_events_left_out_where_the_rest_is_not_legal(world: World) -> None:
    """Of all ways to leave events out, just those pass that leave a legal history with the same end."""
    issue, size = world.issued()[0], world.log.size
    whole = world.events(issue, size)
    kinds = {index: world.log.entries[index][1] for index in whole}
    passed = set()
    for mask in range(1, 1 << len(whole)):
        shown = [index for k, index in enumerate(whole) if mask >> k & 1]
        history = world.history(issue, size, shown=shown)
        state, legal = "unissued", True
        for index in shown:
            after = module.TRANSITIONS.get((state, kinds[index]))
            legal, state = legal and after is not None, after or state
        if legal and state == "revoked":
            prove(history)
            passed.add(tuple(TYPE_NAMES[kinds[index]] for index in shown))
        else:
            with pytest.raises(LedgerError):
                prove(history)
    assert passed == {
        ("issue", "revoke"),
        ("issue", "suspend", "revoke"),
        ("issue", "suspend", "reinstate", "revoke"),
        ("issue", "suspend", "reinstate", "suspend", "revoke"),
        ("issue", "suspend", "reinstate", "suspend", "reinstate", "revoke"),
    }


def test_every_hash_counts(history: History) -> None:
    """Each hash of each proof changed or left out, each proof cut short or longer."""

    def variants(proof: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
        changed = [(*proof[:k], bytes(32), *proof[k + 1 :]) for k in range(len(proof))]
        return changed + [(*proof[:k], *proof[k + 1 :]) for k in range(len(proof))] + [(*proof, bytes(32))]

    wrong = [replace(history, log_proof=proof) for proof in variants(history.log_proof)]
    wrong += [replace(history, status_proof=proof) for proof in variants(history.status_proof)]
    for k, shown in enumerate(history.submissions):
        for proof in variants(shown.events_proof):
            wrong.append(with_submission(history, k, replace(shown, events_proof=proof)))
    assert len(wrong) > 50
    for each in wrong:
        with pytest.raises((ProofInvalid, SignatureInvalid)):  # another root is one that nobody signed
            prove(each)


def with_submission(history: History, k: int, shown: SignedEvents) -> History:
    return replace(history, submissions=(*history.submissions[:k], shown, *history.submissions[k + 1 :]))


def test_every_byte_of_every_entry_counts(history: History) -> None:
    """A changed bit of an event, submission, key, status_root or chunk is refused."""
    changed: list[History] = []
    for k, shown in enumerate(history.submissions):
        changed += [with_submission(history, k, replace(shown, entry=data)) for data in flips(shown.entry)]
        for j, (index, event) in enumerate(shown.events):
            for data in flips(event):
                events = (*shown.events[:j], (index, data), *shown.events[j + 1 :])
                changed.append(with_submission(history, k, replace(shown, events=events)))
    for k, (index, key) in enumerate(history.keys):
        changed += [
            replace(history, keys=(*history.keys[:k], (index, data), *history.keys[k + 1 :])) for data in flips(key)
        ]
    changed += [replace(history, status_root=data) for data in flips(history.status_root)]
    changed += [replace(history, chunk=data) for data in flips(history.chunk)]
    for each in changed:
        with pytest.raises(LedgerError) as refused:
            prove(each)
        assert refused.value.members["step"] in range(1, 9)


def flips(data: bytes) -> list[bytes]:
    return [data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in range(len(data))]


def test_what_makes_no_history(history: History, world: World) -> None:
    """Order, types, counts, lengths: refused before anything is proven."""
    first, *rest = history.submissions
    other = world.history(world.issued()[1], world.log.size)
    some = SignedEvents(first.index, first.entry, (), ())
    cases = [
        replace(history, origin=""),
        replace(history, origin="two words"),
        replace(history, tree_size=0),
        replace(history, tree_size=2**53),
        replace(history, tree_size=history.submissions[-1].events[-1][0] + 1),
        replace(history, submissions=()),
        replace(history, submissions=(some,)),
        replace(history, submissions=tuple(rest)),
        replace(history, submissions=(*history.submissions[1:], first)),
        replace(history, submissions=(first, first)),
        replace(history, submissions=(first, *other.submissions[1:])),
        replace(history, submissions=(replace(first, entry=history.status_root), *rest)),
        replace(history, submissions=(replace(first, entry=b""), *rest)),
        replace(history, submissions=(replace(first, index=first.events[0][0]), *rest)),
        replace(history, submissions=(replace(first, events=((first.index + 1, first.entry),)), *rest)),
        replace(history, keys=()),
        replace(history, keys=history.keys * 100),
        replace(history, keys=history.keys[::-1]),
        replace(history, keys=((first.index, history.keys[0][1]), *history.keys[1:])),
        replace(history, keys=((history.tree_size, history.keys[0][1]),)),
        replace(history, keys=((-1, history.keys[0][1]),)),
        replace(history, keys=((0, history.status_root),)),
        replace(history, status_root=history.keys[0][1]),
        replace(history, chunk=bytes(63)),
        replace(history, log_proof=(bytes(31),)),
        replace(history, signatures=()),
        replace(history, signatures=history.signatures * 100),
    ]
    for case in cases:
        with pytest.raises(MalformedInput):
            check_history(case)
        with pytest.raises(MalformedInput) as refused:
            prove(case)
        assert refused.value.members["step"] == 1
    event = (first.index + 1, encode_status_event(7, bytes(32), 1, 0))
    with pytest.raises(TooLarge):
        check_history(with_submission(history, 0, replace(first, events=(event,) * (MAX_HISTORY_EVENTS + 1))))


def test_keys_exactly_those_that_are_needed(history: History, world: World) -> None:
    """One left out, one more, a chain that is cut."""
    for k in range(len(history.keys)):
        keys = (*history.keys[:k], *history.keys[k + 1 :])
        with pytest.raises(LedgerError):
            prove(rebuilt(world, replace(history, keys=keys)))
    club = next(index for index, data in enumerate(world.log.entries) if data[1] == 2 and index > history.keys[-1][0])
    spare = rebuilt(world, replace(history, keys=(*history.keys, (club, world.log.entries[club]))))
    with pytest.raises(MalformedInput, match="that nothing needs"):
        prove(spare)


def test_what_a_log_that_lies_cannot_show(world: World) -> None:
    """Signatures, windows, roles, times and the events root, each by the entry that breaks it."""
    issue = world.issued()[0]
    last = prove(world.history(issue, world.log.size)).events[-1]
    header = world.entries[last.submission]
    assert isinstance(header, Submission)
    changes: list[tuple[Submission, type[LedgerError], int]] = [
        (replace(header, signature=bytes(64)), SignatureInvalid, 7),
        (replace(header, nonce=bytes(16)), SignatureInvalid, 7),
        (replace(header, not_after=header.time - 1), VerificationError, 5),
        (replace(header, not_after=header.time + 86_400_001), VerificationError, 5),
        (replace(header, issuer=bytes(32)), VerificationError, 5),
        (replace(header, events_root=bytes(32)), ProofInvalid, 5),
        (replace(header, time=header.time - 10_000, not_after=header.time), VerificationError, 6),
    ]
    for changed, kind, step in changes:
        liar = Liar(world)
        liar.change(last.submission, encode(changed))
        with pytest.raises(kind) as refused:
            prove(liar.history(issue))
        assert refused.value.members["step"] == step
    school = world.log.issuers[0]
    office = next(key for key in school.keys if key.roles == 2)
    first = prove(world.history(issue, world.log.size)).events[0]
    liar = Liar(world)
    opened = world.entries[first.submission]
    assert isinstance(opened, Submission)
    liar.change(first.submission, encode(replace(opened, key=office.index)))
    with pytest.raises(VerificationError, match="has not the role to issue"):
        prove(liar.history(issue))


def test_a_key_without_the_role_to_change_a_status(world: World) -> None:
    """An issuing key signs no revocation."""
    log = LogBuilder()
    school = log.issuer("https://school.example/badges", lists=1)
    issuing = log.add_key(school, roles=1)
    log.issue(school, [school.slot(0)])
    log.submit(school, [school.revoke(school.slot(0))])
    log.seal()
    world = World(log)
    liar = Liar(world)
    block = log.block(school, [school.revoke(school.slot(0))], key=issuing)
    at = prove(world.history(world.issued()[0], log.size)).events[-1].submission
    liar.change(at, encode(block.submission))
    with pytest.raises(VerificationError, match="has not the role to change a status"):
        prove(liar.history(world.issued()[0]))


def test_heads_and_badges_are_checked_as_those_of_receipts(history: History) -> None:
    """Quorum, age, commitment and issuer."""
    now_s = decode(history.status_root).time // 1000  # type: ignore[union-attr]
    with pytest.raises(QuorumNotMet):
        prove(replace(history, signatures=history.signatures[:1]))
    with pytest.raises(Stale):
        prove(history, now_s=now_s + 50, max_age_s=49)
    with pytest.raises(NotIssued):
        prove(history, commitment=bytes(32))
    with pytest.raises(NotIssued):
        prove(history, issuer=bytes(32))
    none = policy(history.origin, quorum="none")
    assert verify_history(history, policy=none, now_s=now_s).own_time
    with pytest.raises(SignatureInvalid):
        prove(replace(history, signatures=history.signatures[1:]))


# The document ---------------------------------------------------------------------------------------------------------


def test_the_document_is_strict(history: History) -> None:
    """Every member is needed, none unknown, each of its kind; nothing cut off or too long."""
    found = json.loads(format_history(history))
    wrong: list[Any] = []
    for place in ((), ("submissions", 0), ("submissions", 0, "events", 0), ("keys", 0), ("signatures", 0)):
        for name in at(found, place):
            copy = json.loads(json.dumps(found))
            del at(copy, place)[name]
            wrong.append(copy)
            others: tuple[Any, ...] = (None, True, -1, 1.5, "+", [1], {}, 2**53)
            for value in others:
                copy = json.loads(json.dumps(found))
                at(copy, place)[name] = value
                if (name, value) != ("name", "+"):
                    wrong.append(copy)
        copy = json.loads(json.dumps(found))
        at(copy, place)["more"] = 1
        wrong.append(copy)
    for document in wrong:
        with pytest.raises(MalformedInput):
            parse_history(json.dumps(document).encode())
    data = format_history(history)
    for length in range(0, len(data), 11):
        with pytest.raises(MalformedInput):
            parse_history(data[:length])
    with pytest.raises(TooLarge):
        parse_history(data + b" " * MAX_HISTORY_BYTES)
    with pytest.raises(TooLarge):
        format_history(replace(history, log_proof=(bytes(32),) * 50_000))


def at(document: Any, place: tuple[str | int, ...]) -> Any:
    for name in place:
        document = document[name]
    return document


_SMALL = World(grown())
_DOCUMENT = json.loads(format_history(_SMALL.history(_SMALL.issued()[0], _SMALL.log.size)))
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**54) | st.text(max_size=12) | st.sampled_from(["AAAA", "AA=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)


@given(st.data())
def test_hostile_documents_raise_nothing_but_ledger_errors(data: st.DataObject) -> None:
    """Members replaced, arrays cut, doubled and reordered, numbers moved, texts spoilt."""
    document: Any = json.loads(json.dumps(_DOCUMENT))
    for _ in range(data.draw(st.integers(1, 3))):
        inner = document
        while True:
            name = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))))
            if not isinstance(inner[name], dict | list) or not inner[name] or data.draw(st.integers(0, 3)) == 0:
                break
            inner = inner[name]
        inner[name] = data.draw(_ANY | st.sampled_from(spoilt(inner[name])))
    try:
        prove(parse_history(json.dumps(document).encode()))
    except LedgerError as error:
        assert error.detail  # noqa: PT017 - either outcome will do


def spoilt(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [value[4:], value[:-4], value + value, value.swapcase()]
    if isinstance(value, int):
        return [value + 1, max(0, value - 1), 0]
    if isinstance(value, list):
        return [value[::-1], value + value, value[1:], value[:1]]
    return [value]


def test_a_long_history_fits(world: World) -> None:
    """1,000 events, each in a submission of its own, in a log that is large: below 2 MiB."""
    shown = _SMALL.history(_SMALL.issued()[0], _SMALL.log.size)
    first, second = shown.submissions[0], shown.submissions[2]
    size = 2**33
    indexes = [size // 1_010 * k for k in range(1, MAX_HISTORY_EVENTS + 1)]
    hashes = len(merkle.plan_multiproof([*indexes, *(index + 1 for index in indexes)], size))
    submissions = [replace(second, index=index, events=((index + 1, second.events[0][1]),)) for index in indexes]
    submissions[0] = replace(submissions[0], entry=first.entry, events=((indexes[0] + 1, first.events[0][1]),))
    long = replace(shown, tree_size=size, submissions=tuple(submissions), log_proof=(bytes(32),) * hashes)
    assert parse_history(format_history(long)) == long
