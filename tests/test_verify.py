"""Verification: what holds is told, and the first thing that does not is named, with its step.

Forged logs stand for an operator who breaks every rule and signs the result, and for witnesses who do not audit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import merkle
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.entry import (
    BINDING_DELEGATED,
    BINDING_PUBLISHED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    LIST_SLOTS,
    NONE_INDEX,
    RETIRE,
    ROLE_ISSUE,
    ROLE_MANAGE,
    ROLE_STATUS,
    Issue,
    Submission,
    decode,
    encode_issue,
    issuer_id,
)
from ledger.errors import (
    MalformedReceipt,
    NotIssued,
    ProofInvalid,
    QuorumNotMet,
    SignatureInvalid,
    Stale,
    VerificationError,
)
from ledger.merkle import leaf_hash
from ledger.note import SignatureLine, sign_note
from ledger.receipt import Receipt, checkpoint_of, with_signatures
from ledger.status import StatusTree, bit
from ledger.verify import Proven, verify_receipt
from tests.builders import ORIGIN, seeded_key
from tests.forgery import Forgery
from tests.receipt_builder import (
    AllNodes,
    Anchored,
    anchored,
    build,
    build_from,
    policy,
    sign_head,
    submission_of,
)

COMMITMENT = hashlib.sha256(b"a badge").digest()
TRUST = policy(ORIGIN)
SCHOOL = "https://school.example/badges"


def verify(receipt: Receipt, scene: Anchored, **changes: Any) -> Proven:
    arguments: dict[str, Any] = {
        "policy": TRUST,
        "now_s": scene.time_s,
        "max_age_s": 3_600,
        "commitment": COMMITMENT,
        "issuer": scene.issuer.id,
    }
    return verify_receipt(receipt, **(arguments | changes))


def refusal(error: type[VerificationError], step: int, call: Callable[[], object], *, rule: str | None = None) -> str:
    """The sentence of the refusal, which must be of exactly this class, at this step, by this rule."""
    with pytest.raises(VerificationError) as raised:
        call()
    assert type(raised.value) is error
    assert raised.value.members["step"] == step
    assert raised.value.members.get("rule") == rule
    return raised.value.detail


@pytest.fixture(scope="module")
def scene() -> Anchored:
    return anchored(COMMITMENT)


@pytest.fixture(scope="module")
def full(scene: Anchored) -> Receipt:
    return build(scene.log, scene.index, full=True)


@pytest.fixture(scope="module")
def short(scene: Anchored) -> Receipt:
    return build(scene.log, scene.index, full=False)


# What holds ----------------------------------------------------------------------------------------------------------


def test_a_full_receipt_proves_issuer_key_binding_and_time(scene: Anchored, full: Receipt) -> None:
    """Everything that the entries say, by entries that the head covers."""
    proven = verify(full, scene)
    assert proven.checkpoint.root == scene.log.root()
    assert proven.issue == decode(scene.log.entries[scene.index])
    assert proven.state == "active"
    assert proven.head_time_s == scene.time_s
    assert not proven.own_time
    assert proven.identifier == SCHOOL
    assert proven.binding == BINDING_PUBLISHED
    assert [key.public_key for key in proven.keys] == [key.key.public_key for key in reversed(scene.issuer.keys)]
    assert proven.submission is not None
    assert proven.submission.time < proven.status_root.time


def test_a_short_receipt_proves_issuance_and_status_only(scene: Anchored, short: Receipt) -> None:
    """No submission, no keys, no identifier, no binding."""
    proven = verify(short, scene)
    assert proven.issue.issuer == scene.issuer.id
    assert proven.state == "active"
    assert (proven.submission, proven.keys, proven.identifier, proven.binding) == (None, (), None, None)


@pytest.mark.parametrize("profile", ["short", "full"])
@pytest.mark.parametrize(("then", "state"), [("", "active"), ("revoke", "revoked"), ("suspend", "suspended")])
def test_the_state_is_that_of_the_head(profile: str, then: str, state: str) -> None:
    """Verification tells the state and objects to none: what it means is for the verdict."""
    scene = anchored(COMMITMENT, then=then)
    assert verify(build(scene.log, scene.index, full=profile == "full"), scene).state == state


@pytest.mark.parametrize("delegated", [False, True])
def test_a_did_key_binds_itself(delegated: bool) -> None:
    """A first key is its own identifier; a key that it signed is bound by it."""
    scene = anchored(COMMITMENT, identifier=None, delegated=delegated)
    proven = verify(build(scene.log, scene.index, full=True), scene)
    assert proven.binding == BINDING_SELF_CERTIFYING
    assert proven.identifier == scene.issuer.identifier
    assert len(proven.keys) == 1 + delegated


def test_a_chain_of_many_keys_is_followed() -> None:
    """Each key signed by the one before, the last one issues."""
    scene = anchored(COMMITMENT)
    signer = scene.issuer.keys[0]
    for _ in range(20):
        signer = scene.log.add_key(scene.issuer, roles=7, signer=signer)
    index = scene.log.submit(scene.issuer, [scene.issuer.issue(scene.issuer.slot(9), COMMITMENT)], key=signer) + 1
    scene.log.seal()
    receipt = build(scene.log, index, full=True)
    assert len(verify(receipt, scene).keys) == 21
    # Leaving out one in the middle, or the last, breaks it.
    for keys in (receipt.keys[:5] + receipt.keys[6:], receipt.keys[:-1]):
        entries = scene.log.entries
        status = scene.log.replay.status.proof(scene.issuer.slot(9))
        cut = build_from(ORIGIN, entries, index, status, receipt.signatures, full=True, keys=keys)
        with pytest.raises(VerificationError):
            verify(cut, scene)


def test_badge_and_issuer_need_not_be_at_hand(scene: Anchored, full: Receipt) -> None:
    """A receipt can be checked alone."""
    assert verify(full, scene, commitment=None, issuer=None).issue.commitment == COMMITMENT


# The head ------------------------------------------------------------------------------------------------------------


def test_a_proof_with_a_hash_too_many_or_too_few_is_refused(scene: Anchored, full: Receipt) -> None:
    """Step 2: all hashes are consumed, exactly."""
    for proof in (full.log_proof[:-1], (*full.log_proof, bytes(32)), ()):
        refusal(ProofInvalid, 2, lambda proof=proof: verify(replace(full, log_proof=proof), scene))  # type: ignore[misc]


def test_every_hash_of_the_log_proof_counts(scene: Anchored, full: Receipt) -> None:
    """Another root, hence another checkpoint, which nobody signed."""
    for place in range(len(full.log_proof)):
        proof = list(full.log_proof)
        proof[place] = hashlib.sha256(proof[place]).digest()
        refusal(SignatureInvalid, 3, lambda proof=proof: verify(replace(full, log_proof=tuple(proof)), scene))  # type: ignore[misc]


def test_the_order_of_hashes_counts(scene: Anchored, full: Receipt) -> None:
    """Two neighbours exchanged lead elsewhere."""
    for place in range(len(full.log_proof) - 1):
        proof = list(full.log_proof)
        proof[place], proof[place + 1] = proof[place + 1], proof[place]
        refusal(SignatureInvalid, 3, lambda proof=proof: verify(replace(full, log_proof=tuple(proof)), scene))  # type: ignore[misc]


def test_the_policy_names_the_log(scene: Anchored, full: Receipt) -> None:
    """Another log, or none: refused, whoever cosigned."""
    assert "is not in the policy" in refusal(
        SignatureInvalid, 3, lambda: verify(full, scene, policy=policy("elsewhere.example/log"))
    )
    assert "did not sign" in refusal(
        SignatureInvalid, 3, lambda: verify(with_signatures(full, full.signatures[1:]), scene)
    )


def test_the_log_signs_the_head_that_the_proof_leads_to(scene: Anchored, full: Receipt) -> None:
    """A signature on the log's head before, or by another key of the same name, is none on this one."""
    checkpoint, _ = checkpoint_of(full)
    older = sign_head(replace(checkpoint, size=checkpoint.size - 1), scene.time_s)
    refusal(SignatureInvalid, 3, lambda: verify(with_signatures(full, older), scene))
    forged = sign_note(format_checkpoint(checkpoint), ORIGIN, seeded_key("thief"))
    refusal(SignatureInvalid, 3, lambda: verify(with_signatures(full, (forged, *full.signatures[1:])), scene))


