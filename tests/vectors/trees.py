"""Vectors of Merkle trees: multiproofs, and proofs of a slot's status."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from ledger import merkle
from ledger.status import StatusTree, chunk_number, slot_state
from tests.receipt_builder import AllNodes

#: name, size, targets
_MULTIPROOFS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (1, (0,)),
    (2, (0,)),
    (2, (0, 1)),
    (3, (2,)),
    (5, (0, 4)),
    (7, (0, 1, 2, 3, 4, 5, 6)),
    (8, (3, 4)),
    (13, (1, 11, 12)),
    (100, (0, 50, 63, 64, 99)),
    (257, (7, 255, 256)),
)

#: name, lists, revoked, suspended, slot
_STATUS: tuple[tuple[str, int, tuple[int, ...], tuple[int, ...], int], ...] = (
    ("one-list", 1, (), (), 0),
    ("revoked", 1, (5, 1_000, 131_071), (7,), 1_000),
    ("suspended", 2, (131_072,), (131_079,), 131_079),
    ("active-among-others", 3, (262_144, 262_146), (262_145,), 262_147),
    ("last-of-five", 5, (3 * 131_072,), (), 5 * 131_072 - 1),
)


def _leaf_hashes(size: int) -> list[bytes]:
    return [merkle.leaf_hash(index.to_bytes(8, "big")) for index in range(size)]


def _multiproof(size: int, targets: Sequence[int]) -> list[bytes]:
    return merkle.build(merkle.plan_multiproof(targets, size), AllNodes(_leaf_hashes(size)))


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """`multiproof-*`, `multiproof-refused`, `status-*`."""
    for size, targets in _MULTIPROOFS:
        leaves = _leaf_hashes(size)
        yield (
            f"multiproof-{size}-{'-'.join(map(str, targets))}",
            {
                "description": "entry i of the tree is the 8 bytes of i, big-endian",
                "size": size,
                "targets": {str(index): leaves[index].hex() for index in targets},
                "proof": [value.hex() for value in _multiproof(size, targets)],
                "root": merkle.tree_hash(leaves).hex(),
            },
        )
    leaves, proof = _leaf_hashes(13), _multiproof(13, (1, 11, 12))
    shown = {str(index): leaves[index].hex() for index in (1, 11, 12)}
    root = merkle.tree_hash(leaves).hex()

    def case(reason: str, **changes: Any) -> dict[str, Any]:
        right = {"size": 13, "targets": shown, "proof": [value.hex() for value in proof], "root": root}
        return {"reason": reason} | right | changes

    hexes = [value.hex() for value in proof]
    changed = [*hexes[:-1], hashlib.sha256(proof[-1]).hexdigest()]
    yield (
        "multiproof-refused",
        {
            "description": "proofs that do not lead to the root, or leave hashes over",
            "cases": [
                case("a hash too few", proof=hexes[:-1]),
                case("a hash too many", proof=[*hexes, "00" * 32]),
                case("no hash", proof=[]),
                case("a changed hash", proof=changed),
                case("two hashes exchanged", proof=[hexes[1], hexes[0], *hexes[2:]]),
                case("a target outside the tree", size=12),
                case("another size", size=14),
                case("a target left out", targets={key: value for key, value in shown.items() if key != "1"}),
                case("no target", targets={}),
                case("a hash of 31 bytes", proof=[hexes[0][:-2], *hexes[1:]]),
            ],
        },
    )
    for name, lists, revoked, suspended, slot in _STATUS:
        chunks: dict[int, bytearray] = {}
        for half, slots in ((0, revoked), (32, suspended)):
            for each in slots:
                chunk = chunks.setdefault(chunk_number(each), bytearray(64))
                chunk[half + (each >> 3 & 31)] |= 0x80 >> (each & 7)
        tree = StatusTree.from_chunks(lists, {number: bytes(chunk) for number, chunk in chunks.items()})
        chunk_bytes, status_proof = tree.proof(slot)
        yield (
            f"status-{name}",
            {
                "description": "the status tree in which exactly these slots have a bit, and the proof of one slot",
                "lists": lists,
                "revoked": list(revoked),
                "suspended": list(suspended),
                "slot": slot,
                "state": slot_state(chunk_bytes, slot),
                "chunk": chunk_bytes.hex(),
                "proof": [value.hex() for value in status_proof],
                "root": tree.root.hex(),
            },
        )
