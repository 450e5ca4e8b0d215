"""Signed heads and receipts over logs of `tests.builders`: pure and deterministic, nothing fetched, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ledger import merkle
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.cosignature import cosign
from ledger.entry import (
    BINDING_PUBLISHED,
    LIST_CHUNKS,
    NONE_INDEX,
    IssuerKey,
    StatusRoot,
    Submission,
    decode,
    encode,
    encode_issue,
)
from ledger.merkle import Node
from ledger.note import ED25519, ED25519_COSIGNATURE, SignatureLine, VerifierKey, format_vkey, sign_note
from ledger.policy import Policy, parse_policy
from ledger.receipt import Receipt, build_receipt
from ledger.signing import Ed25519Key
from tests.builders import BuiltIssuer, LogBuilder, seeded_key

#: Policy names of the witnesses; the name of each one's key is `<name>.example/w`.
WITNESSES = ("north", "south")


def log_key(origin: str) -> VerifierKey:
    """The log's 0x01 key."""
    return VerifierKey(origin, ED25519, seeded_key(f"log {origin}").public_key)


def witness_key(name: str) -> VerifierKey:
    """The 0x04 key of a witness."""
    return VerifierKey(f"{name}.example/w", ED25519_COSIGNATURE, seeded_key(f"witness {name}").public_key)


def policy_text(origin: str, *, quorum: str = "both", auditors: Sequence[str] = ()) -> str:
    """A policy: the log, both witnesses, a group `both` of all of them or of `auditors` and the rest; a quorum."""
    lines = [f"log {format_vkey(log_key(origin))}"]
    lines += [f"witness {name} {format_vkey(witness_key(name))}" for name in WITNESSES]
    if auditors:
        lines.append(f"group auditors any {' '.join(auditors)}")
    members = [name for name in WITNESSES if name not in auditors] + (["auditors"] if auditors else [])
    lines.append(f"group both all {' '.join(members)}")
    lines.append(f"quorum {quorum}")
    return "\n".join(lines) + "\n"


def policy(origin: str, *, quorum: str = "both", auditors: Sequence[str] = ()) -> Policy:
    """`policy_text`, read."""
    return parse_policy(policy_text(origin, quorum=quorum, auditors=auditors))


def sign_head(
    checkpoint: Checkpoint, time_s: int, *, witnesses: Sequence[str] = WITNESSES
) -> tuple[SignatureLine, ...]:
    """The log's signature and the cosignatures of these witnesses, all of them at `time_s`."""
    log = sign_note(format_checkpoint(checkpoint), checkpoint.origin, seeded_key(f"log {checkpoint.origin}"))
    lines = [cosign(checkpoint, witness_key(name).name, seeded_key(f"witness {name}"), time_s) for name in witnesses]
    return (log, *lines)


