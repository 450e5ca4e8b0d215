"""The state of a log: random histories against a naive model, drafts, snapshots, keys, memory."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import replay_block
from ledger.block import Block
from ledger.entry import (
    LIST_CHUNKS,
    LIST_SLOTS,
    NONE_INDEX,
    Issue,
    StatusEvent,
    StatusList,
    StatusRoot,
    Submission,
    decode,
)
from ledger.errors import RuleViolation
from ledger.replay import Replay, Unit
from ledger.status import StatusTree, empty_hash
from tests.builders import ORIGIN, BuiltIssuer, LogBuilder, demo_log
from tests.test_status import naive_status_root

#: Kind of event, slot, and an issuer (or whether it is the other one's).
Wanted = tuple[str, int, int]
KINDS = ("issue", "revoke", "suspend", "reinstate")


@dataclass
class NaiveLog:
    """What the wire format says, over dicts and sets of whole slots: no bits, no chunks, no drafts."""

    owners: list[int] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)
    nonces: list[tuple[int, bytes, int]] = field(default_factory=list)
    size: int = 0

    def judge(self, issuer: int, events: list[Wanted]) -> tuple[list[tuple[int, str]], dict[int, str]]:
        """The failing events (position, rule) of a block, and the states after it; an event is (kind, slot, issuer)."""
        states, failures = dict(self.states), list[tuple[int, str]]()
        for k, (kind, slot, claimed) in enumerate(events):
            state = states.get(slot, "unissued")
            number = slot // 131_072
            if claimed != issuer:
                failures.append((k, "foreign-issuer"))
            elif number >= len(self.owners) or self.owners[number] != issuer:
                failures.append((k, "not-owner"))
            elif kind == "issue" and state == "unissued":
                states[slot] = "active"
            elif kind == "issue":
                failures.append((k, "slot-issued"))
            elif kind == "suspend" and state == "active":
                states[slot] = "suspended"
            elif kind == "reinstate" and state == "suspended":
                states[slot] = "active"
            elif kind == "revoke" and state in ("active", "suspended"):
                states[slot] = "revoked"
            else:
                failures.append((k, "illegal-transition"))
        return failures, states

    def nonce_taken(self, issuer: int, nonce: bytes, now: int) -> bool:
        """As the wire format puts it: an earlier one of the same issuer with a not_after at or after the time."""
        return any(i == issuer and n == nonce and until >= now for i, n, until in self.nonces)

    def count(self, state: str) -> int:
        return sum(value == state for value in self.states.values())


def slots(lists: int) -> st.SearchStrategy[int]:
    """Few slots, so that events meet, over all lists and one that is not there; chunks and lists at their edges."""
    places = [0, 1, 7, 8, 255, 256, 131_071]
    return st.builds(lambda n, i: n * LIST_SLOTS + i, st.integers(0, lists), st.sampled_from(places))


events = st.lists(
    st.tuples(st.sampled_from(KINDS + ("issue",) * 3), slots(4), st.integers(0, 19).map(lambda n: int(n == 0))),
    min_size=1,
    max_size=12,
)
runs = st.lists(slots(3), min_size=1, max_size=9).map(lambda found: [("issue", slot, 0) for slot in found])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("block"), st.integers(0, 1), st.one_of(events, runs), st.integers(0, 3), st.integers(0, 9)),
        st.tuples(
            st.sampled_from(["seal", "wait", "list", "merge"]), st.integers(0, 1), st.just([]), st.just(0), st.just(0)
        ),
    ),
    max_size=30,
)


def build_block(log: LogBuilder, who: int, wanted: list[Wanted], nonce: int, window: int) -> Block:
    """The third part of an event says whether it claims the other issuer."""
    issuer = log.issuers[who]
    parts = [getattr(log.issuers[who ^ other], kind)(slot) for kind, slot, other in wanted]
    return log.block(issuer, parts, nonce=bytes([nonce]) * 16, not_after=log.time + window * 500)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_random_histories_match_a_naive_model(
    history: list[tuple[str, int, list[Wanted], int, int]],
) -> None:
    """Which blocks are admitted, why and at which entry the others are not, every slot's state, the totals and the
    status root are those of the naive model, whether units come one by one or through drafts merged now and then."""
    log = LogBuilder()
    one_by_one, drafted = Replay(), Replay()
    for index, unit in enumerate(unit for _, unit in log.units):
        assert one_by_one.apply(unit) == drafted.apply(unit) == index
    naive = NaiveLog()
    draft = drafted.draft()

    def append(unit: Unit) -> None:
        assert one_by_one.apply(unit) == draft.append(unit)
        naive.size = one_by_one.size

    for name in ("https://a.example", "https://b.example"):
        issuer = BuiltIssuer(name)
        log.issuer(name)
        append(log.units[-1][1])
        assert issuer.id in one_by_one.issuers
    for n in range(4):
        append(StatusList(log.time, n, log.issuers[n % 2].id))
        naive.owners.append(n % 2)
    for kind, who, wanted, nonce, window in history:
        if kind == "wait":
            log.time += 1_000
        elif kind == "seal":
            append(one_by_one.draft().status_root(log.time))
        elif kind == "list":
            append(StatusList(log.time, len(naive.owners), log.issuers[who].id))
            naive.owners.append(who)
        elif kind == "merge":
            drafted.merge(draft)
            draft = drafted.draft()
        else:
            block = build_block(log, who, wanted, nonce, window)
            failures, after = naive.judge(who, [(k, slot, who ^ other) for k, slot, other in wanted])
            counts = any(k in ("suspend", "reinstate") for k, _, _ in wanted)
            taken = counts and naive.nonce_taken(who, block.submission.nonce, log.time)
            if not failures and not taken:
                append(block)
                naive.states = after
                if counts:
                    naive.nonces.append((who, block.submission.nonce, block.submission.not_after))
                continue
            for target in (one_by_one.draft(), draft):
                with pytest.raises(RuleViolation) as caught:
                    target.append(block)
                if taken:
                    assert (caught.value.rule, caught.value.index) == ("nonce", naive.size)
                else:
                    assert caught.value.rule == failures[0][1]
                    assert caught.value.index == naive.size + 1 + failures[0][0]
                    assert list(caught.value.positions) == [k for k, _ in failures]
                    assert caught.value.members["rules"] == [rule for _, rule in failures]
    drafted.merge(draft)
    assert drafted.snapshot() == one_by_one.snapshot()
    revoked = {slot for slot, state in naive.states.items() if state == "revoked"}
    suspended = {slot for slot, state in naive.states.items() if state == "suspended"}
    due = drafted.draft().status_root(log.time)
    assert (due.lists, due.issued, due.revoked, due.suspended) == (
        len(naive.owners),
        len(naive.states),
        len(revoked),
        len(suspended),
    )
    assert due.root == drafted.status.root == naive_status_root(len(naive.owners), revoked, suspended)
    for slot in set(naive.states) | {0, 5, 256, LIST_SLOTS, 10 * LIST_SLOTS}:
        assert drafted.slot_state(slot) == naive.states.get(slot, "unissued")
    assert Replay.from_snapshot(drafted.snapshot()).snapshot() == drafted.snapshot()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(events, runs), min_size=1, max_size=6))
def test_the_fast_path_judges_as_the_loop_does(blocks: list[list[Wanted]]) -> None:
    """A block of issues is accepted by set operations exactly if the loop over its events accepts it, with the same
    effects."""
    log = LogBuilder()
    log.issuer("https://a.example", lists=3)
    log.issuer("https://b.example", lists=1)
    draft = log.replay.draft()
    for wanted in blocks:
        block = build_block(log, 0, [("issue", slot, other) for _, slot, other in wanted], 1, 1)
        if block.foreign_issuer is not None:
            continue
        fast = replay_block._fresh(block, draft)
        try:
            slow = replay_block._one_by_one(block, draft)
        except RuleViolation:
            assert fast is None
        else:
            assert fast == slow
            draft.append(block)


# Drafts -----------------------------------------------------------------------------------------------------------


def test_discarded_drafts_leave_no_trace() -> None:
    """Two drafts that took all there is, and were dropped, change nothing; a third, merged, is all that counts."""
    log = demo_log()
    cut = next(k for k, unit in enumerate(log.all_units()) if isinstance(unit, Block)) + 1
    replay = Replay()
    for unit in log.all_units()[:cut]:
        replay.apply(unit)
    before = replay.snapshot()
    drafts = [replay.draft() for _ in range(3)]
    for draft in drafts:
        for unit in log.all_units()[cut:]:
            draft.append(unit)
        assert draft.status.root == log.replay.status.root
        assert replay.snapshot() == before
    replay.merge(drafts[2])
    assert replay.snapshot() == log.replay.snapshot()
    for draft in drafts:
        with pytest.raises(ValueError, match="not based"):
            replay.merge(draft)
        with pytest.raises(ValueError, match="not based"):
            draft.append(draft.status_root(log.time))


def test_a_draft_belongs_to_its_replay() -> None:
    """Another Replay, equal or not, refuses it."""
    log = demo_log()
    twin = Replay.from_snapshot(log.replay.snapshot())
    with pytest.raises(ValueError, match="not based"):
        twin.merge(log.replay.draft())


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
def test_any_number_of_units_per_draft_gives_the_same_state(step: int) -> None:
    """Merged in steps of any size, trusted or not, and with a restart after each."""
    log = demo_log()
    units = log.all_units()
    plain, trusted, restarted = Replay(), Replay(), Replay()
    for start in range(0, len(units), step):
        drafts = [plain.draft(), trusted.draft(), restarted.draft()]
        for unit in units[start : start + step]:
            drafts[0].append(unit)
            drafts[1].append(unit, trusted=True)
            drafts[2].append(unit)
        for replay, draft in zip((plain, trusted, restarted), drafts, strict=True):
            replay.merge(draft)
        restarted = Replay.from_snapshot(restarted.snapshot())
    assert plain.snapshot() == trusted.snapshot() == restarted.snapshot() == log.replay.snapshot()
    assert (plain.size, plain.time) == (log.size, log.time)


def test_entries_decode_to_the_units_that_were_appended() -> None:
    """A log read back from its bytes replays to the same state."""
    log = demo_log()
    replay, position = Replay(ORIGIN), 0
    while position < log.size:
        entry = decode(log.entries[position])
        assert not isinstance(entry, (Issue, StatusEvent))
        unit: Unit
        count = 0
        if isinstance(entry, Submission):
            count = entry.count
            unit = Block.decode(entry, b"".join(log.entries[position + 1 : position + 1 + count]))
        else:
            unit = entry
        assert replay.apply(unit) == position
        position += 1 + count
    assert replay.snapshot() == log.replay.snapshot()


def test_indexes_position_and_seal() -> None:
    """append tells the index of the unit's first entry; sealed says that the last entry is a status_root."""
    log = LogBuilder(sealed=False)
    assert (log.size, log.replay.size, log.replay.sealed, log.replay.previous_root_index) == (1, 1, False, NONE_INDEX)
    assert log.seal() == 1
    assert (log.replay.sealed, log.replay.previous_root_index) == (True, 1)
    school = log.issuer("https://school.example", lists=1)
    assert (log.replay.sealed, log.replay.previous_root_index) == (False, 1)
    draft = log.replay.draft()
    assert draft.append(log.block(school, [school.issue(k) for k in range(10)])) == 4
    assert (draft.size, draft.sealed, draft.issued, log.replay.size) == (15, False, 10, 4)
    assert draft.append(draft.status_root(log.time + 7)) == 15
    assert (draft.sealed, draft.previous_root_index, draft.time) == (True, 15, log.time + 7)
    log.replay.merge(draft)
    assert (log.replay.sealed, log.replay.previous_root_index, log.replay.size) == (True, 15, 16)
    assert log.replay.origin == ORIGIN


