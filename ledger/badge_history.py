"""The history of a badge: every event of its slot, proven under one head (docs/protocol.md, "History of a badge").

    {"format": "badge-ledger/v1 history", "origin": text, "tree_size": n,
     "submissions": [{"index": n, "entry": base64, "events": [{"index": n, "entry": base64}...],
                      "events_proof": base64 of hashes}...],
     "keys": [{"index": n, "entry": base64}...], "status_root": base64, "chunk": base64,
     "log_proof": base64 of hashes, "status_proof": base64 of hashes,
     "signatures": [{"name": text, "signature": base64}...]}

Submissions, events and keys stand in the order of the log. `log_proof` is the multiproof of everything shown and of the
head's last entry; `events_proof` that of the events shown under their submission's events_root; `status_proof` leads
from the slot's chunk to the head's status root. Keys are those of the submissions and of their chains of signers, each
once, and no other. The checkpoint is rebuilt around the root that the proof leads to, as with receipts.

Shown: that the issuer signed each of these events, when the ledger logged them, that each was legal where it stands,
and that they lead to the slot's state under the head. Not shown: that none is left out. The issue, a revocation, and
the last suspension of a badge that is suspended cannot be. Other suspensions and reinstatements can, where what is left
is legal: a suspension with its reinstatement, or either before a revocation. Auditors, who replay the log, would know.

Pure. Fetching and finding the events is `ledger.history_prover`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar

import msgspec

from ledger import merkle, status
from ledger import proof_json as parts
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.entry import (
    ISSUE,
    NONE_INDEX,
    REINSTATE,
    REVOKE,
    ROLE_ISSUE,
    ROLE_STATUS,
    SUSPEND,
    TYPE_NAMES,
    Issue,
    IssuerKey,
    StatusEvent,
    StatusRoot,
    Submission,
    decode,
    encode_origin,
)
from ledger.errors import InputError, MalformedInput, NotIssued, ProofInvalid, TooLarge, VerificationError
from ledger.merkle import HASH_BYTES, leaf_hash, root_from_multiproof
from ledger.note import MAX_SIGNATURES, Note, SignatureLine
from ledger.policy import Evaluation, Policy
from ledger.receipt import MAX_KEYS
from ledger.status import CHUNK_BYTES
from ledger.text import format_base64
from ledger.verify import check_head, check_keys, check_signed, check_times, check_window, step

FORMAT: Final = "badge-ledger/v1 history"
#: What is read and written: events of a slot, and bytes of the document.
MAX_HISTORY_EVENTS: Final = 1_000
MAX_HISTORY_BYTES: Final = 2 * 1024 * 1024

_MEMBERS: Final = frozenset(
    {
        "format",
        "origin",
        "tree_size",
        "submissions",
        "keys",
        "status_root",
        "chunk",
        "log_proof",
        "status_proof",
        "signatures",
    }
)
_SUBMISSION: Final = frozenset({"index", "entry", "events", "events_proof"})
#: State of a slot and type of an event -> the state afterwards. What is not here is illegal.
TRANSITIONS: Final[dict[tuple[str, int], status.State]] = {
    ("unissued", ISSUE): "active",
    ("active", SUSPEND): "suspended",
    ("suspended", REINSTATE): "active",
    ("active", REVOKE): "revoked",
    ("suspended", REVOKE): "revoked",
}

_E = TypeVar("_E", Submission, IssuerKey, StatusRoot)


class SignedEvents(msgspec.Struct, frozen=True):
    """A submission (log index, entry) and those of its events that are the slot's, ascending, with their proof."""

    index: int
    entry: bytes
    events: tuple[tuple[int, bytes], ...]
    events_proof: tuple[bytes, ...]


class History(msgspec.Struct, frozen=True):
    """What a history carries, as bytes; indexes and the tree size are below 2^53.

    keys: (log index, entry). status_root: the entry at tree_size - 1. chunk: 64 bytes. The proofs: 32-byte hashes in
    multiproof order.
    """

    origin: str
    tree_size: int
    submissions: tuple[SignedEvents, ...]
    keys: tuple[tuple[int, bytes], ...]
    status_root: bytes
    chunk: bytes
    log_proof: tuple[bytes, ...]
    status_proof: tuple[bytes, ...]
    signatures: tuple[SignatureLine, ...]

    def events(self) -> Iterator[tuple[int, bytes]]:
        """The slot's events, as they stand in the log."""
        for submission in self.submissions:
            yield from submission.events

    def entries(self) -> dict[int, bytes]:
        """The entries that it shows, by log index: the leaves of its log multiproof."""
        shown = dict(self.keys)
        for submission in self.submissions:
            shown[submission.index] = submission.entry
            shown |= dict(submission.events)
        shown[self.tree_size - 1] = self.status_root
        return shown


