"""The proof of one status list under a head: all its bits at once (docs/protocol.md, "Proof of a list").

    {"origin": ..., "list": 3, "size": N, "issuer": hex32, "status_root": base64 of the entry at N - 1,
     "revocation": encodedList, "suspension": encodedList, "status_proof": base64 of the joined hashes,
     "tree_size": M, "log_proof": base64 of the joined hashes, "checkpoint": the signed note of the head M >= N}

    log_proof      multiproof of the leaf N - 1 in the log of M leaves: the status_root entry is in the log
    status_proof   multiproof of position `list` in the tree over the roots of the aligned subtrees of 512 chunks
    list's root    RFC 6962 over its 512 chunks, made of the bits shown

512 chunks times a number of lists is split where that number is split, so the tree over the lists' roots is the status
tree without its lowest nine levels. The log's newest checkpoint is the only one that a ledger keeps; it covers every
head before it, which is why N may be smaller than M.

Pure. Not shown: that the status_root counts every revocation that the log holds (auditors replay it), and whose the
list is: `issuer` is the ledger's word, which receipts and the entries of the log bear out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger import merkle, status
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.entry import LIST_CHUNKS, LIST_SLOTS, StatusRoot, decode
from ledger.errors import InputError, MalformedInput, ProofInvalid, TooLarge, VerificationError
from ledger.merkle import HASH_BYTES, MAX_SIZE, leaf_hash
from ledger.note import Note, parse_note
from ledger.policy import Evaluation, Policy, evaluate
from ledger.status import HALF_BYTES, MAX_LISTS, Purpose
from ledger.statuslist import StatusList, decode_list, encode_list, is_set
from ledger.text import format_base64, parse_base64, parse_hex
from ledger.verify import FUTURE_S, check_own_time

#: Two lists that do not compress, 44 kB, a note of 16 KiB at the most, and the hashes.
MAX_PROOF_BYTES: Final = 128 * 1024
#: Depth of the tree over a list's chunks.
_LIST_LEVEL: Final = 9


class ListProof(msgspec.Struct, frozen=True):
    """What a proof carries. `size`, `tree_size`: leaves of the log. `issuer`: 32 bytes. `status_root`: the entry.

    `revocation`, `suspension`: 16,384 bytes each. The proofs: 32-byte hashes in multiproof order.
    """

    origin: str
    list: int
    size: int
    issuer: bytes
    status_root: bytes
    revocation: bytes
    suspension: bytes
    status_proof: tuple[bytes, ...]
    tree_size: int
    log_proof: tuple[bytes, ...]
    checkpoint: bytes

    def bits(self, purpose: Purpose) -> bytes:
        """The 16,384 bytes of one purpose."""
        return self.revocation if purpose == "revocation" else self.suspension


class ProvenList(msgspec.Struct, frozen=True):
    """A list whose bits are proven. `as_of_s`: when the head was the log's newest, seconds since the Unix epoch; by the
    quorum's cosignatures, or by the log's own word (`own_time`)."""

    proof: ListProof
    checkpoint: Checkpoint
    evaluation: Evaluation
    status_root: StatusRoot
    as_of_s: int
    own_time: bool
    #: The tree over the list's chunks, from the 512 leaf hashes up to the root.
    levels: list[list[bytes]]

    def state(self, slot: int) -> status.State:
        """The state of a slot that was issued. Raises ValueError for one of another list."""
        return status.slot_state(self._chunk(slot), slot)

    def status_proof(self, slot: int) -> tuple[bytes, tuple[bytes, ...]]:
        """The slot's chunk (64 bytes) and its proof under the status root, as a receipt carries them. ValueError."""
        position = self._position(slot)
        above: list[bytes] = []
        below: list[bytes] = []
        for level in range(_LIST_LEVEL - 1, -1, -1):
            sibling = self.levels[level][position >> level ^ 1]
            (above if position >> level & 1 else below).append(sibling)
        # What is left of the path comes first, top down; what is right of it behind, bottom up.
        cut = _hashes_to_the_left(self.proof.list, self.status_root.lists)
        outer = self.proof.status_proof
        return self._chunk(slot), (*outer[:cut], *above, *reversed(below), *outer[cut:])

    def _chunk(self, slot: int) -> bytes:
        return _chunk(self.proof.revocation, self.proof.suspension, self._position(slot))

    def _position(self, slot: int) -> int:
        if status.list_of(slot) != self.proof.list:
            raise ValueError(f"slot {slot} is not in list {self.proof.list}")
        return status.chunk_number(slot) % LIST_CHUNKS


# Verify --------------------------------------------------------------------------------------------------------------