def test_the_quorum_is_demanded(scene: Anchored, full: Receipt) -> None:
    """A witness's line left out, or by a name that the policy does not know."""
    assert "south" in refusal(QuorumNotMet, 3, lambda: verify(with_signatures(full, full.signatures[:2]), scene))
    stranger = SignatureLine("stranger.example/w", full.signatures[2].key_id, full.signatures[2].signature)
    refusal(QuorumNotMet, 3, lambda: verify(with_signatures(full, (*full.signatures[:2], stranger)), scene))


def test_a_known_key_with_a_wrong_signature_refuses_the_head(scene: Anchored, full: Receipt) -> None:
    """Even where the quorum would hold without it."""
    trust = policy(ORIGIN, quorum="north")
    assert verify(with_signatures(full, full.signatures[:2]), scene, policy=trust).evaluation.witnesses.keys() == {
        "north"
    }
    line = full.signatures[2]
    spoiled = SignatureLine(line.name, line.key_id, line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    refusal(
        SignatureInvalid,
        3,
        lambda: verify(with_signatures(full, (*full.signatures[:2], spoiled)), scene, policy=trust),
    )


def test_an_old_head_is_stale(scene: Anchored, full: Receipt) -> None:
    """To the second; any age is accepted where no limit is set."""
    verify(full, scene, now_s=scene.time_s + 3_600)
    refusal(Stale, 3, lambda: verify(full, scene, now_s=scene.time_s + 3_601))
    verify(full, scene, now_s=scene.time_s + 10**9, max_age_s=None)


def test_a_cosignature_from_the_future_does_not_count(scene: Anchored, full: Receipt) -> None:
    """More than a minute ahead of the verifier's clock, whatever age is accepted."""
    verify(full, scene, now_s=scene.time_s - 60)
    refusal(QuorumNotMet, 3, lambda: verify(full, scene, now_s=scene.time_s - 61))
    refusal(QuorumNotMet, 3, lambda: verify(full, scene, now_s=scene.time_s - 61, max_age_s=None))


def test_old_cosignatures_are_dropped_before_the_quorum_is_counted(scene: Anchored) -> None:
    """One fresh and one old cosignature are no quorum of two; the fresh one alone is one of one."""
    checkpoint = Checkpoint(ORIGIN, scene.log.size, scene.log.root())
    log, north, _ = sign_head(checkpoint, scene.time_s)
    (_, south) = sign_head(checkpoint, scene.time_s - 4_000, witnesses=("south",))
    receipt = build(scene.log, scene.index, full=True, signatures=(log, north, south))
    refusal(Stale, 3, lambda: verify(receipt, scene))
    proven = verify(receipt, scene, policy=policy(ORIGIN, quorum="north"))
    assert proven.head_time_s == scene.time_s
    assert len(proven.evaluation.dropped) == 1


def test_without_witnesses_the_logs_own_time_counts(scene: Anchored, full: Receipt) -> None:
    """`quorum none`: the status_root's time decides, and the result says that it was the log's word."""
    trust = policy(ORIGIN, quorum="none")
    alone = with_signatures(full, full.signatures[:1])
    proven = verify(alone, scene, policy=trust)
    assert proven.own_time
    assert proven.head_time_s == scene.time_s
    verify(alone, scene, policy=trust, now_s=scene.time_s + 3_600)
    refusal(Stale, 3, lambda: verify(alone, scene, policy=trust, now_s=scene.time_s + 3_601))
    verify(alone, scene, policy=trust, now_s=scene.time_s - 60)
    refusal(VerificationError, 3, lambda: verify(alone, scene, policy=trust, now_s=scene.time_s - 61), rule="time")


def test_witnesses_bound_the_logs_times(scene: Anchored) -> None:
    """A head whose last entry is dated more than a minute after its cosignatures is refused: nobody was there."""
    for behind, accepted in ((60, True), (61, False)):
        checkpoint = Checkpoint(ORIGIN, scene.log.size, scene.log.root())
        log, north, south = sign_head(checkpoint, scene.time_s - behind)
        receipt = build(scene.log, scene.index, full=False, signatures=(log, north, south))
        if accepted:
            verify(receipt, scene)
        else:
            refusal(VerificationError, 3, lambda receipt=receipt: verify(receipt, scene), rule="time")  # type: ignore[misc]


# Status --------------------------------------------------------------------------------------------------------------


def test_a_revocation_cannot_be_hidden() -> None:
    """Step 4: the chunk without the bit is not the one under the root."""
    scene = anchored(COMMITMENT, then="revoke")
    receipt = build(scene.log, scene.index, full=False)
    chunk = bytearray(receipt.chunk)
    offset, mask = bit(scene.slot)
    chunk[offset] &= ~mask
    assert bytes(chunk) != receipt.chunk
    refusal(ProofInvalid, 4, lambda: verify(replace(receipt, chunk=bytes(chunk)), scene))


def test_another_chunk_of_the_tree_does_not_serve() -> None:
    """The proof is for the slot's own chunk, though another has no bit set."""
    scene = anchored(COMMITMENT, then="revoke")
    receipt = build(scene.log, scene.index, full=False)
    chunk, proof = scene.log.replay.status.proof(scene.slot + 256)
    refusal(ProofInvalid, 4, lambda: verify(replace(receipt, chunk=chunk, status_proof=tuple(proof)), scene))


def test_every_hash_of_the_status_proof_counts(scene: Anchored, short: Receipt) -> None:
    """Changed, left out, or one too many."""
    proofs = [short.status_proof[:-1], (*short.status_proof, bytes(32))]
    for place, value in enumerate(short.status_proof):
        proofs.append((*short.status_proof[:place], leaf_hash(value), *short.status_proof[place + 1 :]))
    for proof in proofs:
        refusal(ProofInvalid, 4, lambda proof=proof: verify(replace(short, status_proof=proof), scene))  # type: ignore[misc]


# Forged logs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def forgery(scene: Anchored) -> Forgery:
    return Forgery(scene)


def test_an_unspoiled_forgery_verifies(scene: Anchored, forgery: Forgery) -> None:
    """Signed again without a change, or with changes that break nothing: each refusal below has its own reason."""
    verify(forgery.receipt(), scene)
    forgery.change_submission()
    forgery.change_key(0)
    forgery.change_key(1)
    forgery.change_event(forgery.entries[forgery.index])
    verify(forgery.receipt(), scene)


def test_a_slot_in_no_list_is_refused(scene: Anchored, forgery: Forgery) -> None:
    """Step 4: the slot must lie within the lists of the status_root."""
    forgery.change_event(encode_issue(scene.issuer.id, 2 * LIST_SLOTS, COMMITMENT))
    assert "none of 2 lists" in refusal(ProofInvalid, 4, lambda: verify(forgery.receipt(), scene))
    forgery.change_root(lists=0, root=merkle.EMPTY_ROOT)
    refusal(ProofInvalid, 4, lambda: verify(forgery.receipt(full=False), scene))


def test_the_status_root_is_the_last_entry(scene: Anchored, forgery: Forgery) -> None:
    """Another status tree than that of the head proves nothing."""
    forgery.change_root(root=StatusTree.empty().with_lists(2).with_lists(3).root, lists=3)
    refusal(ProofInvalid, 4, lambda: verify(forgery.receipt(), scene))
    forgery.change_root(root=leaf_hash(b"another"), lists=2)
    refusal(ProofInvalid, 4, lambda: verify(forgery.receipt(), scene))


def test_the_event_stands_under_its_submission(scene: Anchored, forgery: Forgery, full: Receipt) -> None:
    """Step 5: within `count` events behind it, and not before it."""
    root = merkle.tree_hash(merkle.leaf_hashes(forgery.entries[forgery.submission_index + 1 :][:4]))
    forgery.change_submission(count=4, events_root=root)
    entries = forgery.entries
    head = Checkpoint(ORIGIN, len(entries), merkle.tree_hash(merkle.leaf_hashes(entries)))
    spoiled = replace(
        full,
        submission=(forgery.submission_index, entries[forgery.submission_index]),
        signatures=sign_head(head, scene.time_s),
    )
    assert "none of the 4 events" in refusal(ProofInvalid, 5, lambda: verify(spoiled, scene))


def test_a_submission_behind_the_event_is_not_its_own(scene: Anchored) -> None:
    """A later submission of the same issuer does not speak for an earlier event."""
    forgery = Forgery(scene)
    log = anchored(COMMITMENT, then="revoke").log
    later = submission_of(log.entries, log.size - 8)
    assert isinstance(decode(log.entries[later]), Submission)
    assert later > forgery.index
    receipt = build(log, forgery.index, full=True)
    assert receipt.submission is not None
    targets = {forgery.index, later, log.size - 1, *(index for index, _ in receipt.keys)}
    proof = merkle.build(merkle.plan_multiproof(targets, log.size), AllNodes(log.leaves))
    spoiled = replace(receipt, submission=(later, log.entries[later]), log_proof=tuple(proof))
    refusal(ProofInvalid, 5, lambda: verify(spoiled, scene, now_s=scene.time_s + 120))


def test_event_and_submission_have_one_issuer(scene: Anchored, forgery: Forgery) -> None:
    """An issuer's signature is no other issuer's, though the events_root is right."""
    other = issuer_id("https://other.example")
    forgery.change_event(encode_issue(other, scene.slot, COMMITMENT))
    refusal(VerificationError, 5, lambda: verify(forgery.receipt(), scene, issuer=other), rule="foreign-issuer")


@pytest.mark.parametrize("shift_ms", [-1, 86_400_001])
def test_the_window_that_the_issuer_signed_is_kept(scene: Anchored, forgery: Forgery, shift_ms: int) -> None:
    """Logged after not_after, or not_after more than a day ahead."""
    forgery.change_submission(not_after=forgery.submission.time + shift_ms)
    refusal(VerificationError, 5, lambda: verify(forgery.receipt(), scene), rule="window")


@pytest.mark.parametrize("shift_ms", [0, 86_400_000])
def test_the_window_includes_its_ends(scene: Anchored, forgery: Forgery, shift_ms: int) -> None:
    """Exactly at not_after, or a day before it."""
    forgery.change_submission(not_after=forgery.submission.time + shift_ms)
    verify(forgery.receipt(), scene)


def test_the_issuer_signed_this_event(scene: Anchored, forgery: Forgery) -> None:
    """An event put in after the signature is not under the events_root."""
    other = hashlib.sha256(b"another badge").digest()
    forgery.entries[forgery.index] = encode_issue(scene.issuer.id, scene.slot, other)
    refusal(ProofInvalid, 5, lambda: verify(forgery.receipt(), scene, commitment=other))


def test_every_hash_of_the_events_proof_counts(scene: Anchored, full: Receipt) -> None:
    """Changed, left out, or one too many."""
    proofs = [full.events_proof[:-1], (*full.events_proof, bytes(32))]
    for place, value in enumerate(full.events_proof):
        proofs.append((*full.events_proof[:place], leaf_hash(value), *full.events_proof[place + 1 :]))
    for proof in proofs:
        refusal(ProofInvalid, 5, lambda proof=proof: verify(replace(full, events_proof=proof), scene))  # type: ignore[misc]


def test_an_event_does_not_serve_at_another_position(scene: Anchored) -> None:
    """The events proof is for the position that the index states: events cannot be exchanged in the log."""
    forgery = Forgery(scene)
    entries, index = forgery.entries, forgery.index
    entries[index], entries[index + 1] = entries[index + 1], entries[index]
    issue = decode(entries[index])
    assert isinstance(issue, Issue)
    forgery.status = scene.log.replay.status.proof(issue.slot)
    refusal(ProofInvalid, 5, lambda: verify(forgery.receipt(), scene, commitment=issue.commitment))


def test_the_submissions_own_key_is_shown(scene: Anchored, forgery: Forgery) -> None:
    """Step 6: not another key of the issuer, though it would verify."""
    forgery.change_submission(key=forgery.chain[1])
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="unknown-key")