class ProvenEvent(msgspec.Struct, frozen=True):
    """An event of the slot. index: in the log. type: `issue`, `suspend`, `reinstate` or `revoke`; reason: 0 to 6, None
    for an issue. time_ms: the ledger's, of its submission. state: the slot's afterwards. submission, key: log indexes;
    public_key: 32 bytes."""

    index: int
    type: str
    reason: int | None
    time_ms: int
    state: status.State
    submission: int
    key: int
    public_key: bytes


class ProvenHistory(msgspec.Struct, frozen=True):
    """What a history proves under a policy. head_time_s, own_time: as of a receipt (`verify.Proven`). issue: the slot's
    first event. state: the slot's under the head. binding: of the issuer's first key, 1 to 3."""

    checkpoint: Checkpoint
    evaluation: Evaluation
    head_time_s: int
    own_time: bool
    issue: Issue
    events: tuple[ProvenEvent, ...]
    state: status.State
    identifier: str
    binding: int


# Verify --------------------------------------------------------------------------------------------------------------


def verify_history(
    history: History,
    *,
    policy: Policy,
    now_s: int,
    max_age_s: int | None = None,
    commitment: bytes | None = None,
    issuer: bytes | None = None,
) -> ProvenHistory:
    """Everything that the history proves, or the first thing that is wrong with it.

    `now_s`: seconds since the Unix epoch. `max_age_s`: the oldest head that is accepted, None for any age.
    `commitment`, `issuer` (32 bytes each): what is expected of the badge. Raises MalformedInput, ProofInvalid,
    SignatureInvalid, QuorumNotMet, Stale, NotIssued, VerificationError; each with the member `step`.
    """
    with step(1):
        check_history(history)
    with step(2):
        leaves = {index: leaf_hash(entry) for index, entry in history.entries().items()}
        root = root_from_multiproof(leaves, history.tree_size, history.log_proof)
        checkpoint = Checkpoint(history.origin, history.tree_size, root)
    status_root = _entry(history.status_root, StatusRoot)
    with step(3):
        note = Note(format_checkpoint(checkpoint), history.signatures)
        evaluation, head_time_s, own_time = check_head(policy, checkpoint, note, status_root, now_s, max_age_s)
    issue = _event(next(history.events())[1])
    assert isinstance(issue, Issue)  # noqa: S101 - check_history has seen to it
    with step(4):
        status.verify_status(issue.slot, history.chunk, status_root.lists, history.status_proof, status_root.root)
        state = status.slot_state(history.chunk, issue.slot)
    keys = {index: _entry(data, IssuerKey) for index, data in history.keys}
    submissions = {shown.index: _entry(shown.entry, Submission) for shown in history.submissions}
    with step(5):
        for shown in history.submissions:
            _check_submission(shown, submissions[shown.index], issue)
    first_key = _check_all_keys(history, submissions, keys)
    times = {index: submission.time for index, submission in submissions.items()}
    times |= {index: key.time for index, key in keys.items()}
    with step(6):
        check_times([*(times[index] for index in sorted(times)), status_root.time])
    with step(7):
        for submission in submissions.values():
            check_signed(history.origin, submission, keys[submission.key])
    with step(8):
        events = tuple(_walk(history, submissions, keys, state))
        if commitment is not None and issue.commitment != commitment:
            raise NotIssued("the history is of another badge: its slot was issued for another commitment")
        if issuer is not None and issue.issuer != issuer:
            raise NotIssued("the badge was anchored by another issuer than the one that it names")
    return ProvenHistory(
        checkpoint, evaluation, head_time_s, own_time, issue, events, state, first_key.identifier, first_key.binding
    )


def _check_submission(shown: SignedEvents, submission: Submission, issue: Issue) -> None:
    """That the events are the submission's, by number and by what was signed."""
    leaves: dict[int, bytes] = {}
    for index, data in shown.events:
        position = index - shown.index - 1
        if not 0 <= position < submission.count:
            raise ProofInvalid(f"entry {index} is none of the {submission.count} events of submission {shown.index}")
        leaves[position] = leaf_hash(data)
    if submission.issuer != issue.issuer:
        raise VerificationError("an event and its submission are by two issuers", rule="foreign-issuer")
    check_window(submission)
    if root_from_multiproof(leaves, submission.count, shown.events_proof) != submission.events_root:
        raise ProofInvalid("an events proof does not lead to the events_root that the issuer signed")


