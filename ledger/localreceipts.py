"""Receipts that an issuer makes itself, for all events of a submission at once, out of what is public under one head.

    one multiproof of the log       for all the submission's events and the entries that every receipt shows
    the events                      the issuer's own: their leaves, and the events tree over them
    status                          the chunk and its proof for each slot: `ledger.listproof` has them for a whole list

A multiproof of many neighbouring leaves holds what the proof of each of them needs; the rest is hashes over the leaves
themselves. So n receipts cost one sweep over the tree instead of n walks through it, and one comparison of the root
that the sweep ends in proves them all: every hash that a receipt carries went into that root.

`plan_range` names the nodes to fetch, `range_proofs` makes the proofs. What comes out is what `ledger.prover` would
answer, byte for byte. Nothing here is fetched, and no signature is checked: the caller verifies the head, and one
receipt of each submission as any verifier would.
"""

from __future__ import annotations

from binascii import b2a_base64
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.errors import ProofInvalid, TooLarge
from ledger.merkle import (
    HASH_BYTES,
    Plan,
    leaf_hash,
    node_hash,
    nodes_for_range,
    split,
    tree_levels,
)
from ledger.receipt import MAX_RECEIPT_BYTES, Receipt
from ledger.receipt_json import to_document

#: The members of a JSON receipt in which the receipts of one submission differ.
_OWN: Final = ("index", "issue", "chunk", "log_proof", "status_proof", "events_proof")
_GAP: Final = msgspec.Raw(b"\0")
_QUOTED_GAP: Final = msgspec.Raw(b'"\0"')


class _Part(msgspec.Struct, gc=False):
    """A node of the tree over some range. `rest`: what it adds to the proof of a leaf elsewhere. `levels`: the complete
    subtree, where the range is ours as a whole."""

    hash: bytes
    rest: bytes
    levels: list[list[bytes]] | None = None
    left: Any = None
    right: Any = None


def plan_range(first: int, count: int, fixed: Sequence[int], size: int) -> Plan:
    """The nodes that `range_proofs` takes as `outside`: the multiproof of all leaves of the range and of `fixed`.

    Raises ValueError unless the range lies in the tree of `size` leaves and holds none of `fixed`, which do too.
    """
    wanted = _check(first, count, fixed, size)
    end = first + count
    plan: Plan = []

    def walk(lo: int, hi: int, start: int, stop: int) -> None:
        if start == stop:
            if hi <= first or lo >= end:
                plan.append(nodes_for_range(lo, hi))
                return
            if first <= lo and hi <= end:
                return
        if hi - lo == 1:
            return
        middle = lo + split(hi - lo)
        cut = bisect_left(wanted, middle, start, stop)
        walk(lo, middle, start, cut)
        walk(middle, hi, cut, stop)

    walk(0, size, 0, len(wanted))
    return plan