@pytest.mark.parametrize("roles", [ROLE_STATUS, ROLE_MANAGE, ROLE_STATUS | ROLE_MANAGE])
def test_the_key_may_issue(scene: Anchored, forgery: Forgery, roles: int) -> None:
    """A key for status or management signs no issuance."""
    forgery.change_key(0, roles=roles)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="key-role")


def test_the_signer_may_manage(scene: Anchored, forgery: Forgery) -> None:
    """A key that may not manage keys adds none, and the first key may."""
    forgery.change_key(1, roles=ROLE_ISSUE | ROLE_STATUS)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="key-role")
    alone = anchored(COMMITMENT, delegated=False)
    single = Forgery(alone)
    single.change_key(0, roles=ROLE_ISSUE)
    refusal(VerificationError, 6, lambda: verify(single.receipt(), alone), rule="key-role")


def test_a_signer_in_the_middle_may_manage_too() -> None:
    """Not only the issuer's first key, whose roles are checked for their own sake."""
    scene = anchored(COMMITMENT)
    middle = scene.log.add_key(scene.issuer, roles=7)
    last = scene.log.add_key(scene.issuer, roles=ROLE_ISSUE, signer=middle)
    scene.slot = scene.issuer.slot(9)
    scene.index = scene.log.submit(scene.issuer, [scene.issuer.issue(scene.slot, COMMITMENT)], key=last) + 1
    scene.log.seal()
    # The forgery finds the chain's private keys by their order, which is that of the entries.
    del scene.issuer.keys[1]
    verify(Forgery(scene).receipt(), scene)
    forgery = Forgery(scene)
    forgery.change_key(1, roles=ROLE_ISSUE | ROLE_STATUS)
    detail = refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="key-role")
    assert "signed by a key that may not manage keys" in detail


