"""Each rule of the log: what breaks it, the index where an auditor stops, and that a refusal leaves no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable

import msgspec
import pytest

from ledger.block import Block
from ledger.entry import (
    LIST_SLOTS,
    NONE_INDEX,
    ROLE_ISSUE,
    ROLE_STATUS,
    ZERO32,
    LogParams,
    StatusList,
    StatusRoot,
)
from ledger.errors import RuleViolation
from ledger.replay import Replay
from ledger.replay_block import MAX_WINDOW_MS
from tests.builders import HOUR_MS, ORIGIN, START_MS, BuiltIssuer, LogBuilder, seeded_key
from tests.refusals import refused, trace

NAME = "https://school.example/badges"


@pytest.fixture
def log() -> LogBuilder:
    return LogBuilder()


@pytest.fixture
def school(log: LogBuilder) -> BuiltIssuer:
    return log.issuer(NAME, lists=2)


@pytest.fixture
def club(log: LogBuilder, school: BuiltIssuer) -> BuiltIssuer:
    return log.issuer("https://club.example", lists=1)


# Order and time ---------------------------------------------------------------------------------------------------


def test_entry_0_is_log_params() -> None:
    """Nothing else opens a log."""
    full = LogBuilder()
    school = full.issuer(NAME, lists=1)
    for unit in (
        full.replay.draft().status_root(START_MS),
        full.key_entry(BuiltIssuer("https://x.example"), seeded_key("x")),
        StatusList(START_MS, 0, school.id),
        full.block(school, [school.issue(5)]),
    ):
        replay = Replay()
        with pytest.raises(RuleViolation) as caught:
            replay.apply(unit)
        assert (caught.value.rule, caught.value.index) == ("entry-order", 0)
        assert replay.size == 0


def test_entry_1_is_a_status_root() -> None:
    """Nothing else follows log_params."""
    full = LogBuilder()
    school = full.issuer(NAME, lists=1)
    for unit in (
        full.key_entry(BuiltIssuer("https://x.example"), seeded_key("x")),
        StatusList(START_MS, 0, school.id),
        full.block(school, [school.issue(5)]),
        LogParams(START_MS, ORIGIN),
    ):
        refused(LogBuilder(sealed=False), unit, "entry-order")


def test_a_second_log_params_is_a_violation(log: LogBuilder) -> None:
    """In this version, wherever it stands."""
    refused(log, LogParams(START_MS, ORIGIN), "entry-order")


def test_the_origin_may_be_demanded() -> None:
    """A Replay that was told its log's origin refuses another log's params; one that was not takes what stands."""
    replay = Replay("other.example")
    with pytest.raises(RuleViolation) as caught:
        replay.apply(LogParams(START_MS, ORIGIN))
    assert (caught.value.rule, caught.value.index, replay.size) == ("origin", 0, 0)
    assert Replay(ORIGIN).apply(LogParams(START_MS, ORIGIN)) == 0


def test_time_never_decreases(log: LogBuilder, school: BuiltIssuer) -> None:
    """For every timed entry; the same millisecond is admissible."""
    log.time += 10
    log.seal()
    log.time -= 1
    for unit in (
        log.replay.draft().status_root(log.time),
        log.key_entry(BuiltIssuer("https://x.example"), seeded_key("x")),
        StatusList(log.time, 2, school.id),
        log.block(school, [school.issue(5)]),
    ):
        refused(log, unit, "time-decreases")
    log.time += 1
    log.issue(school, [5])
    log.open_list(school)
    log.seal()


# Lists and status roots -------------------------------------------------------------------------------------------


def test_status_lists(log: LogBuilder, school: BuiltIssuer) -> None:
    """A list has the number of lists before it and an issuer with a key entry."""
    for number in (0, 1, 3, 2**32 - 1):
        refused(log, StatusList(log.time, number, school.id), "list-number")
    refused(log, StatusList(log.time, 2, b"\1" * 32), "unknown-issuer")
    assert log.open_list(school) == 2
    assert log.replay.owner(2) == school.id
    assert log.replay.owner(3) is None
    state = log.replay.issuer(school.id)
    assert state is not None
    assert state.lists == (0, 1, 2)


def test_status_roots_equal_what_is_recomputed(log: LogBuilder, school: BuiltIssuer) -> None:
    """Field for field: previous, lists, the three totals, the root."""
    log.submit(school, [school.issue(5), school.issue(6), school.revoke(5), school.suspend(6)])
    good = log.replay.draft().status_root(log.time)
    assert good == StatusRoot(log.time, 1, 2, 2, 1, 1, log.replay.status.root)
    for changes in (
        {"previous": 0},
        {"previous": 2},
        {"previous": NONE_INDEX},
        {"lists": 1},
        {"lists": 3},
        {"issued": 1},
        {"issued": 3},
        {"revoked": 0},
        {"suspended": 0},
        {"root": ZERO32},
    ):
        violation = refused(log, msgspec.structs.replace(good, **changes), "status-root")
        assert next(iter(changes)) in violation.detail
    index = log.append(good)
    assert log.replay.previous_root_index == index
    refused(log, good, "status-root")


def test_the_first_status_root_has_no_previous() -> None:
    """2^64 - 1 stands for none."""
    log = LogBuilder(sealed=False)
    good = log.replay.draft().status_root(log.time)
    assert good.previous == NONE_INDEX
    refused(log, msgspec.structs.replace(good, previous=0), "status-root")
    log.append(good)


# Submissions ------------------------------------------------------------------------------------------------------


def test_count(log: LogBuilder, school: BuiltIssuer) -> None:
    """A submission states the number of its events, 1 to 100,000: at its own index."""
    block = log.block(school, [school.issue(5), school.issue(6)])
    for count in (0, 1, 3, 100_001):
        wrong = Block(msgspec.structs.replace(block.submission, count=count), block._events, None)
        refused(log, wrong, "count")


def test_a_submission_of_100_000_events_is_admissible(log: LogBuilder, school: BuiltIssuer) -> None:
    """The limit itself is within."""
    log.submit(school, [school.issue(slot, ZERO32) for slot in range(100_000)])
    assert log.replay.issued == 100_000


def test_window(log: LogBuilder, school: BuiltIssuer) -> None:
    """time <= not_after <= time + 24 hours, both ends included."""
    for not_after in (log.time - 1, log.time + MAX_WINDOW_MS + 1, 0, 2**64 - 1):
        refused(log, log.block(school, [school.issue(5)], not_after=not_after), "window")
    log.submit(school, [school.issue(5)], not_after=log.time)
    log.submit(school, [school.issue(6)], not_after=log.time + 86_400_000)


def test_the_key_is_a_live_one_of_the_issuer(log: LogBuilder, school: BuiltIssuer, club: BuiltIssuer) -> None:
    """Named by the index of its add entry; another issuer's, an entry that adds no key, or a retired one won't do."""
    online = log.add_key(school, roles=3)
    block = log.block(school, [school.issue(5)], key=online)
    index = log.retire_key(school, online)
    refused(log, block, "key-retired")
    for key in (0, 1, club.keys[0].index, index, school.keys[0].index + 1, log.size, NONE_INDEX):
        wrong = log.block(school, [school.issue(5)], key=school.keys[0])
        submission = msgspec.structs.replace(wrong.submission, key=key)
        refused(log, Block(submission, wrong._events, None), "unknown-key")
    stranger = BuiltIssuer("https://nobody.example", keys=school.keys)
    refused(log, log.block(stranger, [stranger.issue(5)], key=school.keys[0]), "unknown-key")


@pytest.mark.parametrize("roles", range(1, 8))
def test_events_need_their_role(roles: int) -> None:
    """Issue needs *issue*, the other three need *status*, and a block of both needs both: at the submission's index."""
    log = LogBuilder()
    school = log.issuer(NAME, lists=1)
    key = log.add_key(school, roles=roles)
    log.issue(school, [1, 2, 3, 4])
    log.submit(school, [school.suspend(3)])
    may_issue, may_change = bool(roles & ROLE_ISSUE), bool(roles & ROLE_STATUS)
    for events, admitted in (
        ([school.issue(10)], may_issue),
        ([school.revoke(1)], may_change),
        ([school.suspend(2)], may_change),
        ([school.reinstate(3)], may_change),
        ([school.issue(11), school.revoke(4)], may_issue and may_change),
    ):
        block = log.block(school, events, key=key)
        if admitted:
            log.append(block)
        else:
            refused(log, block, "key-role")