def test_a_draft_shows_what_it_holds() -> None:
    """Keys, issuers, lists and slots appended to a draft are seen in it and not in the state below."""
    log = LogBuilder()
    school = log.issuer("https://school.example", lists=1)
    log.issue(school, [1])
    other = LogBuilder()
    other.extend(log.all_units()[2:])
    draft = log.replay.draft()
    club = other.issuer("https://club.example", lists=1)
    for unit in other.all_units()[-2:]:
        draft.append(unit)
    key = draft.key(club.keys[0].index)
    assert key is not None
    assert key.issuer == club.id
    assert draft.issuer(club.id) is not None
    assert (draft.owner(0), draft.owner(1), draft.owner(2)) == (school.id, club.id, None)
    assert draft.list_count == 2
    draft.append(other.block(club, [club.issue(club.slot(3)), club.suspend(club.slot(3))]))
    assert draft.slot_state(club.slot(3)) == "suspended"
    assert draft.slot_state(1) == "active"
    assert draft.slot_state(2) == "unissued"
    below = log.replay
    assert (below.key(club.keys[0].index), below.issuer(club.id), below.owner(1)) == (None, None, None)
    assert (below.slot_state(club.slot(3)), below.is_issued(club.slot(3)), below.list_count) == ("unissued", False, 1)