def test_a_retirement_is_no_key(scene: Anchored, forgery: Forgery) -> None:
    """An entry that retires a key does not give it any right."""
    forgery.change_key(0, action=RETIRE)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="key-retired")


def test_keys_are_the_issuers_own(scene: Anchored, forgery: Forgery) -> None:
    """By identifier, in every entry of the chain."""
    for place in (0, 1):
        spoiled = Forgery(scene)
        spoiled.change_key(place, identifier="https://school.example/badges/")
        refusal(VerificationError, 6, lambda s=spoiled: verify(s.receipt(), scene), rule="foreign-issuer")  # type: ignore[misc]


def test_keys_stand_before_what_they_sign(scene: Anchored, forgery: Forgery) -> None:
    """An entry added later cannot have signed."""
    forgery.chain[0], forgery.chain[1] = forgery.chain[1], forgery.chain[0]
    first, second = (forgery.entries[index] for index in forgery.chain)
    forgery.entries[forgery.chain[0]], forgery.entries[forgery.chain[1]] = second, first
    forgery.change_key(0, signer=forgery.chain[1])
    forgery.change_submission(key=forgery.chain[0])
    detail = refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="unknown-key")
    assert "stands behind" in detail


def test_the_chain_follows_the_signers(scene: Anchored, forgery: Forgery) -> None:
    """The entry shown next is the one that the key names as its signer."""
    forgery.change_key(0, signer=2)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="unknown-key")
    forgery.change_key(0, signer=NONE_INDEX)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="key-prev")