def test_nonces_of_suspend_and_reinstate(log: LogBuilder, school: BuiltIssuer, club: BuiltIssuer) -> None:
    """Such a nonce is taken until its not_after has passed, for its issuer; the last millisecond is still taken."""
    nonce, until = b"n" * 16, log.time + HOUR_MS
    log.issue(school, [school.slot(k) for k in range(4)])
    log.issue(club, [club.slot(0)])
    log.submit(school, [school.suspend(0)], nonce=nonce, not_after=until)
    refused(log, log.block(school, [school.reinstate(0)], nonce=nonce), "nonce")
    refused(log, log.block(school, [school.issue(9), school.suspend(1)], nonce=nonce), "nonce")
    log.submit(club, [club.suspend(club.slot(0))], nonce=nonce, not_after=until)
    log.submit(school, [school.issue(7)], nonce=nonce)
    log.submit(school, [school.revoke(1)], nonce=nonce)
    log.time = until
    refused(log, log.block(school, [school.reinstate(0)], nonce=nonce), "nonce")
    log.seal()
    refused(log, log.block(school, [school.reinstate(0)], nonce=nonce), "nonce")
    log.time = until + 1
    log.submit(school, [school.reinstate(0)], nonce=nonce, not_after=until + 2)
    refused(log, log.block(school, [school.suspend(0)], nonce=nonce), "nonce")


