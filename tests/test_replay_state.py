"""What is remembered of a log: keys and their chains, nonces, issued bits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.entry import (
    BINDING_PUBLISHED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    LIST_SLOTS,
)
from ledger.errors import RuleViolation
from ledger.replay import Replay
from ledger.replay_state import IssuedBits, Nonces
from tests.builders import HOUR_MS, START_MS, LogBuilder


def test_delegated_keys_are_as_strong_as_the_first_of_their_chain() -> None:
    """`binding` is the effective one; `chain` runs from the key over its signers to the first, retired or not."""
    log = LogBuilder()
    for binding in (BINDING_PUBLISHED, BINDING_VOUCHED, BINDING_SELF_CERTIFYING):
        name = None if binding == BINDING_SELF_CERTIFYING else f"https://{binding}.example"
        issuer = log.issuer(name, binding=binding)
        first = issuer.keys[0]
        second = log.add_key(issuer, roles=7, signer=first)
        third = log.add_key(issuer, roles=3, signer=second)
        fourth = log.add_key(issuer, roles=3, signer=first)
        log.retire_key(issuer, second, signer=second)
        for key, chain in (
            (first, (first.index,)),
            (second, (second.index, first.index)),
            (third, (third.index, second.index, first.index)),
            (fourth, (fourth.index, first.index)),
        ):
            state = log.replay.key(key.index)
            assert state is not None
            assert (state.binding, state.chain, state.delegated) == (binding, chain, len(chain) > 1)
            assert (state.index, state.issuer, state.roles, state.live) == (key.index, issuer.id, key.roles, key.live)
            assert (state.public_key, state.entry) == (key.key.public_key, log.entries[key.index])
            assert state.time == START_MS
        known = log.replay.issuer(issuer.id)
        assert known is not None
        assert list(known.keys) == [key.index for key in issuer.keys]
        assert known.identifier == issuer.identifier
        assert known.last_leaf == log.leaves[-1]
        assert known.managers == 1
    again = Replay.from_snapshot(log.replay.snapshot())
    assert again.issuers == log.replay.issuers
    for index in [key.index for issuer in log.issuers for key in issuer.keys]:
        ours, theirs = log.replay.key(index), again.key(index)
        assert ours is not None
        assert theirs is not None
        assert ours.chain == theirs.chain


def test_what_was_handed_out_does_not_change() -> None:
    """An issuer's state taken before a key was retired still shows it live."""
    log = LogBuilder()
    school = log.issuer("https://school.example", lists=1)
    key = log.add_key(school, roles=3)
    before = log.replay.issuer(school.id)
    log.retire_key(school, key)
    log.open_list(school)
    after = log.replay.issuer(school.id)
    assert before is not None
    assert after is not None
    assert (before.keys[key.index].live, after.keys[key.index].live) == (True, False)
    assert (before.lists, after.lists) == ((0,), (0, 1))


def test_a_retired_key_stays_valid_for_what_it_signed_before() -> None:
    """Validity is by log order: the same block, before the retirement and after it."""
    log = LogBuilder()
    school = log.issuer("https://school.example", lists=1)
    key = log.add_key(school, roles=3)
    log.submit(school, [school.issue(1)], key=key)
    late = log.block(school, [school.issue(2)], key=key)
    log.retire_key(school, key)
    with pytest.raises(RuleViolation) as caught:
        log.append(late)
    assert caught.value.rule == "key-retired"


def test_a_long_chain_of_signers_costs_no_recursion() -> None:
    """Each key signed by the one before: thousands deep, added, shown, stored and read back."""
    log = LogBuilder()
    school = log.issuer("https://school.example")
    for _ in range(1_500):
        log.add_key(school, roles=7, signer=school.keys[-1])
    last = log.replay.key(school.keys[-1].index)
    assert last is not None
    assert last.chain == tuple(key.index for key in reversed(school.keys))
    again = Replay.from_snapshot(log.replay.snapshot())
    assert again.key(last.index) == last


def test_nonces_are_forgotten_when_they_have_expired() -> None:
    """Memory is bounded by a day of suspensions: once the log's time has passed not_after, the nonce is gone."""
    log = LogBuilder()
    school = log.issuer("https://school.example", lists=1)
    log.issue(school, range(50))
    for k in range(50):
        log.submit(school, [school.suspend(k)], not_after=log.time + k)
    assert log.replay.nonces == 50
    log.time += 10
    log.seal()
    assert log.replay.nonces == 40
    log.time += HOUR_MS
    log.seal()
    assert log.replay.nonces == 0