def test_the_chain_ends_at_the_issuers_first_key(scene: Anchored, forgery: Forgery) -> None:
    """Not before it: and nothing follows it."""
    receipt = forgery.receipt(keys=[(forgery.chain[0], forgery.entries[forgery.chain[0]])])
    refusal(VerificationError, 6, lambda: verify(receipt, scene), rule="key-prev")
    forgery.change_key(0, prev=bytes(32))
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="key-prev")
    again = Forgery(scene)
    again.change_key(1, prev=bytes([1]) * 32)
    refusal(VerificationError, 6, lambda: verify(again.receipt(), scene), rule="key-prev")
    third = Forgery(scene)
    third.change_key(1, signer=2)
    refusal(VerificationError, 6, lambda: verify(third.receipt(), scene), rule="key-prev")
    fourth = Forgery(scene)
    extra = [(index, fourth.entries[index]) for index in (*fourth.chain, 2)]
    refusal(VerificationError, 6, lambda: verify(fourth.receipt(keys=extra), scene), rule="key-prev")


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        (0, {"binding": BINDING_PUBLISHED}),
        (0, {"binding": BINDING_VOUCHED}),
        (0, {"binding": BINDING_SELF_CERTIFYING}),
        (0, {"evidence": bytes([1]) * 32}),
        (1, {"binding": BINDING_SELF_CERTIFYING}),
        (1, {"binding": BINDING_DELEGATED}),
    ],
)
def test_a_binding_is_what_it_can_be(scene: Anchored, forgery: Forgery, place: int, changes: dict[str, Any]) -> None:
    """Later keys are delegated, first keys are not, and self-certifying is only what certifies itself."""
    forgery.change_key(place, **changes)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="binding")