def verify_list_proof(proof: ListProof, *, policy: Policy, now_s: int, max_age_s: int | None = None) -> ProvenList:
    """The list that the proof proves, or the first thing that is wrong with it. `now_s`: seconds since the Unix epoch.

    `max_age_s`: the oldest head that is accepted, None for any age. A head older than the checkpoint's is as old as the
    log's own time for it. Raises MalformedInput, MalformedNote, ProofInvalid, SignatureInvalid, QuorumNotMet, Stale,
    VerificationError.
    """
    note = parse_note(proof.checkpoint)
    checkpoint = parse_checkpoint(note.text)
    if (checkpoint.origin, checkpoint.size) != (proof.origin, proof.tree_size):
        raise ProofInvalid("the proof's checkpoint is of another log or another size than the proof states")
    status_root = _status_root(proof)
    _check_log(proof, checkpoint)
    evaluation, as_of_s, own_time = _check_head(proof, policy, checkpoint, note, status_root, now_s, max_age_s)
    if proof.list >= status_root.lists:
        raise ProofInvalid(f"the status tree of {status_root.lists} lists has no list {proof.list}")
    levels = _levels(proof.revocation, proof.suspension)
    root = merkle.root_from_multiproof({proof.list: levels[-1][0]}, status_root.lists, proof.status_proof)
    if root != status_root.root:
        raise ProofInvalid(f"the bits of list {proof.list} do not lead to the status root")
    if any(revoked & suspended for revoked, suspended in zip(proof.revocation, proof.suspension, strict=True)):
        raise VerificationError(f"list {proof.list} has a slot that is revoked and suspended at once")
    return ProvenList(proof, checkpoint, evaluation, status_root, as_of_s, own_time, levels)


def check_list(list_: StatusList, proven: ProvenList) -> None:
    """That a list says what is proven, bit for bit, of the same list and head. Raises VerificationError.

    Where bits differ, its members say how many (`differing`), the `first` of them by index, how many of the set ones
    the list hides (`hidden`) and how many it adds (`added`).
    """
    proof = proven.proof
    if list_.list != proof.list:
        raise VerificationError(f"the list is number {list_.list}, the proof is of list {proof.list}")
    if list_.size != proof.size:
        raise VerificationError(f"the list is of the head of size {list_.size}, the proof of that of size {proof.size}")
    if list_.valid_from_ms != proven.status_root.time:
        raise VerificationError("the list states another time than its head has")
    said, true = decode_list(list_.encoded), proof.bits(list_.purpose)
    if said == true:
        return
    difference = int.from_bytes(said, "big") ^ int.from_bytes(true, "big")
    hidden = (difference & int.from_bytes(true, "big")).bit_count()
    first = LIST_SLOTS - difference.bit_length()
    count = difference.bit_count()
    raise VerificationError(
        f"the list differs from the log in {count} positions: it hides {hidden} that are set and sets {count - hidden} "
        f"that are not; the first is index {first}, which is {'set' if is_set(true, first) else 'not set'} in the log",
        differing=count,
        first=first,
        hidden=hidden,
        added=count - hidden,
    )


def _status_root(proof: ListProof) -> StatusRoot:
    entry = decode(proof.status_root)
    if not isinstance(entry, StatusRoot):
        raise MalformedInput("the entry that the proof shows is no status_root")
    return entry


def _check_log(proof: ListProof, checkpoint: Checkpoint) -> None:
    if not 0 < proof.size <= checkpoint.size:
        raise ProofInvalid(f"a log of {checkpoint.size} leaves has no head of size {proof.size}")
    leaves = {proof.size - 1: leaf_hash(proof.status_root)}
    if merkle.root_from_multiproof(leaves, checkpoint.size, proof.log_proof) != checkpoint.root:
        raise ProofInvalid("the proof of the status_root entry does not lead to the checkpoint's root")


def _check_head(
    proof: ListProof,
    policy: Policy,
    checkpoint: Checkpoint,
    note: Note,
    status_root: StatusRoot,
    now_s: int,
    max_age_s: int | None,
) -> tuple[Evaluation, int, bool]:
    """The policy's judgement, as of when the list is, and whether that is the log's own word."""
    evaluation = evaluate(policy, checkpoint, note, now_s=now_s, max_age_s=max_age_s, future_s=FUTURE_S)
    own_s = status_root.time // 1000
    if evaluation.timestamp_s is not None:
        if own_s > evaluation.timestamp_s + FUTURE_S:
            raise VerificationError("the log's times are later than its witnesses' cosignatures", rule="time")
        if proof.size == checkpoint.size:
            return evaluation, evaluation.timestamp_s, False
    check_own_time(own_s, now_s, max_age_s)
    return evaluation, own_s, True


def _chunk(revocation: bytes, suspension: bytes, position: int) -> bytes:
    """Chunk `position` of a list's 512."""
    at = slice(position * HALF_BYTES, (position + 1) * HALF_BYTES)
    return revocation[at] + suspension[at]


