"""Verification of a receipt (docs/protocol.md, "Verifying a receipt"): pure, offline, and it raises.

    1  receipt      the parts make a receipt
    2  log          the log's root from the entries shown and the multiproof
    3  head         the log's signature on the checkpoint rebuilt around that root, cosignatures, freshness, quorum
    4  status       the chunk under the root that the head's status_root states; the slot's state from the chunk
    5  submission   full: the event's place under its submission, its events_root, the window, times that never fall
    6  keys         full: the chain from the submission's key to the issuer's first, every signature and role in it
    7  signature    full: the submission's, by that key
    8  badge        the commitment and the issuer of the badge at hand, where they are given

The first thing wrong is raised, and the error's member `step` has the number. What holds is returned as facts; whether
they make a badge *valid* is decided in `ledger.verdict`.

Not shown by any receipt, full or short: that the key had not been retired before the submission, that the status_root
counts every revocation, that the slot's list is the issuer's. Auditors replay the log for that (`ledger.replay`), and a
policy can demand one's cosignature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from ledger import status
from ledger.checkpoint import Checkpoint
from ledger.entry import (
    ADD,
    BINDING_DELEGATED,
    BINDING_SELF_CERTIFYING,
    NONE_INDEX,
    ROLE_ISSUE,
    ROLE_MANAGE,
    ZERO32,
    ZERO64,
    Issue,
    IssuerKey,
    StatusRoot,
    Submission,
    did_key,
    issuer_id,
)
from ledger.errors import LedgerError, NotIssued, ProofInvalid, SignatureInvalid, Stale, VerificationError
from ledger.merkle import leaf_hash, root_from_multiproof
from ledger.message import key_message, submission_message
from ledger.note import Note
from ledger.policy import Evaluation, Policy, evaluate
from ledger.receipt import Receipt, check_receipt, checkpoint_of
from ledger.replay_block import MAX_WINDOW_MS
from ledger.replay_keys import DID_KEY_PREFIX
from ledger.signing import verify_ed25519

#: How far a time may lie ahead of the verifier's clock, seconds.
FUTURE_S: Final = 60


class Proven(msgspec.Struct, frozen=True):
    """What a receipt proves under a policy.

    head_time_s: as of when the head is the log's newest, in seconds: by the quorum's cosignatures, or by the log's own
    word (`own_time`) under `quorum none`. submission, keys, binding: only of a full receipt; `keys` from the
    submission's key to the issuer's first, `binding` the effective one, 1 to 3: that of the first key.
    """

    checkpoint: Checkpoint
    evaluation: Evaluation
    head_time_s: int
    own_time: bool
    issue: Issue
    status_root: StatusRoot
    state: status.State
    submission: Submission | None = None
    keys: tuple[IssuerKey, ...] = ()

    @property
    def identifier(self) -> str | None:
        """The issuer's identifier; a short receipt shows only its SHA-256, `issue.issuer`."""
        return self.keys[-1].identifier if self.keys else None

    @property
    def binding(self) -> int | None:
        """What binds the identifier to the issuer's first key."""
        return self.keys[-1].binding if self.keys else None