def test_nonces_of_issue_and_revoke_are_free(log: LogBuilder, school: BuiltIssuer) -> None:
    """They may repeat, before and after a suspend with the same one: a replay fails on the slot's state."""
    nonce = b"n" * 16
    first = log.block(school, [school.issue(0)], nonce=nonce)
    log.append(first)
    refused(log, first, "slot-issued", event=0)
    log.submit(school, [school.issue(1)], nonce=nonce)
    revoke = log.block(school, [school.revoke(0)], nonce=nonce)
    log.append(revoke)
    refused(log, revoke, "illegal-transition", event=0)
    log.submit(school, [school.suspend(1)], nonce=nonce)
    log.submit(school, [school.issue(2)], nonce=nonce)


def test_nonces_within_one_draft(log: LogBuilder, school: BuiltIssuer) -> None:
    """A draft knows the nonces of its own submissions, and forgets them with itself."""
    log.issue(school, [0])
    suspend = log.block(school, [school.suspend(0)], nonce=b"n" * 16)
    reinstate = log.block(school, [school.reinstate(0)], nonce=b"n" * 16)
    draft = log.replay.draft()
    draft.append(suspend)
    with pytest.raises(RuleViolation) as caught:
        draft.append(reinstate)
    assert (caught.value.rule, caught.value.index) == ("nonce", log.size + 2)
    log.replay.draft().append(suspend)


def test_events_root(log: LogBuilder, school: BuiltIssuer) -> None:
    """The signed root ties the events: other events, another order, at the submission's index."""
    events = [school.issue(5), school.issue(6), school.issue(7)]
    good = log.block(school, events)
    for other in ([events[0], events[2], events[1]], [*events[:2], school.issue(8)], [*events[:2], school.revoke(6)]):
        swapped = Block.decode(good.submission, b"".join(other))
        refused(log, swapped, "events-root")
    log.append(good)


def test_signature(log: LogBuilder, school: BuiltIssuer, club: BuiltIssuer) -> None:
    """The named key's, over this log's origin and every field but the ledger's time."""
    good = log.block(school, [school.issue(5)])
    refused(log, log.block(school, [school.issue(5)], origin="elsewhere.example"), "signature")
    thief = copy.copy(school.keys[0])
    thief.key = club.keys[0].key
    refused(log, log.block(school, [school.issue(5)], key=thief), "signature")
    other = log.add_key(school, roles=7)
    for changes in (
        {"not_after": good.submission.not_after + 1},
        {"nonce": b"x" * 16},
        {"key": other.index},
        {"signature": bytes(64)},
    ):
        submission = msgspec.structs.replace(good.submission, **changes)
        refused(log, Block(submission, good._events, None), "signature")
    log.append(good.with_time(log.time + 1))


