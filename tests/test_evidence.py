"""Evidence convicts the guilty only: whatever a hostile file says of an honest log, it is refused."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.entry import decode
from ledger.errors import InputError, LedgerError, MalformedEntry, ProofInvalid, SignatureInvalid
from ledger.evidence import (
    Evidence,
    MalformedEvidence,
    NotConvicted,
    excerpt_evidence,
    heads_evidence,
    prefix_evidence,
    read_entries,
    verify_evidence,
)
from ledger.evidence_rules import EXCERPT_RULES, Excerpt, convict
from ledger.merkle import build, leaf_hashes, nodes_for_range, plan_consistency, plan_multiproof, tree_levels
from ledger.note import VerifierKey
from ledger.signing import Ed25519Key
from ledger.tiles import encode_bundle
from tests.auditor.liar import Liar, signer
from tests.builders import demo_log, seeded_key

KEYS = signer().verifier_keys
HONEST = Liar(demo_log())
HEAD = Checkpoint(HONEST.log.origin, HONEST.size, HONEST.root())


def nodes(liar: Liar) -> dict[tuple[int, int], bytes]:
    levels = tree_levels(leaf_hashes(liar.entries))
    return {(height, k): hash_ for height, level in enumerate(levels) for k, hash_ in enumerate(level)}


NODES = nodes(HONEST)


def excerpt(rule: str, index: int, wanted: set[int]) -> bytes:
    entries = {at: HONEST.entries[at] for at in wanted}
    proof = build(plan_multiproof(wanted, HONEST.size), NODES)
    return excerpt_evidence(rule, "because", HONEST.note(), index, entries, proof)


@pytest.mark.parametrize("rule", sorted(EXCERPT_RULES))
def test_no_excerpt_of_an_honest_log_convicts(rule: str) -> None:
    """Every rule, at every index, with all other entries at hand and with few of them at random."""
    everything = dict(enumerate(HONEST.entries))
    source = random.Random(rule)
    few = [k for k, entry in enumerate(HONEST.entries) if entry[1] != 5] + [10, 11, 330]
    for index in [*few, HONEST.size]:
        assert convict(rule, Excerpt(HEAD, index, everything, own_time_s=HONEST.time_s())) is None, index
        for _ in range(40):
            subset = {at: HONEST.entries[at] for at in source.sample(few, source.randint(1, 8))}
            if index < HONEST.size:
                subset[index] = HONEST.entries[index]
            assert convict(rule, Excerpt(HEAD, index, subset, own_time_s=HONEST.time_s())) is None, (index, subset)


@given(st.data())
def test_no_file_about_an_honest_log_convicts(data: st.DataObject) -> None:
    """Proven excerpts, with any rule and index, end in a refusal."""
    wanted = data.draw(st.sets(st.integers(0, HONEST.size - 1), min_size=1, max_size=6))
    rule = data.draw(st.sampled_from([*sorted(EXCERPT_RULES), "status-root", "fork", ""]))
    index = data.draw(st.one_of(st.sampled_from(sorted(wanted)), st.integers(-1, 2**64)))
    with pytest.raises(NotConvicted):
        verify_evidence(excerpt(rule, index, wanted), (), KEYS)


def test_entries_have_to_be_under_the_head() -> None:
    """An entry that the log never had, under a proof of others."""
    document = msgspec.json.decode(excerpt("malformed-entry", 7, {7}), type=Evidence)
    forged = msgspec.structs.replace(document.entries[0], data="AQ==")
    with pytest.raises(ProofInvalid):
        verify_evidence(msgspec.json.encode(msgspec.structs.replace(document, entries=[forged])), (), KEYS)


def test_the_head_has_to_be_the_logs() -> None:
    """Signed by nobody, by another key of the same name, or of another log."""
    liar = Liar(demo_log())
    liar.seal(root=bytes(32))
    evidence = prefix_evidence("status-root", "", liar.note(), liar.size - 1, [])
    assert verify_evidence(evidence, liar.entries, KEYS).rule == "status-root"
    other = VerifierKey(KEYS[0].name, 1, Ed25519Key.from_seed(bytes(32)).public_key)
    for keys in ([], [other], [VerifierKey("another.example", 1, KEYS[0].public_key)]):
        with pytest.raises(SignatureInvalid):
            verify_evidence(evidence, liar.entries, keys)


def test_a_prefix_has_to_break_what_it_says() -> None:
    """Other rule, other index, honest entries, entries missing, added, changed: refused."""
    liar = Liar(demo_log())
    index = liar.seal(root=bytes(32))
    note = liar.note()
    for rule, at in (("status-root", index - 1), ("window", index), ("", -1)):
        with pytest.raises(NotConvicted):
            verify_evidence(prefix_evidence(rule, "", note, at, []), liar.entries, KEYS)
    good = prefix_evidence("status-root", "", note, index, [])
    for entries in (liar.entries[:-1], [*liar.entries, b"\x01\x09"], [*liar.entries[:50], b"\1\1", *liar.entries[51:]]):
        with pytest.raises(ProofInvalid):
            verify_evidence(good, entries, KEYS)
    with pytest.raises(NotConvicted):
        verify_evidence(prefix_evidence("status-root", "", HONEST.note(), HONEST.size - 1, []), HONEST.entries, KEYS)


def test_a_prefix_ends_where_the_breach_is() -> None:
    """What comes after need not be there: a consistency proof leads on to the head."""
    liar = Liar(demo_log())
    index = liar.seal(root=bytes(32))
    liar.seal()
    liar.seal()
    proof = build(plan_consistency(index + 1, liar.size), nodes(liar))
    evidence = prefix_evidence("status-root", "", liar.note(), index, proof)
    assert verify_evidence(evidence, liar.entries[: index + 1], KEYS).index == index
    for k in range(len(proof)):
        wrong = [*proof[:k], bytes(32), *proof[k + 1 :]]
        with pytest.raises(ProofInvalid):
            verify_evidence(
                prefix_evidence("status-root", "", liar.note(), index, wrong), liar.entries[: index + 1], KEYS
            )


@pytest.mark.parametrize("small", [s + 1 for s in range(1, HONEST.size) if HONEST.entries[s][1] == 9])
def test_two_heads_of_an_honest_log_convict_nobody(small: int) -> None:
    """Every earlier head with the newest, as a fork with the true proof, with a wrong one, and as a rollback."""
    first, second = HONEST.note(small, HONEST.time_s() - 1), HONEST.note()
    proof = [] if small == HONEST.size else build(plan_consistency(small, HONEST.size), NODES)
    if small & (small - 1) == 0:
        proof = [*build([nodes_for_range(0, small)], NODES), *proof]
    attempts = [("fork", proof), ("fork", []), ("fork", [bytes(32), *proof[1:]]), ("rollback", []), ("other", proof)]
    for rule, hashes in attempts:
        with pytest.raises((NotConvicted, ProofInvalid, MalformedEvidence)):
            verify_evidence(heads_evidence(rule, "", first, second, hashes), (), KEYS)
        with pytest.raises((NotConvicted, ProofInvalid, MalformedEvidence)):
            verify_evidence(heads_evidence(rule, "", second, first, hashes), (), KEYS)


def test_a_rollback_needs_the_logs_own_times() -> None:
    """Without the key that signs times there is nothing to compare; of one time, nothing is later."""
    small = HONEST.note(2, HONEST.time_s() + 10)
    evidence = heads_evidence("rollback", "", small, HONEST.note())
    assert verify_evidence(evidence, (), KEYS).rule == "rollback"
    with pytest.raises(InputError, match="names no such key"):
        verify_evidence(evidence, (), KEYS[:1])
    with pytest.raises(NotConvicted):
        verify_evidence(heads_evidence("rollback", "", HONEST.note(2), HONEST.note()), (), KEYS)


def test_entries_of_a_later_version_convict_nobody() -> None:
    """A log of a later version, honest by its own rules: its last entry and a key entry are of kinds not known here."""
    later = Liar(demo_log())
    later.entries[-1] = b"\x02" + later.entries[-1][1:]
    proof = build(plan_multiproof([later.size - 1], later.size), nodes(later))
    entry = {later.size - 1: later.entries[-1]}
    evidence = excerpt_evidence("head-unsealed", "", later.note(time_s=1), later.size - 1, entry, proof)
    with pytest.raises(NotConvicted):
        verify_evidence(evidence, (), KEYS)
    at = next(k for k, data in enumerate(HONEST.entries) if data[1] == 4)
    key = int.from_bytes(HONEST.entries[at][42:50], "big")
    shown = {at: HONEST.entries[at], key: b"\x02" + HONEST.entries[key][1:]}
    assert convict("unknown-key", Excerpt(HEAD, at, shown)) is None
    shown[key] = HONEST.entries[0]
    assert convict("unknown-key", Excerpt(HEAD, at, shown)) is not None


def test_time_zero_says_nothing() -> None:
    """A cosignature without a time convicts nobody of a wrong one."""
    evidence = heads_evidence("rollback", "", HONEST.note(2), HONEST.note(time_s=0))
    with pytest.raises(NotConvicted):
        verify_evidence(evidence, (), KEYS)
    last = HONEST.size - 1
    proof = build(plan_multiproof([last], HONEST.size), NODES)
    evidence = excerpt_evidence("head-time", "", HONEST.note(time_s=0), last, {last: HONEST.entries[last]}, proof)
    with pytest.raises(NotConvicted):
        verify_evidence(evidence, (), KEYS)


def test_every_byte_of_evidence_counts() -> None:
    """A changed file is refused, or says the same: nothing else comes out, and no other error than ours."""
    liar = Liar(demo_log())
    issuer = liar.log.issuers[0]
    index = liar.add(liar.log.block(issuer, [issuer.issue(issuer.slot(3))])) + 1
    liar.seal()
    first = next(k for k, e in enumerate(liar.entries) if e[1] == 5 and e[34:42] == liar.entries[index][34:42])
    entries = {at: liar.entries[at] for at in (first, index)}
    proof = build(plan_multiproof(entries, liar.size), nodes(liar))
    whole = excerpt_evidence("slot-issued", "", liar.note(), index, entries, proof)
    conviction = verify_evidence(whole, (), KEYS)
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 1
        try:
            assert verify_evidence(bytes(changed), (), KEYS) == conviction
        except LedgerError:
            continue
    for end in range(0, len(whole) - 1, 50):
        with pytest.raises(MalformedEvidence):
            verify_evidence(whole[:end], (), KEYS)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 64))
def test_entries_come_in_pieces(entries: list[bytes], step: int) -> None:
    """Cut anywhere, they are the same entries; cut off at the end, they are refused."""
    data = encode_bundle(entries)
    assert list(read_entries(data[at : at + step] for at in range(0, len(data), step))) == entries
    if data:
        with pytest.raises(MalformedEvidence):
            list(read_entries([data[:-1]]))


@given(st.binary(max_size=300))
def test_whatever_is_no_evidence_is_refused(data: bytes) -> None:
    with pytest.raises(LedgerError):
        verify_evidence(data, (), KEYS)


def test_the_honest_log_is_honest() -> None:
    """What the tests above rest on."""
    for entry in HONEST.entries:
        try:
            decode(entry)
        except MalformedEntry:
            pytest.fail("the demo log holds what the codec refuses")
    assert seeded_key("log").public_key == KEYS[0].public_key