def verify_receipt(
    receipt: Receipt,
    *,
    policy: Policy,
    now_s: int,
    max_age_s: int | None = None,
    commitment: bytes | None = None,
    issuer: bytes | None = None,
) -> Proven:
    """Everything that the receipt proves, or the first thing that is wrong with it.

    `now_s`: seconds since the Unix epoch. `max_age_s`: the oldest head that is accepted, None for any age.
    `commitment`: what the badge at hand hashes to with its salt. `issuer`: SHA-256 of the issuer that the badge names.
    Raises MalformedReceipt, ProofInvalid, SignatureInvalid, QuorumNotMet, Stale, NotIssued, or VerificationError itself
    for a rule of the log that the shown entries break (member `rule`); each with the member `step`.
    """
    with step(1):
        check_receipt(receipt)
    with step(2):
        checkpoint, note = checkpoint_of(receipt)
    issue, status_root = receipt.issue_entry(), receipt.status_root_entry()
    with step(3):
        evaluation, head_time_s, own_time = check_head(policy, checkpoint, note, status_root, now_s, max_age_s)
    with step(4):
        status.verify_status(issue.slot, receipt.chunk, status_root.lists, receipt.status_proof, status_root.root)
        state = status.slot_state(receipt.chunk, issue.slot)
    submission: Submission | None = None
    keys: list[tuple[int, IssuerKey]] = []
    shown = receipt.submission_entry()
    if shown is not None:
        index, submission = shown
        keys = receipt.key_entries()
        with step(5):
            _check_submission(receipt, issue, index, submission)
        with step(6):
            check_keys(receipt.origin, index, submission, keys)
            check_times([*(key.time for _, key in reversed(keys)), submission.time, status_root.time])
        with step(7):
            check_signed(receipt.origin, submission, keys[0][1])
    with step(8):
        if commitment is not None and issue.commitment != commitment:
            raise NotIssued("the receipt is for another badge: the badge with this salt has another commitment")
        if issuer is not None and issue.issuer != issuer:
            raise NotIssued("the badge was anchored by another issuer than the one that it names")
    return Proven(
        checkpoint=checkpoint,
        evaluation=evaluation,
        head_time_s=head_time_s,
        own_time=own_time,
        issue=issue,
        status_root=status_root,
        state=state,
        submission=submission,
        keys=tuple(key for _, key in keys),
    )


@contextmanager
def step(number: int) -> Iterator[None]:
    """Whatever is raised within tells which step found it."""
    try:
        yield
    except LedgerError as error:
        error.members.setdefault("step", number)
        raise


def check_head(
    policy: Policy, checkpoint: Checkpoint, note: Note, status_root: StatusRoot, now_s: int, max_age_s: int | None
) -> tuple[Evaluation, int, bool]:
    """What the policy makes of a head that ends in `status_root`; as of when it is the log's newest, seconds; and
    whether that is the log's own word. Raises what `policy.evaluate` raises, Stale, VerificationError."""
    evaluation = evaluate(policy, checkpoint, note, now_s=now_s, max_age_s=max_age_s, future_s=FUTURE_S)
    log_time_s = status_root.time // 1000
    if evaluation.timestamp_s is None:
        check_own_time(log_time_s, now_s, max_age_s)
        return evaluation, log_time_s, True
    if log_time_s > evaluation.timestamp_s + FUTURE_S:
        # The ledger's times are its own word; those who cosigned the head bound them from above.
        raise VerificationError("the log's times are later than its witnesses' cosignatures", rule="time")
    return evaluation, evaluation.timestamp_s, False


def check_own_time(time_s: int, now_s: int, max_age_s: int | None) -> None:
    """`quorum none`: nobody but the log says when this head was its newest."""
    if time_s > now_s + FUTURE_S:
        raise VerificationError(f"the log says that its head is of {time_s - now_s} s in the future", rule="time")
    if max_age_s is not None and time_s < now_s - max_age_s:
        raise Stale(f"the head is {now_s - time_s} s old by the log's own time, more than {max_age_s} s")


def check_window(submission: Submission) -> None:
    """That it was logged in time. Raises VerificationError."""
    if not submission.time <= submission.not_after <= submission.time + MAX_WINDOW_MS:
        raise _broken("window", "the submission was logged outside the window that its issuer signed")


def _check_submission(receipt: Receipt, issue: Issue, index: int, submission: Submission) -> None:
    position = receipt.index - index - 1
    if not 0 <= position < submission.count:
        raise ProofInvalid(f"entry {receipt.index} is none of the {submission.count} events of submission {index}")
    if submission.issuer != issue.issuer:
        raise _broken("foreign-issuer", "the event and its submission are by two issuers")
    check_window(submission)
    leaves = {position: leaf_hash(receipt.issue)}
    if root_from_multiproof(leaves, submission.count, receipt.events_proof) != submission.events_root:
        raise ProofInvalid("the events proof does not lead to the events_root that the issuer signed")