def test_a_nonce_used_again_after_its_time_counts_anew() -> None:
    """Of two not_afters of one nonce the later one holds, whichever is swept first."""
    nonces = Nonces()
    nonces.remember(b"a", 10)
    nonces.remember(b"a", 30)
    nonces.remember(b"b", 20)
    nonces.expire(11)
    assert (nonces.until(b"a"), nonces.until(b"b"), len(nonces)) == (30, 20, 2)
    nonces.expire(30)
    assert (nonces.until(b"a"), nonces.until(b"b"), len(nonces)) == (30, -1, 1)
    nonces.expire(31)
    assert len(nonces) == 0


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.lists(
            st.builds(
                lambda n, i: n * LIST_SLOTS + i,
                st.integers(0, 2),
                st.one_of(st.integers(0, 600), st.integers(0, LIST_SLOTS - 1)),
            ),
            min_size=1,
            max_size=150,
            unique=True,
        ),
        max_size=6,
    )
)
def test_issued_bits_are_a_set_of_slots(groups: list[list[int]]) -> None:
    """Sparse, dense, and mixed lists answer as a set does, and store alike whatever became dense when."""
    bits, naive = IssuedBits(), set[int]()
    for group in groups:
        numbers = {slot >> 17 for slot in group}
        assert bits.clashes(group, numbers) == (not naive.isdisjoint(group))
        for slot in group:
            assert bits.clashes([slot], {slot >> 17}) == (slot in naive) == (slot in bits)
        fresh = [slot for slot in group if slot not in naive]
        if fresh:
            assert not bits.clashes(fresh, {slot >> 17 for slot in fresh})
            bits.add(fresh, {slot >> 17 for slot in fresh})
        naive.update(group)
    for slot in naive | {slot + 1 for slot in naive} | {slot - 1 for slot in naive if slot}:
        assert (slot in bits) == (slot in naive)
    single = IssuedBits()
    for slot in sorted(naive):
        single.add([slot], {slot >> 17})
    rows = list(bits.rows())
    assert rows == list(single.rows())
    loaded = IssuedBits()
    for row in rows:
        loaded.load_row(*row)
    assert list(loaded.rows()) == rows
    spelled = {
        chunk * 256 + k
        for _, chunks, data in rows
        for n, chunk in enumerate(chunks)
        for k in range(256)
        if data[32 * n + k // 8] & 0x80 >> k % 8
    }
    assert spelled == naive


def test_clashes_over_dense_and_sparse_lists_alike() -> None:
    """Two dense lists, two sparse ones, one of each, and one that holds nothing: an issued slot is found in any of
    them, and only there."""
    bits = IssuedBits()
    held = {}
    for number, step in ((0, 256), (1, 256), (2, 8_192), (3, 8_192)):
        held[number] = list(range(number * LIST_SLOTS, (number + 1) * LIST_SLOTS, step))
        bits.add(held[number], {number})
    assert [type(bits._lists[number]) for number in range(4)] == [bytearray, bytearray, dict, dict]
    for numbers in ({0}, {0, 1}, {2}, {2, 3}, {0, 2}, {0, 1, 2, 3}, {0, 4}, {2, 4}, {0, 1, 3, 4}):
        beside = [slot + 1 for number in numbers for slot in held.get(number, [number * LIST_SLOTS])]
        assert not bits.clashes(beside, numbers)
        for number in numbers - {4}:
            assert bits.clashes([*beside, held[number][-1]], numbers)
    both = [slot + 1 for number in (0, 1) for slot in held[number]]
    bits.add(both, {0, 1})
    assert all(slot in bits for slot in [*both, *held[0], *held[1]])
    assert bits.clashes([both[0]], {0})
    assert not bits.clashes([slot + 1 for slot in both], {0, 1})


def test_rows_that_are_none_are_refused() -> None:
    """No chunk, too few or too many bytes, a chunk of another list."""
    for number, chunks, data in ((0, [], b""), (0, [1], bytes(31)), (0, [1], bytes(64)), (1, [511], bytes(32))):
        with pytest.raises(ValueError, match="do not add up"):
            IssuedBits().load_row(number, list(chunks), data)


def test_issued_slots_cost_little() -> None:
    """A full list is one bytearray of 16,384; ten thousand lists with one slot each are some hundred bytes each."""
    bits = IssuedBits()
    bits.add(range(LIST_SLOTS), {0})
    assert isinstance(bits._lists[0], bytearray)
    assert len(bits._lists[0]) == 16_384
    for number in range(1, 10_000):
        bits.add([number * LIST_SLOTS + 77], {number})
    assert sum(isinstance(held, dict) and len(held) == 1 for held in bits._lists.values()) == 9_999
