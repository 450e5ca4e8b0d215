"""Logs to be witnessed: trees of small entries, signed by keys of any kind, with their proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.cosignature import cosign
from ledger.keyfile import WITNESS_ED25519, WITNESS_MLDSA44, PrivateKey
from ledger.merkle import build, leaf_hash, plan_consistency, tree_hash, tree_levels
from ledger.note import Note, SignatureLine, VerifierKey, format_note, sign_note
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.tlogwitness import AddCheckpoint, format_add_checkpoint
from ledger.witness import WitnessedLog

NOW_S = 1_800_000_000
NAME = "witness.example/w1"


def seed(name: str) -> bytes:
    """32 bytes for a name."""
    return hashlib.sha256(name.encode()).digest()


ED_KEY = PrivateKey(WITNESS_ED25519, seed("witness"), name=NAME)
PQ_KEY = PrivateKey(WITNESS_MLDSA44, seed("witness pq"), name=NAME)


class Log:
    """A log of `size` entries "<branch> <k>"; before `fork` those of the main branch. It signs what it is asked to."""

    def __init__(
        self,
        origin: str = "log.example/1",
        *,
        name: str | None = None,
        size: int = 64,
        branch: str = "main",
        fork: int = 0,
        qpd: int = 86_400 * 1000,
        extensions: Sequence[str] = (),
    ) -> None:
        self.origin = origin
        self.name = name or origin
        self.key = Ed25519Key.from_seed(seed(self.name))
        self.pq_key = MLDSA44Key.from_seed(seed(self.name))
        self.qpd = qpd
        self.extensions = extensions
        self.leaves = [leaf_hash(f"{'main' if k < fork else branch} {k}".encode()) for k in range(size)]
        self._nodes = {
            (level, at): node for level, nodes in enumerate(tree_levels(self.leaves)) for at, node in enumerate(nodes)
        }

    @property
    def keys(self) -> tuple[VerifierKey, VerifierKey]:
        """Ed25519 (algorithm 1) and ML-DSA-44 (6)."""
        return VerifierKey(self.name, 1, self.key.public_key), VerifierKey(self.name, 6, self.pq_key.public_key)

    def listed(self, *keys: VerifierKey) -> WitnessedLog:
        """As a witness is configured with it."""
        return WitnessedLog(self.origin, keys or self.keys[:1], self.qpd)

    def head(self, size: int) -> Checkpoint:
        """The head of that size."""
        return Checkpoint(self.origin, size, tree_hash(self.leaves[:size]))

    def text(self, size: int) -> str:
        """The text that is signed."""
        return format_checkpoint(self.head(size)) + "".join(line + "\n" for line in self.extensions)

    def note(self, size: int, *others: SignatureLine, pq: bool = False) -> bytes:
        """The signed head, with lines of others in front."""
        lines = [*others, sign_note(self.text(size), self.name, self.key)]
        if pq:
            lines.append(cosign(self.head(size), self.name, self.pq_key, NOW_S))
        return format_note(Note(self.text(size), tuple(lines)))

    def consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        """RFC 6962 PROOF(old, D[size])."""
        return tuple(build(plan_consistency(old, size), self._nodes))

    def submission(self, old: int, size: int, *, pq: bool = False) -> bytes:
        """The body of add-checkpoint from one head to another."""
        return format_add_checkpoint(AddCheckpoint(old, self.consistency(old, size), self.note(size, pq=pq)))


def subtree_proof(start: int, end: int, leaves: Sequence[bytes]) -> list[bytes]:
    """SUBTREE_PROOF(start, end, leaves), as draft-ietf-plants-merkle-tree-certs-03 section 4.4.1 defines it."""

    def walk(lo: int, hi: int, part: Sequence[bytes], known: bool) -> list[bytes]:
        if (lo, hi) == (0, len(part)):
            return [] if known else [tree_hash(part)]
        k = 1 << ((len(part) - 1).bit_length() - 1)
        if hi <= k:
            return [*walk(lo, hi, part[:k], known), tree_hash(part[k:])]
        if k <= lo:
            return [*walk(lo - k, hi - k, part[k:], known), tree_hash(part[:k])]
        return [*walk(0, hi - k, part[k:], False), tree_hash(part[:k])]

    return walk(start, end, leaves, True)