def _check_all_keys(
    history: History, submissions: Mapping[int, Submission], keys: Mapping[int, IssuerKey]
) -> IssuerKey:
    """Every submission's chain of keys, with the roles that its events need. Returns the issuer's first key."""
    used: set[int] = set()
    first_key: IssuerKey | None = None
    with step(6):
        for shown in history.submissions:
            submission = submissions[shown.index]
            chain = _chain(submission.key, keys)
            roles = {ROLE_ISSUE if data[1] == ISSUE else ROLE_STATUS for _, data in shown.events}
            check_keys(history.origin, shown.index, submission, chain, sum(roles))
            used |= {index for index, _ in chain}
            if first_key not in (None, chain[-1][1]):
                raise VerificationError("the keys of two submissions begin with two first keys", rule="key-prev")
            first_key = chain[-1][1]
        spare = keys.keys() - used
        if spare or first_key is None:
            raise MalformedInput(f"the history shows key entries that nothing needs: {sorted(spare)[:10]}")
    return first_key


def _chain(index: int, keys: Mapping[int, IssuerKey]) -> list[tuple[int, IssuerKey]]:
    """The key entry at `index`, its signer's, and so on as far as they are shown. Signers stand before what they sign,
    so this ends."""
    chain: list[tuple[int, IssuerKey]] = []
    before = NONE_INDEX
    while index in keys and index < before:
        chain.append((index, keys[index]))
        before, index = index, keys[index].signer
    if not chain:
        raise VerificationError(f"the key entry {index} of a submission is not shown", rule="unknown-key")
    return chain


def _walk(
    history: History, submissions: Mapping[int, Submission], keys: Mapping[int, IssuerKey], state: status.State
) -> Iterator[ProvenEvent]:
    """The events in order, each legal where it stands, the last one leading to the state under the head."""
    now: str = "unissued"
    for shown in history.submissions:
        submission = submissions[shown.index]
        for index, data in shown.events:
            event = _event(data)
            after = TRANSITIONS.get((now, data[1]))
            if after is None:
                raise VerificationError(
                    f"entry {index}: {TYPE_NAMES[data[1]]} of a slot that is {now}",
                    rule="slot-issued" if data[1] == ISSUE else "illegal-transition",
                )
            now = after
            yield ProvenEvent(
                index=index,
                type=TYPE_NAMES[data[1]],
                reason=event.reason if isinstance(event, StatusEvent) else None,
                time_ms=submission.time,
                state=after,
                submission=shown.index,
                key=submission.key,
                public_key=keys[submission.key].public_key,
            )
    if now != state:
        raise ProofInvalid(f"the events shown leave the slot {now}, and under the head it is {state}")


def check_history(history: History) -> None:
    """That the parts make a history: entries of their types, in the order of the log, of one slot and issuer; lengths
    and counts in range. Raises MalformedInput, TooLarge. It proves nothing."""
    try:
        encode_origin(history.origin)
    except InputError as error:
        raise MalformedInput(f"the history's {error.detail}") from error
    if not 0 < history.tree_size <= parts.MAX_NUMBER:
        raise MalformedInput(f"no history is of a log with {history.tree_size} entries")
    events = list(history.events())
    if len(events) > MAX_HISTORY_EVENTS:
        raise TooLarge(f"a history has at most {MAX_HISTORY_EVENTS} events")
    if not events or not all(shown.events for shown in history.submissions):
        raise MalformedInput("a history has submissions, and each of them events")
    _check_one_slot([data for _, data in events])
    for shown in history.submissions:
        _entry(shown.entry, Submission)
    if not 1 <= len(history.keys) <= MAX_KEYS:
        raise MalformedInput(f"a history has 1 to {MAX_KEYS} key entries")
    for _, data in history.keys:
        _entry(data, IssuerKey)
    _entry(history.status_root, StatusRoot)
    order = [at for shown in history.submissions for at in (shown.index, *(index for index, _ in shown.events))]
    keys = [index for index, _ in history.keys]
    last = history.tree_size - 1
    if not (_ascending(order) and _ascending(keys)) or set(order) & set(keys) or min(order[0], keys[0]) < 0:
        raise MalformedInput("a history's entries stand in the order of the log, each once")
    if max(order[-1], keys[-1]) >= last:
        raise MalformedInput("a history's entries stand before the last one of its head")
    if len(history.chunk) != CHUNK_BYTES:
        raise MalformedInput(f"a chunk has {CHUNK_BYTES} bytes, not {len(history.chunk)}")
    proofs = (history.log_proof, history.status_proof, *(shown.events_proof for shown in history.submissions))
    if any(len(value) != HASH_BYTES for proof in proofs for value in proof):
        raise MalformedInput(f"a proof hash has {HASH_BYTES} bytes")
    if not 1 <= len(history.signatures) <= MAX_SIGNATURES:
        raise MalformedInput(f"a history has 1 to {MAX_SIGNATURES} signatures")