def test_a_signature_is_not_verified_twice(log: LogBuilder, school: BuiltIssuer) -> None:
    """A block that was verified with the live key for this origin is believed; with anything else it is not."""
    good = log.block(school, [school.issue(5)])
    forged = Block(msgspec.structs.replace(good.submission, signature=bytes(64)), good._events, None)
    live = school.keys[0].key.public_key
    for key, origin in ((live, "elsewhere.example"), (seeded_key("x").public_key, ORIGIN), (live, None)):
        forged.verified_key, forged.verified_origin = key, origin
        refused(log, forged, "signature")
    forged.verified_key, forged.verified_origin = live, ORIGIN
    log.append(forged)


def test_trusted_leaves_out_signatures_and_nothing_else(log: LogBuilder, school: BuiltIssuer) -> None:
    """Reading one's own database skips possession, manage and submission signatures and the events root; every rule
    about the state still holds."""
    later = log.key_entry(school, seeded_key("later"), roles=3)
    key = msgspec.structs.replace(later, possession_sig=b"\1" * 64, manage_sig=b"\1" * 64)
    refused(log, key, "signature")
    assert log.replay.apply(key, trusted=True) == log.size
    log = LogBuilder()
    school = log.issuer(NAME, lists=2)
    block = log.block(school, [school.issue(5), school.issue(6)])
    broken = Block(
        msgspec.structs.replace(block.submission, signature=bytes(64), events_root=bytes(32)), block._events, None
    )
    refused(log, broken, "events-root")
    replay = Replay.from_snapshot(log.replay.snapshot())
    replay.apply(broken, trusted=True)
    assert replay.issued == 2
    with pytest.raises(RuleViolation) as caught:
        replay.apply(broken, trusted=True)
    assert caught.value.rule == "slot-issued"
    with pytest.raises(RuleViolation):
        replay.apply(msgspec.structs.replace(later, prev=ZERO32), trusted=True)
    with pytest.raises(RuleViolation):
        replay.apply(msgspec.structs.replace(replay.draft().status_root(log.time), issued=0), trusted=True)


# Events -----------------------------------------------------------------------------------------------------------


def test_events_carry_the_submissions_issuer(log: LogBuilder, school: BuiltIssuer, club: BuiltIssuer) -> None:
    """An event of another issuer is found at the event's own index, even if that issuer's slot is meant."""
    events = [school.issue(5), club.issue(club.slot(0)), school.issue(6), club.issue(7)]
    refused(log, log.block(school, events), "foreign-issuer", event=1, positions=[1, 3])
    log.issue(school, [9])
    mixed = [school.revoke(9), club.revoke(club.slot(0)), school.revoke(10)]
    violation = refused(log, log.block(school, mixed), "foreign-issuer", event=1, positions=[1, 2])
    assert violation.members["rules"] == ["foreign-issuer", "illegal-transition"]


def test_slots_are_in_the_issuers_own_lists(log: LogBuilder, school: BuiltIssuer, club: BuiltIssuer) -> None:
    """Another issuer's list, or one that does not exist: for every kind of event, at the event's index."""
    theirs = club.slot(0)
    log.issue(club, [theirs])
    log.issue(school, [0])
    for slot in (theirs, club.slot(1), 3 * LIST_SLOTS, 2**63, 2**64 - 1):
        for make in (school.issue, school.revoke, school.suspend, school.reinstate):
            refused(log, log.block(school, [make(slot)]), "not-owner", event=0)
            events = [school.issue(5), make(slot), school.issue(6)]
            refused(log, log.block(school, events), "not-owner", event=1)


def test_a_slot_is_issued_once(log: LogBuilder, school: BuiltIssuer) -> None:
    """Against earlier blocks, in the same draft, and in the same block; revoked slots are not issued again."""
    log.issue(school, [5, 6, 7])
    log.submit(school, [school.revoke(6), school.suspend(7)])
    for slot in (5, 6, 7):
        block = log.block(school, [school.issue(1), school.issue(slot), school.issue(2)])
        refused(log, block, "slot-issued", event=1)
    twice = [school.issue(1), school.issue(2), school.issue(1), school.issue(3), school.issue(1)]
    refused(log, log.block(school, twice), "slot-issued", event=2, positions=[2, 4])
    draft = log.replay.draft()
    draft.append(log.block(school, [school.issue(20), school.issue(LIST_SLOTS + 1)]))
    before = trace(draft)
    with pytest.raises(RuleViolation) as caught:
        draft.append(log.block(school, [school.issue(21), school.issue(LIST_SLOTS + 1)]))
    assert (caught.value.rule, caught.value.index) == ("slot-issued", log.size + 3 + 1 + 1)
    assert trace(draft) == before