def _levels(revocation: bytes, suspension: bytes) -> list[list[bytes]]:
    return merkle.tree_levels([leaf_hash(_chunk(revocation, suspension, position)) for position in range(LIST_CHUNKS)])


def _hashes_to_the_left(position: int, size: int) -> int:
    """How many hashes of the multiproof of one position stand left of it: one for each turn to the right."""
    count, low, high = 0, 0, size
    while high - low > 1:
        middle = low + merkle.split(high - low)
        if position < middle:
            high = middle
        else:
            count, low = count + 1, middle
    return count


# The document --------------------------------------------------------------------------------------------------------


class _Document(msgspec.Struct, frozen=True):
    origin: str
    list: int
    size: int
    issuer: str
    status_root: str
    revocation: str
    suspension: str
    status_proof: str
    tree_size: int
    log_proof: str
    checkpoint: str


def format_list_proof(proof: ListProof) -> bytes:
    """The JSON document."""
    return msgspec.json.encode(
        _Document(
            origin=proof.origin,
            list=proof.list,
            size=proof.size,
            issuer=proof.issuer.hex(),
            status_root=format_base64(proof.status_root),
            revocation=encode_list(proof.revocation),
            suspension=encode_list(proof.suspension),
            status_proof=format_base64(b"".join(proof.status_proof)),
            tree_size=proof.tree_size,
            log_proof=format_base64(b"".join(proof.log_proof)),
            checkpoint=proof.checkpoint.decode(),
        )
    )


def parse_list_proof(data: bytes) -> ListProof:
    """The proof that a JSON document is; members that this version does not know are ignored.

    Raises TooLarge, MalformedInput.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise TooLarge(f"the proof of a list has at most {MAX_PROOF_BYTES} bytes")
    try:
        read = msgspec.json.decode(data, type=_Document)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedInput(f"not the proof of a list: {error}") from None
    if not 0 <= read.list < MAX_LISTS or not 0 < read.size <= read.tree_size <= MAX_SIZE:
        raise MalformedInput("a number in the proof of a list is out of its range")
    try:
        return ListProof(
            origin=read.origin,
            list=read.list,
            size=read.size,
            issuer=parse_hex(read.issuer, what="the list's issuer", length=32),
            status_root=parse_base64(read.status_root, what="the status_root entry"),
            revocation=decode_list(read.revocation),
            suspension=decode_list(read.suspension),
            status_proof=_hashes(read.status_proof, "status_proof"),
            tree_size=read.tree_size,
            log_proof=_hashes(read.log_proof, "log_proof"),
            checkpoint=read.checkpoint.encode(),
        )
    except UnicodeEncodeError:
        raise MalformedInput("the checkpoint in the proof of a list is not text") from None
    except InputError as error:
        raise MalformedInput(f"the proof of a list cannot be read: {error.detail}") from error


def _hashes(text: str, what: str) -> tuple[bytes, ...]:
    joined = parse_base64(text, what=what)
    if len(joined) % HASH_BYTES:
        raise MalformedInput(f"{what} holds no whole hashes")
    return tuple(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES))


# Building ------------------------------------------------------------------------------------------------------------


def list_nodes(number: int, lists: int) -> list[merkle.Node]:
    """The (level, index) of the status nodes that `status_proof` is made of. Raises ValueError for no such list."""
    plan = merkle.plan_multiproof([number], lists)
    return [(level + _LIST_LEVEL, index) for group in plan for level, index in group]


def build_status_proof(number: int, lists: int, hashes: Mapping[merkle.Node, bytes]) -> tuple[bytes, ...]:
    """`status_proof` from those nodes; one that is not given is empty."""
    plan = merkle.plan_multiproof([number], lists)
    lowered = {
        (level - _LIST_LEVEL, index): hashes.get((level, index), status.empty_hash(level))
        for level, index in list_nodes(number, lists)
    }
    return tuple(merkle.build(plan, lowered))


def list_root(revocation: bytes, suspension: bytes, number: int, lists: int, status_proof: Sequence[bytes]) -> bytes:
    """The status root (32 bytes) that the bits of a list lead to. Raises ProofInvalid."""
    leaf = _levels(revocation, suspension)[-1][0]
    return merkle.root_from_multiproof({number: leaf}, lists, status_proof)


def list_bits(chunks: Mapping[int, bytes], number: int, purpose: Purpose) -> bytes:
    """The 16,384 bytes of one purpose from the list's chunks, those absent being zeros."""
    offset = 0 if purpose == "revocation" else HALF_BYTES
    numbers = range(number * LIST_CHUNKS, (number + 1) * LIST_CHUNKS)
    return b"".join([chunks.get(chunk, status.ZERO_CHUNK)[offset : offset + HALF_BYTES] for chunk in numbers])
