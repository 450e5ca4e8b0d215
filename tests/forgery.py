"""A log whose operator breaks its rules and signs the result, together with witnesses who do not audit.

Pure. What a verifier must refuse is made here, for the tests of verification and for the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ledger import merkle
from ledger.checkpoint import Checkpoint
from ledger.entry import IssuerKey, StatusRoot, Submission, decode, encode
from ledger.message import key_message, submission_message
from ledger.receipt import Receipt
from ledger.signing import Ed25519Key
from tests.builders import ORIGIN
from tests.receipt_builder import Anchored, build_from, key_chain, sign_head, submission_of


class Forgery:
    """The log of a scene, to be spoiled at will and then signed again by the log and both witnesses."""

    def __init__(self, scene: Anchored) -> None:
        self.scene = scene
        self.entries = list(scene.log.entries)
        self.index = scene.index
        self.submission_index = submission_of(self.entries, scene.index)
        self.chain = [index for index, _ in key_chain(self.entries, self.submission.key)]
        self.status = scene.log.replay.status.proof(scene.slot)

    @property
    def submission(self) -> Submission:
        entry = decode(self.entries[self.submission_index])
        assert isinstance(entry, Submission)
        return entry

    def key(self, place: int) -> IssuerKey:
        entry = decode(self.entries[self.chain[place]])
        assert isinstance(entry, IssuerKey)
        return entry

    def signer(self, place: int) -> Ed25519Key:
        """The private half of the key at a place of the chain."""
        return next(key.key for key in self.scene.issuer.keys if key.index == self.scene.issuer.keys[::-1][place].index)

    def change_key(self, place: int, *, resign: bool = True, **changes: Any) -> None:
        key = replace(self.key(place), **changes)
        if resign:
            message = key_message(
                ORIGIN, key.action, key.prev, key.identifier, key.roles, key.algorithm, key.public_key
            )
            key = replace(key, possession_sig=self.signer(place).sign(message))
            if place + 1 < len(self.chain):
                key = replace(key, manage_sig=self.signer(place + 1).sign(message))
        self.entries[self.chain[place]] = encode(key)

    def change_submission(self, *, by: Ed25519Key | None = None, origin: str = ORIGIN, **changes: Any) -> None:
        submission = replace(self.submission, **changes)
        signature = (by or self.signer(0)).sign(submission_message(origin, submission))
        self.entries[self.submission_index] = encode(replace(submission, signature=signature))

    def change_event(self, event: bytes) -> None:
        """Another event in the badge's place, under an events_root that is right."""
        self.entries[self.index] = event
        first = self.submission_index + 1
        root = merkle.tree_hash(merkle.leaf_hashes(self.entries[first : first + self.submission.count]))
        self.change_submission(events_root=root)

    def change_root(self, **changes: Any) -> None:
        root = decode(self.entries[-1])
        assert isinstance(root, StatusRoot)
        self.entries[-1] = encode(replace(root, **changes))

    def receipt(self, *, full: bool = True, keys: Sequence[tuple[int, bytes]] | None = None) -> Receipt:
        head = Checkpoint(ORIGIN, len(self.entries), merkle.tree_hash(merkle.leaf_hashes(self.entries)))
        lines = sign_head(head, self.scene.time_s)
        if keys is None:
            keys = [(index, self.entries[index]) for index in self.chain]
        return build_from(
            ORIGIN,
            self.entries,
            self.index,
            self.status,
            lines,
            full=full,
            submission_index=self.submission_index,
            keys=keys,
        )
