"""Evidence: a file by which a log convicts itself. Whoever has the log's key checks it offline, trusting no auditor.

    line 1        a JSON object: `Evidence`
    the rest      (kind prefix) the first entries of the log, each behind its u16 length, as in an entry bundle

    kind heads     two signed heads that cannot both be true
        fork         of one size with two roots; or of two sizes, and `proof` shows that under the larger head the first
                     `size` leaves have another root than the smaller head states
        rollback     the log's own timestamped cosignatures (algorithm 6) say "the largest tree that I have seen": later
                     than a larger one, none of a smaller tree can be true
    kind excerpt   one signed head, some entries proven to be under it, and the rule that these entries alone break
    kind prefix    one signed head and the whole log up to where a rule is broken: for what needs all that came before

A head is signed if the log's Ed25519 line, or its ML-DSA-44 line, verifies. `rule`, `index` and `detail` are the
auditor's words: the first two are checked against what the entries themselves show, the third is for people.

What this does not do: say that a log is honest. Evidence that does not convict raises, and proves nothing either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.cosignature import open_by_log, verify_cosignature
from ledger.errors import (
    InputError,
    LedgerError,
    MalformedEntry,
    MalformedInput,
    ProofInvalid,
    RuleViolation,
    UnknownEntry,
    VerificationError,
)
from ledger.evidence_rules import Excerpt, convict
from ledger.merkle import (
    HASH_BYTES,
    Frontier,
    leaf_hash,
    leaf_hashes,
    root_from_multiproof,
    roots_from_consistency,
    verify_consistency,
)
from ledger.note import ED25519, VerifierKey, find_lines, parse_note
from ledger.replay import Replay
from ledger.text import format_base64, parse_base64
from ledger.tiles import split_hashes
from ledger.units import UnitReader

FORMAT: Final = "badge-ledger evidence v1"
#: The most bytes of the first line. The largest excerpt is a submission of 100,000 events: some 10 MB as base64.
MAX_DOCUMENT_BYTES: Final = 32 << 20
_PAGE = 4096

Kind = Literal["heads", "excerpt", "prefix"]


class MalformedEvidence(InputError):
    slug, title = "malformed-evidence", "A file of evidence is malformed"


class NotConvicted(VerificationError):
    slug, title = "not-convicted", "The evidence does not convict the log"


class EvidenceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log entry, base64, and its index."""

    index: int
    data: str


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document. `heads`: one or two signed notes; `entries`: of an excerpt; `proof`: hashes of 32 bytes joined,
    base64: a consistency proof with its first hash always there (heads; prefix: from the prefix to the head, without
    it), or the multiproof of the entries (excerpt)."""

    format: str
    kind: Kind
    rule: str
    detail: str
    heads: list[str]
    index: int | None = None
    entries: list[EvidenceEntry] = []
    proof: str = ""


class Conviction(msgspec.Struct, frozen=True):
    """What evidence proves: the log `origin` broke `rule` (at the log index `index`), in one sentence."""

    origin: str
    kind: Kind
    rule: str
    index: int | None
    sentence: str


def heads_evidence(rule: str, detail: str, first: bytes, second: bytes, proof: Sequence[bytes] = ()) -> bytes:
    """The file of two heads, the smaller tree first; signed notes."""
    return _file(Evidence(FORMAT, "heads", rule, detail, [first.decode(), second.decode()], proof=_join(proof)))


def excerpt_evidence(
    rule: str, detail: str, head: bytes, index: int, entries: dict[int, bytes], proof: Sequence[bytes]
) -> bytes:
    """The file of an excerpt: entries by log index, and their multiproof under the head."""
    listed = [EvidenceEntry(at, format_base64(entries[at])) for at in sorted(entries)]
    return _file(Evidence(FORMAT, "excerpt", rule, detail, [head.decode()], index, listed, _join(proof)))


def prefix_evidence(rule: str, detail: str, head: bytes, index: int, proof: Sequence[bytes]) -> bytes:
    """The first line of a prefix; the caller writes the entries behind it, as bundles."""
    return _file(Evidence(FORMAT, "prefix", rule, detail, [head.decode()], index, proof=_join(proof)))


def verify_evidence(document: bytes, entries: Iterable[bytes], keys: Sequence[VerifierKey]) -> Conviction:
    """What the evidence proves about the log that these keys belong to (algorithms 1 and 6, named as its origin).

    `document` is the first line, `entries` what follows it. Raises MalformedEvidence, SignatureInvalid for a head that
    none of the keys signed, ProofInvalid, NotConvicted for heads or entries that break nothing.
    """
    evidence = _read(document)
    heads = [open_by_log(note.encode(), keys)[0] for note in evidence.heads]
    proof = _split(evidence.proof)
    if evidence.kind == "heads":
        sentence = _convict_heads(evidence, heads, proof, keys)
    elif evidence.kind == "excerpt":
        own_time_s = min(own_times(evidence.heads[0].encode(), keys).values(), default=None)
        sentence = _convict_excerpt(evidence, heads[0], proof, own_time_s)
    else:
        sentence = _convict_prefix(evidence, heads[0], proof, entries)
    return Conviction(heads[0].origin, evidence.kind, evidence.rule, evidence.index, sentence)


def read_entries(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Entries out of length-prefixed bytes that come in pieces. Raises MalformedEvidence where the last is cut off."""
    pending = b""
    for chunk in chunks:
        pending += chunk
        at = 0
        while at + 2 <= len(pending):
            end = at + 2 + int.from_bytes(pending[at : at + 2], "big")
            if end > len(pending):
                break
            yield pending[at + 2 : end]
            at = end
        pending = pending[at:]
    if pending:
        raise MalformedEvidence("the entries in the evidence are cut off")