@pytest.mark.parametrize(
    "changes",
    [
        {"binding": BINDING_VOUCHED},
        {"binding": BINDING_PUBLISHED},
        {"evidence": bytes([1]) * 32},
        {"public_key": seeded_key("thief").public_key},
    ],
)
def test_a_did_key_is_recomputed(changes: dict[str, Any]) -> None:
    """The identifier that is a key belongs to that key alone, and calls itself nothing else."""
    alone = anchored(COMMITMENT, identifier=None, delegated=False)
    forgery = Forgery(alone)
    if "public_key" in changes:
        thief = seeded_key("thief")
        forgery.scene.issuer.keys[0].key = thief
        forgery.change_submission(by=thief)
    forgery.change_key(0, **changes)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), alone), rule="binding")


@pytest.mark.parametrize(("place", "name"), [(0, "possession_sig"), (1, "possession_sig"), (0, "manage_sig")])
def test_signatures_of_key_entries_are_checked(scene: Anchored, forgery: Forgery, place: int, name: str) -> None:
    """Possession by the key itself, management by its signer: 64 zeros are no signature, nor is another's."""
    forgery.change_key(place, resign=False, **{name: bytes(64)})
    refusal(SignatureInvalid, 6, lambda: verify(forgery.receipt(), scene))
    other = forgery.key(1 - place).possession_sig
    forgery.change_key(place, resign=False, **{name: other})
    refusal(SignatureInvalid, 6, lambda: verify(forgery.receipt(), scene))