class AllNodes(Mapping[Node, bytes]):
    """Every complete subtree over some leaf hashes."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.levels = merkle.tree_levels(leaves)

    def __getitem__(self, node: Node) -> bytes:
        level, index = node
        if level >= len(self.levels) or index >= len(self.levels[level]):
            raise KeyError(node)
        return self.levels[level][index]

    def __iter__(self) -> Iterator[Node]:
        return ((level, index) for level, hashes in enumerate(self.levels) for index in range(len(hashes)))

    def __len__(self) -> int:
        return sum(len(hashes) for hashes in self.levels)


class SyntheticNodes(Mapping[Node, bytes]):
    """A hash for any node of a tree too large to build: what counts is how many a proof needs, not what they say."""

    def __getitem__(self, node: Node) -> bytes:
        return hashlib.sha256(b"%d/%d" % node).digest()

    def __iter__(self) -> Iterator[Node]:
        return iter(())

    def __len__(self) -> int:
        return 0


def key_chain(entries: Sequence[bytes], key: int) -> list[tuple[int, bytes]]:
    """The key entry at `key`, its signer's, and so on to the issuer's first."""
    chain = []
    while key != NONE_INDEX:
        entry = decode(entries[key])
        assert isinstance(entry, IssuerKey)
        chain.append((key, entries[key]))
        key = entry.signer
    return chain


def submission_of(entries: Sequence[bytes], index: int) -> int:
    """The index of the submission that heads the event at `index`."""
    while not isinstance(decode(entries[index]), Submission):
        index -= 1
    return index


def build(
    log: LogBuilder,
    index: int,
    *,
    full: bool,
    time_s: int | None = None,
    signatures: Sequence[SignatureLine] | None = None,
    salt: bytes | None = None,
) -> Receipt:
    """The receipt of the issue entry at `index` under the log's newest head, signed at `time_s`, by default its own."""
    if signatures is None:
        checkpoint = Checkpoint(log.origin, log.size, log.root())
        signatures = sign_head(checkpoint, log.status_root().time // 1000 if time_s is None else time_s)
    proof = log.replay.status.proof(int.from_bytes(log.entries[index][34:42], "big"))
    return build_from(log.origin, log.entries, index, proof, signatures, full=full, salt=salt)


def build_from(
    origin: str,
    entries: Sequence[bytes],
    index: int,
    status: tuple[bytes, Sequence[bytes]],
    signatures: Sequence[SignatureLine],
    *,
    full: bool,
    salt: bytes | None = None,
    submission_index: int | None = None,
    keys: Sequence[tuple[int, bytes]] | None = None,
) -> Receipt:
    """A receipt from any entries, those of a log that broke its rules included; `status` is a chunk and its proof."""
    leaves = merkle.leaf_hashes(entries)
    submission: tuple[int, bytes] | None = None
    events: Mapping[Node, bytes] = {}
    if full:
        head = submission_of(entries, index) if submission_index is None else submission_index
        entry = decode(entries[head])
        assert isinstance(entry, Submission)
        submission = (head, entries[head])
        keys = key_chain(entries, entry.key) if keys is None else keys
        events = AllNodes(leaves[head + 1 : head + 1 + entry.count])
    return build_receipt(
        origin=origin,
        tree_size=len(entries),
        index=index,
        issue=entries[index],
        status_root=entries[-1],
        chunk=status[0],
        status_proof=status[1],
        log_hashes=AllNodes(leaves),
        signatures=signatures,
        submission=submission,
        keys=keys if full and keys is not None else (),
        events_hashes=events,
        salt=salt,
    )


def synthetic(
    *,
    full: bool,
    index: int,
    tree_size: int,
    lists: int,
    slot: int,
    count: int,
    position: int,
    keys: Sequence[int],
    salt: bytes | None,
    origin: str,
    identifier: str,
) -> Receipt:
    """A receipt with the shape of one from a huge log; its hashes and signatures hold nothing."""
    some = hashlib.sha256(b"some").digest()
    issuer = hashlib.sha256(identifier.encode()).digest()
    root = StatusRoot(0, tree_size - 100, lists, tree_size, 0, 0, some)
    entries = [
        (
            key,
            encode(
                IssuerKey(
                    0, 1, some, identifier, 7, 1, some, 4, some, keys[n + 1] if n + 1 < len(keys) else NONE_INDEX,
                    some * 2, some * 2,
                )
            ),
        )
        for n, key in enumerate(keys)
    ]  # fmt: skip
    submission = Submission(0, issuer, keys[0], count, 0, bytes(16), some, 1, some * 2)
    nodes = SyntheticNodes()
    plan = merkle.plan_multiproof([slot >> 8], LIST_CHUNKS * lists)
    checkpoint = Checkpoint(origin, tree_size, some)
    return build_receipt(
        origin=origin,
        tree_size=tree_size,
        index=index,
        issue=encode_issue(issuer, slot, some),
        status_root=encode(root),
        chunk=bytes(64),
        status_proof=merkle.build(plan, nodes),
        log_hashes=nodes,
        signatures=sign_head(checkpoint, 1_750_000_000),
        submission=(index - 1 - position, encode(submission)) if full else None,
        keys=entries if full else (),
        events_hashes=nodes,
        salt=salt,
    )


@dataclass
class Anchored:
    """A sealed log in which one badge's commitment was issued; `index` is its issue entry."""

    log: LogBuilder
    issuer: BuiltIssuer
    index: int
    slot: int
    time_s: int


def anchored(
    commitment: bytes,
    *,
    identifier: str | None = "https://school.example/badges",
    binding: int = BINDING_PUBLISHED,
    delegated: bool = True,
    then: str = "",
    count: int = 9,
    key: Ed25519Key | None = None,
) -> Anchored:
    """A log where `commitment` is the fifth event of a submission; `then`: revoke, suspend or nothing happens to it.

    Without an identifier the issuer is a did:key. `delegated`: an online key signs, added by the issuer's first.
    """
    log = LogBuilder()
    other = log.issuer("https://other.example", lists=1)
    log.issue(other, range(3))
    log.seal()
    log.time += 1_000
    issuer = log.issuer(identifier, binding=binding, lists=1, key=key)
    signing = log.add_key(issuer, roles=3) if delegated else issuer.keys[0]
    events = [issuer.issue(issuer.slot(1_000 + k)) for k in range(count)]
    slot = issuer.slot(1_000 + 4)
    events[4] = issuer.issue(slot, commitment)
    log.time += 1_000
    index = log.submit(issuer, events, key=signing) + 1 + 4
    log.time += 1_000
    log.seal()
    if then:
        log.time += 60_000
        log.submit(issuer, [getattr(issuer, then)(slot)], key=signing)
    log.time += 1_000
    log.issue(other, range(100, 105))
    log.seal()
    return Anchored(log, issuer, index, slot, log.time // 1000)