def range_proofs(
    first: int, leaves: Sequence[bytes], fixed: Mapping[int, bytes], size: int, outside: Sequence[bytes]
) -> tuple[bytes, list[bytes]]:
    """The root, and for each leaf k the multiproof of the leaves first + k and `fixed`, its hashes joined.

    `leaves`: leaf hashes of 32 bytes; `fixed`: others by index; `outside`: one hash for each list of `plan_range`.
    The proofs prove if the root is the right one. Raises ProofInvalid for hashes missing or left over, ValueError as
    `plan_range` does.
    """
    wanted = _check(first, len(leaves), list(fixed), size)
    end = first + len(leaves)
    remaining = iter(outside)

    def gather(lo: int, hi: int, start: int, stop: int) -> _Part:
        if start == stop:
            if hi <= first or lo >= end:
                value = next(remaining, b"")
                if len(value) != HASH_BYTES:
                    raise ProofInvalid("the multiproof of a range is too short or holds what is no hash")
                return _Part(value, value)
            if first <= lo and hi <= end and not (hi - lo) & (hi - lo - 1):
                levels = tree_levels(leaves[lo - first : hi - first])
                return _Part(levels[-1][0], levels[-1][0], levels)
        if hi - lo == 1:
            return _Part(fixed[lo], b"")
        middle = lo + split(hi - lo)
        cut = bisect_left(wanted, middle, start, stop)
        left = gather(lo, middle, start, cut)
        right = gather(middle, hi, cut, stop)
        value = node_hash(left.hash, right.hash)
        return _Part(value, value if start == stop else left.rest + right.rest, None, left, right)

    proofs: list[bytes] = []

    def spread(part: _Part, before: bytes, after: bytes) -> None:
        """Proofs come in the order of a walk: what is left of a leaf stands before what is right of it."""
        if part.levels is not None:
            around = [(before, after)]
            for level in part.levels[-2::-1]:
                around = [
                    pair
                    for (b, a), left, right in zip(around, level[::2], level[1::2], strict=True)
                    for pair in ((b, right + a), (b + left, a))
                ]
            proofs.extend([b + a for b, a in around])
        elif part.left is not None:
            spread(part.left, before, part.right.rest + after)
            spread(part.right, before + part.left.rest, after)

    whole = gather(0, size, 0, len(wanted))
    if next(remaining, None) is not None:
        raise ProofInvalid("the multiproof of a range is too long")
    spread(whole, b"", b"")
    return whole.hash, proofs


def _check(first: int, count: int, fixed: Sequence[int], size: int) -> list[int]:
    wanted = sorted(fixed)
    inside = any(first <= index < first + count for index in wanted)
    if count < 1 or first < 0 or first + count > size or inside or (wanted and not 0 <= wanted[0] <= wanted[-1] < size):
        raise ValueError(f"no leaves [{first}, {first + count}) beside {wanted[:8]} in a tree of {size}")
    return wanted


class Template:
    """The JSON form of the receipts of one submission under one head: what they share is written once.

    Made from one of them, which the caller has verified; salts and what differs come with each.
    """

    def __init__(self, sample: Receipt) -> None:
        document = to_document(sample)
        document.pop("salt", None)
        plain: dict[str, Any] = {}
        salted: dict[str, Any] = {}
        for name, value in document.items():
            plain[name] = salted[name] = _GAP if name == "index" else _QUOTED_GAP if name in _OWN else value
            if name == "profile":
                salted["salt"] = _QUOTED_GAP
        self._full = sample.full
        # Control characters are escaped in JSON: a zero byte stands nowhere but in the gaps.
        self._plain = msgspec.json.encode(plain).split(b"\0")
        self._salted = msgspec.json.encode(salted).split(b"\0")

    def format(
        self,
        index: int,
        issue: bytes,
        salt: bytes | None,
        chunk: bytes,
        log_proof: bytes,
        status_proof: bytes,
        events_proof: bytes,
    ) -> bytes:
        """`receipt_json.format_json` of that receipt; the proofs as their hashes, joined. Raises TooLarge."""
        own = [b"%d" % index]
        own += [b2a_base64(part, newline=False) for part in (issue, chunk, log_proof, status_proof)]
        if self._full:
            own.append(b2a_base64(events_proof, newline=False))
        if salt is None:
            pieces = self._plain
        else:
            pieces = self._salted
            own.insert(0, salt.hex().encode())
        data = b"".join([part for pair in zip(pieces, own, strict=False) for part in pair]) + pieces[-1]
        if len(data) > MAX_RECEIPT_BYTES:
            raise TooLarge(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
        return data


def event_proofs(leaves: Sequence[bytes], events_root: bytes) -> list[bytes]:
    """For each event of a submission the joined proof of its place under `events_root`. Raises ProofInvalid."""
    root, proofs = range_proofs(0, leaves, {}, len(leaves), ())
    if root != events_root:
        raise ProofInvalid("the events do not lead to the events_root that was signed")
    return proofs


def fixed_leaves(entries: Mapping[int, bytes]) -> dict[int, bytes]:
    """Leaf hashes of the entries that every receipt shows, by log index."""
    return {index: leaf_hash(entry) for index, entry in entries.items()}