# Heads ---------------------------------------------------------------------------------------------------------------


def _convict_heads(evidence: Evidence, heads: list[Checkpoint], proof: list[bytes], keys: Sequence[VerifierKey]) -> str:
    first, second = heads
    if first.origin != second.origin:
        raise NotConvicted("the two heads are of two logs")
    if evidence.rule == "rollback":
        return _convict_rollback(evidence, first, second, keys)
    if evidence.rule != "fork":
        raise NotConvicted(f"two heads can show a fork or a rollback, not {evidence.rule!r}")
    if first.size == second.size:
        if proof:
            raise MalformedEvidence("two heads of one size need no proof")
        if first.root == second.root:
            raise NotConvicted("the two heads are the same")
        return f"it signed two heads of size {first.size} with two roots"
    if not 0 < first.size < second.size or not proof:
        raise NotConvicted("two heads of two sizes need a proof, the smaller first")
    first_root, second_root = roots_from_consistency(first.size, second.size, proof[0], proof[1:])
    if second_root != second.root:
        raise ProofInvalid(f"the proof does not lead to the root of the head of size {second.size}")
    if first_root == first.root:
        raise NotConvicted("the larger head extends the smaller one")
    return f"its head of size {second.size} has another past than its head of size {first.size} states"


def _convict_rollback(evidence: Evidence, smaller: Checkpoint, larger: Checkpoint, keys: Sequence[VerifierKey]) -> str:
    if all(key.algorithm == ED25519 for key in keys):
        raise InputError(
            "a rollback is shown by the times that the log's ML-DSA-44 key signed; the policy names no such key of it"
        )
    times = [own_times(note.encode(), keys) for note in evidence.heads]
    if not smaller.size < larger.size:
        raise NotConvicted("a rollback is shown by a smaller head and a larger one, in this order")
    for key, later in times[0].items():
        earlier = times[1].get(key)
        if earlier is not None and earlier < later:
            return (
                f"it signed at {later} that {smaller.size} entries were the most it had seen, "
                f"after it had signed {larger.size} at {earlier}"
            )
    raise NotConvicted("no key of the log signed the smaller head at a later time than the larger one")


def own_times(note: bytes, keys: Sequence[VerifierKey]) -> dict[VerifierKey, int]:
    """The seconds at which the log's own keys of algorithm 6 cosigned a note, those with a time; their lines verify."""
    opened = parse_note(note)
    checkpoint = parse_checkpoint(opened.text)
    timed = [key for key in keys if key.algorithm != ED25519 and key.name == checkpoint.origin]
    times = {key: verify_cosignature(checkpoint, key, line) for key, line in find_lines(opened, timed)}
    # Time zero makes no statement about time (c2sp.org/tlog-cosignature).
    return {key: time_s for key, time_s in times.items() if time_s}