def test_a_first_key_has_no_manage_signature(scene: Anchored, forgery: Forgery) -> None:
    """Nobody was there to sign."""
    forgery.change_key(1, resign=False, manage_sig=forgery.key(1).possession_sig)
    refusal(VerificationError, 6, lambda: verify(forgery.receipt(), scene), rule="signature")


def test_times_do_not_fall(scene: Anchored) -> None:
    """First key, later keys, submission, status_root: in the order of the log."""
    changes: list[Callable[[Forgery], None]] = [
        lambda f: f.change_key(0, time=f.submission.time + 1),
        lambda f: f.change_key(1, time=f.key(0).time + 1),
        lambda f: f.change_root(time=f.submission.time - 1),
    ]
    for change in changes:
        forgery = Forgery(scene)
        change(forgery)
        refusal(VerificationError, 6, lambda f=forgery: verify(f.receipt(), scene), rule="time-decreases")  # type: ignore[misc]


def test_the_submission_is_signed_by_its_key(scene: Anchored, forgery: Forgery) -> None:
    """Step 7: by no other key of the issuer, and for this log."""
    forgery.change_submission(by=forgery.signer(1))
    refusal(SignatureInvalid, 7, lambda: verify(forgery.receipt(), scene))
    forgery.change_submission(origin="elsewhere.example/log")
    refusal(SignatureInvalid, 7, lambda: verify(forgery.receipt(), scene))
    forgery.change_submission()
    verify(forgery.receipt(), scene)


def test_the_receipt_is_for_this_badge_and_issuer(scene: Anchored, full: Receipt, short: Receipt) -> None:
    """Step 8: another badge's receipt, or the same badge anchored by somebody else."""
    for receipt in (full, short):
        assert "another badge" in refusal(
            NotIssued,
            8,
            lambda r=receipt: verify(r, scene, commitment=bytes(32)),  # type: ignore[misc]
        )
        assert "another issuer" in refusal(
            NotIssued,
            8,
            lambda r=receipt: verify(r, scene, issuer=issuer_id("https://other.example")),  # type: ignore[misc]
        )


def test_a_malformed_receipt_is_refused_first(scene: Anchored, full: Receipt) -> None:
    """Step 1, also for a receipt that was put together in memory."""
    with pytest.raises(MalformedReceipt) as raised:
        verify(replace(full, origin=""), scene)
    assert raised.value.members["step"] == 1