def check_keys(
    origin: str,
    submission_index: int,
    submission: Submission,
    keys: list[tuple[int, IssuerKey]],
    roles: int = ROLE_ISSUE,
) -> None:
    """The chain: the submission's key, which has these roles, each one's signer, the issuer's first key last.

    Raises VerificationError, SignatureInvalid.
    """
    if keys[0][0] != submission.key:
        raise _broken(
            "unknown-key", f"the first key shown is entry {keys[0][0]}, not the submission's {submission.key}"
        )
    lacking = roles & ~keys[0][1].roles
    if lacking:
        what = "issue" if lacking & ROLE_ISSUE else "change a status"
        raise _broken("key-role", f"the submission's key has not the role to {what}")
    before = submission_index
    for position, (index, key) in enumerate(keys):
        if index >= before:
            raise _broken("unknown-key", f"key entry {index} stands behind what it signed")
        before = index
        if key.action != ADD:
            raise _broken("key-retired", f"key entry {index} adds no key")
        if issuer_id(key.identifier) != submission.issuer:
            raise _broken("foreign-issuer", f"key entry {index} is of another issuer than the submission")
        if position + 1 < len(keys):
            _check_later_key(origin, index, key, *keys[position + 1])
        else:
            _check_first_key(index, key)
        _check_signature(
            key.public_key, _key_message(origin, key), key.possession_sig, f"the possession signature of entry {index}"
        )


def _check_later_key(origin: str, index: int, key: IssuerKey, signer_index: int, signer: IssuerKey) -> None:
    if key.prev == ZERO32 or key.signer == NONE_INDEX:
        raise _broken("key-prev", f"key entry {index} is a first key and yet others follow")
    if key.signer != signer_index:
        raise _broken("unknown-key", f"key entry {index} was signed by entry {key.signer}, not by {signer_index}")
    if key.binding != BINDING_DELEGATED or key.evidence != ZERO32:
        raise _broken("binding", f"key entry {index} is a later key and not delegated")
    if not signer.roles & ROLE_MANAGE:
        raise _broken("key-role", f"key entry {index} was signed by a key that may not manage keys")
    _check_signature(
        signer.public_key, _key_message(origin, key), key.manage_sig, f"the manage signature of entry {index}"
    )


def _check_first_key(index: int, key: IssuerKey) -> None:
    if key.prev != ZERO32 or key.signer != NONE_INDEX:
        raise _broken("key-prev", f"the keys end at entry {index}, which is not its issuer's first")
    if key.manage_sig != ZERO64:
        raise _broken("signature", "the first key of an issuer has no manage signature")
    if not key.roles & ROLE_MANAGE:
        raise _broken("key-role", "the first key of an issuer has the role manage")
    is_did_key = key.identifier.startswith(DID_KEY_PREFIX)
    if key.binding == BINDING_DELEGATED or is_did_key != (key.binding == BINDING_SELF_CERTIFYING):
        raise _broken("binding", "a first key is self-certifying exactly if its identifier is a did:key")
    if is_did_key and (key.identifier != did_key(key.public_key) or key.evidence != ZERO32):
        raise _broken("binding", "the did:key identifier is of another key")


def check_times(times: Sequence[int]) -> None:
    """That the times of entries, in the order of the log, never fall. Raises VerificationError."""
    if sorted(times) != list(times):
        raise _broken("time-decreases", "the times of the entries shown fall")


def check_signed(origin: str, submission: Submission, key: IssuerKey) -> None:
    """That the key signed the submission for this log. Raises SignatureInvalid."""
    message = submission_message(origin, submission)
    _check_signature(key.public_key, message, submission.signature, "the submission's signature")


def _key_message(origin: str, key: IssuerKey) -> bytes:
    return key_message(origin, key.action, key.prev, key.identifier, key.roles, key.algorithm, key.public_key)


def _check_signature(public_key: bytes, message: bytes, signature: bytes, what: str) -> None:
    try:
        verify_ed25519(public_key, message, signature)
    except SignatureInvalid as error:
        raise SignatureInvalid(f"{what} does not verify") from error


def _broken(rule: str, detail: str) -> VerificationError:
    return VerificationError(detail, rule=rule)