# Entries -------------------------------------------------------------------------------------------------------------


def _convict_excerpt(evidence: Evidence, head: Checkpoint, proof: list[bytes], own_time_s: int | None) -> str:
    entries = {entry.index: _entry(entry.data) for entry in evidence.entries}
    if len(entries) != len(evidence.entries) or evidence.index is None:
        raise MalformedEvidence("an excerpt has an index, and each entry once")
    leaves = {index: leaf_hash(data) for index, data in entries.items()}
    if root_from_multiproof(leaves, head.size, proof) != head.root:
        raise ProofInvalid("the entries are not proven to be under the head")
    sentence = convict(evidence.rule, Excerpt(head, evidence.index, entries, own_time_s=own_time_s))
    if sentence is None:
        raise NotConvicted(f"these entries do not show that the rule {evidence.rule} is broken")
    return sentence


def _convict_prefix(evidence: Evidence, head: Checkpoint, proof: list[bytes], entries: Iterable[bytes]) -> str:
    frontier, violation = Frontier(), None
    replay, reader = Replay(head.origin), UnitReader()
    for page in _pages(entries):
        frontier.extend(leaf_hashes(page))
        if frontier.size > head.size:
            raise ProofInvalid(f"the evidence has more entries than its head, {head.size}")
        if violation is not None:
            continue  # the rest still counts for the root
        try:
            for logged in reader.feed(page):
                replay.apply(logged.unit, leaf=logged.leaf)
        except UnknownEntry as error:
            raise NotConvicted("the log has entries of a kind that this version does not know") from error
        except (RuleViolation, MalformedEntry) as error:
            violation = error
    verify_consistency(frontier.size, head.size, frontier.root(), head.root, proof)
    if violation is None:
        raise NotConvicted("the entries break no rule")
    rule, index = violation_of(violation)
    if (rule, index) != (evidence.rule, evidence.index):
        raise NotConvicted(f"the entries break the rule {rule} at entry {index}, not what the evidence says")
    return violation.detail


def violation_of(error: RuleViolation | MalformedEntry) -> tuple[str, int]:
    """(rule, log index) of what a replay found; a malformed entry breaks the rule `malformed-entry`."""
    if isinstance(error, RuleViolation):
        return error.rule, -1 if error.index is None else error.index
    return "malformed-entry", int(error.members.get("index", -1))


def _pages(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    page: list[bytes] = []
    for entry in entries:
        page.append(entry)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


# The file ------------------------------------------------------------------------------------------------------------


def _file(evidence: Evidence) -> bytes:
    return msgspec.json.encode(evidence) + b"\n"


def _read(document: bytes) -> Evidence:
    if len(document) > MAX_DOCUMENT_BYTES:
        raise MalformedEvidence(f"the document of the evidence is longer than {MAX_DOCUMENT_BYTES} bytes")
    try:
        evidence = msgspec.json.decode(document, type=Evidence)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedEvidence(f"this is no evidence: {error}") from None
    if evidence.format != FORMAT:
        raise MalformedEvidence(f"this is no evidence of the format {FORMAT!r}")
    if len(evidence.heads) != (2 if evidence.kind == "heads" else 1):
        raise MalformedEvidence("evidence of this kind has another number of heads")
    return evidence


def _entry(text: str) -> bytes:
    try:
        return parse_base64(text, what="an entry")
    except MalformedInput as error:
        raise MalformedEvidence(error.detail) from error


def _join(hashes: Sequence[bytes]) -> str:
    return format_base64(b"".join(hashes))


def _split(text: str) -> list[bytes]:
    try:
        data = parse_base64(text, what="the proof") if text else b""
        return split_hashes(data)
    except LedgerError as error:
        raise MalformedEvidence(f"the proof is no whole number of hashes of {HASH_BYTES} bytes") from error