def test_changed_nodes_and_chunks_rebuild_every_version_of_the_tree() -> None:
    """A store that takes only what each draft tells, newest first, has every node of every head's status tree."""
    log = demo_log()
    replay = Replay()
    nodes: dict[tuple[int, int], bytes] = {}
    chunks: dict[int, bytes] = {}
    draft = replay.draft()
    for unit in log.all_units():
        draft.append(unit)
        if not isinstance(unit, StatusRoot):
            continue
        told = draft.changed_nodes
        assert len({(level, index) for level, index, _ in told}) == len(told)
        replay.merge(draft)
        assert draft.changed_nodes == told
        assert {number for number, _ in draft.changed_chunks} == {index for level, index, _ in told if level == 0}
        nodes.update({(level, index): value for level, index, value in told})
        chunks.update(draft.changed_chunks)
        tree = replay.status
        assert StatusTree.from_chunks(tree.lists, chunks).root == tree.root == unit.root
        for level in range(12):
            for index in range((tree.lists * LIST_CHUNKS) >> level):
                assert nodes.get((level, index), empty_hash(level)) == tree.node((level, index))
        draft = replay.draft()
    assert len(chunks) == 2


def test_a_chunk_that_came_out_the_same_was_touched() -> None:
    """A suspension that is lifted in the same draft changes no node, and yet its chunk is told: histories need it."""
    log = demo_log()
    school = log.issuers[0]
    draft = log.replay.draft()
    draft.append(log.block(school, [school.suspend(school.slot(11)), school.reinstate(school.slot(11))]))
    assert draft.changed_nodes == []
    assert draft.changed_chunks == [(school.slot(11) >> 8, log.replay.status.chunk(school.slot(11) >> 8))]