def _check_one_slot(events: Sequence[bytes]) -> None:
    """That they are events of one slot and issuer, and the first one issues it."""
    first = _event(events[0])
    if not isinstance(first, Issue):
        raise MalformedInput("the first event of a history is no issue")
    for data in events:
        event = _event(data)
        if (event.issuer, event.slot) != (first.issuer, first.slot):
            raise MalformedInput("the events of a history are of one slot and one issuer")


def _ascending(numbers: Sequence[int]) -> bool:
    return all(low < high for low, high in pairwise(numbers))


def _event(data: bytes) -> Issue | StatusEvent:
    entry = _decoded(data)
    if not isinstance(entry, Issue | StatusEvent):
        raise MalformedInput("an event of the history is an entry of another type")
    return entry


def _entry(data: bytes, expected: type[_E]) -> _E:
    entry = _decoded(data)
    if not isinstance(entry, expected):
        raise MalformedInput(f"an entry of the history is no {expected.__name__} as it should be")
    return entry


def _decoded(data: bytes) -> Any:
    try:
        return decode(data)
    except InputError as error:
        raise MalformedInput(f"an entry of the history cannot be read: {error.detail}") from error


# Read and write ------------------------------------------------------------------------------------------------------


def plan_history(indexes: Sequence[int], tree_size: int) -> merkle.Plan:
    """The nodes of the log that show these entries and the head's last one. Raises ValueError for one outside."""
    return merkle.plan_multiproof([*indexes, tree_size - 1], tree_size)


def to_document(history: History, *, checked: bool = False) -> dict[str, Any]:
    """The history as a JSON object, for a larger document to hold. `checked`: the caller built it from a log's own
    entries, so that its parts need not be read again. Raises MalformedInput, TooLarge."""
    if not checked:
        check_history(history)
    return {
        "format": FORMAT,
        "origin": history.origin,
        "tree_size": parts.small(history.tree_size),
        "submissions": [
            {
                **parts.entry_document((shown.index, shown.entry)),
                "events": [parts.entry_document(event) for event in shown.events],
                "events_proof": parts.format_hashes(shown.events_proof),
            }
            for shown in history.submissions
        ],
        "keys": [parts.entry_document(key) for key in history.keys],
        "status_root": format_base64(history.status_root),
        "chunk": format_base64(history.chunk),
        "log_proof": parts.format_hashes(history.log_proof),
        "status_proof": parts.format_hashes(history.status_proof),
        "signatures": [parts.line_document(line) for line in history.signatures],
    }


def format_history(history: History, *, checked: bool = False) -> bytes:
    """The JSON form, UTF-8 without white space. Raises MalformedInput, TooLarge past 2 MiB."""
    data = msgspec.json.encode(to_document(history, checked=checked))
    if len(data) > MAX_HISTORY_BYTES:
        raise TooLarge(f"a history has at most {MAX_HISTORY_BYTES} bytes")
    return data


def parse_history(data: bytes) -> History:
    """Read the JSON form, at most 2 MiB. Raises MalformedInput or TooLarge."""
    document = parts.read_object(data, "history", MAX_HISTORY_BYTES)
    if document.get("format") != FORMAT:
        raise MalformedInput(f'the JSON is no history: its "format" is not "{FORMAT}"')
    parts.check_members(document, _MEMBERS, "history")
    history = History(
        origin=parts.text(document, "origin"),
        tree_size=parts.number(document, "tree_size"),
        submissions=tuple(_signed_events(item) for item in parts.array(document, "submissions")),
        keys=tuple(parts.entry(item, "key entry of the history") for item in parts.array(document, "keys")),
        status_root=parts.binary(document, "status_root"),
        chunk=parts.binary(document, "chunk", CHUNK_BYTES),
        log_proof=parts.hashes(document, "log_proof"),
        status_proof=parts.hashes(document, "status_proof"),
        signatures=tuple(parts.line(item, "history") for item in parts.array(document, "signatures")),
    )
    check_history(history)
    return history


def _signed_events(item: object) -> SignedEvents:
    document = parts.check_members(item, _SUBMISSION, "submission of the history")
    return SignedEvents(
        index=parts.number(document, "index"),
        entry=parts.binary(document, "entry"),
        events=tuple(parts.entry(event, "event of the history") for event in parts.array(document, "events")),
        events_proof=parts.hashes(document, "events_proof"),
    )