STATES: dict[str, Callable[[BuiltIssuer], list[bytes]]] = {
    "unissued": lambda _: [],
    "active": lambda i: [i.issue(5)],
    "reinstated": lambda i: [i.issue(5), i.suspend(5), i.reinstate(5)],
    "suspended": lambda i: [i.issue(5), i.suspend(5)],
    "revoked": lambda i: [i.issue(5), i.revoke(5)],
    "suspended, revoked": lambda i: [i.issue(5), i.suspend(5), i.revoke(5)],
}
LEGAL = {
    ("unissued", "issue"): "active",
    ("active", "suspend"): "suspended",
    ("active", "revoke"): "revoked",
    ("suspended", "reinstate"): "active",
    ("suspended", "revoke"): "revoked",
}


@pytest.mark.parametrize("in_one_block", [False, True])
@pytest.mark.parametrize("event", ["issue", "revoke", "suspend", "reinstate"])
@pytest.mark.parametrize("state", list(STATES))
def test_every_transition(state: str, event: str, in_one_block: bool) -> None:
    """Exactly the five of the table are legal, across blocks and within one, in order; the rest, repeats included, are
    violations at the event's index."""
    log = LogBuilder()
    school = log.issuer(NAME, lists=1)
    plain = {"reinstated": "active", "suspended, revoked": "revoked"}.get(state, state)
    before = STATES[state](school)
    if before and not in_one_block:
        log.submit(school, before)
        before = []
        assert log.replay.slot_state(5) == plain
    block = log.block(school, [*before, getattr(school, event)(5)])
    after = LEGAL.get((plain, event))
    if after is None:
        rule = "slot-issued" if event == "issue" else "illegal-transition"
        refused(log, block, rule, event=len(before))
        return
    log.append(block)
    assert log.replay.slot_state(5) == after
    totals = (log.replay.issued, log.replay.revoked, log.replay.suspended)
    assert totals == (1, int(after == "revoked"), int(after == "suspended"))
    bits = log.replay.status.chunk(0)
    assert (bits[0], bits[32]) == (4 * (after == "revoked"), 4 * (after == "suspended"))


def test_effects_apply_in_order(log: LogBuilder, school: BuiltIssuer) -> None:
    """A whole life in one block is legal; the same events in another order are not, and a failed event has no effect
    on those after it."""
    life = [school.issue(5), school.suspend(5), school.reinstate(5), school.suspend(5), school.revoke(5)]
    refused(log, log.block(school, life[::-1]), "illegal-transition", event=0, positions=[0, 1, 2, 3])
    refused(log, log.block(school, [school.revoke(6), *life]), "illegal-transition", event=0)
    log.submit(school, life)
    assert log.replay.slot_state(5) == "revoked"


def test_all_failing_events_are_named_up_to_100(log: LogBuilder, school: BuiltIssuer) -> None:
    """In order, each with its rule; the index is the first one's."""
    log.issue(school, range(500))
    events = [school.issue(1_000 + k) if k % 2 == 0 else school.issue(k) for k in range(400)]
    violation = refused(log, log.block(school, events), "slot-issued", event=1, positions=list(range(1, 200, 2)))
    assert violation.status == 409
    assert violation.detail == "event 1 (issue slot 1): the slot is issued already, and 99 more fail"
    mixed = [school.issue(2_000), school.revoke(2_001), school.issue(3), school.issue(2**40), school.suspend(4)]
    violation = refused(log, log.block(school, mixed), "illegal-transition", event=1, positions=[1, 2, 3])
    assert violation.members["rules"] == ["illegal-transition", "slot-issued", "not-owner"]


def test_what_concerns_the_submission_comes_before_its_events(log: LogBuilder, school: BuiltIssuer) -> None:
    """An auditor stops at the first wrong entry: a bad window hides a bad event."""
    refused(log, log.block(school, [school.revoke(5)], not_after=log.time - 1), "window")
    forged = log.block(school, [school.revoke(5)], origin="elsewhere.example")
    refused(log, forged, "signature")