def test_old_status_trees_stay_true() -> None:
    """What `status` gave at one head answers for that head after the log has gone on."""
    log = LogBuilder()
    school = log.issuer("https://school.example", lists=1)
    log.issue(school, range(20))
    kept = []
    for k in range(20):
        log.submit(school, [school.revoke(k)])
        log.seal()
        kept.append((log.replay.status, log.status_root()))
    for k, (tree, entry) in enumerate(kept):
        assert tree.root == entry.root == naive_status_root(1, range(k + 1), [])


# Speed ------------------------------------------------------------------------------------------------------------


def test_bulk_issuing_is_cheap() -> None:
    """A block of 10,000 issues costs well below 2 microseconds an event to append and merge, on a slow machine too
    (0.3 where it was measured); event by event it would not."""
    log = LogBuilder()
    school = log.issuer("https://school.example", lists=2)
    order = list(range(2 * LIST_SLOTS))
    random.Random(5).shuffle(order)
    spent = []
    for start in range(0, 60_000, 10_000):
        block = log.block(school, [school.issue(slot, bytes(32)) for slot in order[start : start + 10_000]])
        block.check_events_root()
        block.verify_signature(ORIGIN, school.keys[0].key.public_key)
        draft = log.replay.draft()
        started = time.perf_counter()
        draft.append(block)
        log.replay.merge(draft)
        spent.append((time.perf_counter() - started) / 10_000)
    assert min(spent) < 2e-6


def test_the_model_of_a_big_day_stays_consistent() -> None:
    """Thousands of slots over several lists in blocks of mixed kinds, and the totals add up at every seal."""
    rng = random.Random(6)
    log = LogBuilder()
    school = log.issuer("https://school.example", lists=3)
    free = [school.slot(i, n) for n in range(3) for i in rng.sample(range(LIST_SLOTS), 700)]
    states: dict[int, str] = {}
    for _ in range(20):
        parts = []
        for _ in range(100):
            slot = free[rng.randrange(len(free))]
            state = states.get(slot, "unissued")
            choices = {
                "unissued": ["issue"],
                "active": ["suspend", "revoke"],
                "suspended": ["reinstate", "revoke"],
                "revoked": [],
            }[state]
            if choices:
                kind = rng.choice(choices)
                parts.append(getattr(school, kind)(slot))
                states[slot] = {"issue": "active", "reinstate": "active", "suspend": "suspended"}.get(kind, "revoked")
        log.submit(school, parts)
        log.seal()
    root = log.status_root()
    values = list(states.values())
    assert (root.issued, root.revoked, root.suspended) == (
        len(values),
        values.count("revoked"),
        values.count("suspended"),
    )
    by_state = {name: [slot for slot, state in states.items() if state == name] for name in ("revoked", "suspended")}
    assert root.root == naive_status_root(3, by_state["revoked"], by_state["suspended"])
    roots = [unit for unit in log.all_units() if isinstance(unit, StatusRoot)]
    for before, after in pairwise(roots):
        assert before.issued <= after.issued
