"""Whole status lists as the service proves them: under the newest published head, and at any head that it covers.

    newest head   the head's own status tree, in memory
    a past head   the versioned chunks and nodes of the store, checked against the logged status_root before use

A head is a tree size whose last leaf is a status_root. Which heads were published is not kept, only the newest is; but
every status_root below it is under its root, so what was the status then can be proven now. Nothing is signed here.
"""

from __future__ import annotations

import asyncio

import msgspec

from ledger.entry import LIST_CHUNKS, StatusRoot, decode
from ledger.errors import ForkDetected, NotFound, ProofInvalid
from ledger.listproof import ListProof, build_status_proof, list_bits, list_nodes, list_root
from ledger.merkle import build, plan_multiproof
from ledger.prover import Prover
from ledger.publication import PublishedHead
from ledger.status import Purpose
from ledger.store import Store


class ListHead(msgspec.Struct, frozen=True):
    """A head that lists are read at: its size, its last leaf as entry and as bytes."""

    size: int
    status_root: StatusRoot
    entry: bytes


class ListBits(msgspec.Struct, frozen=True):
    """All of one list at a head: 16,384 bytes a purpose, and the hashes that lead from it to the status root."""

    revocation: bytes
    suspension: bytes
    status_proof: tuple[bytes, ...]

    def of(self, purpose: Purpose) -> bytes:
        """The bits of one purpose."""
        return self.revocation if purpose == "revocation" else self.suspension


class ListProver:
    """Reads lists for one node."""

    def __init__(self, store: Store, prover: Prover) -> None:
        self._store = store
        self._prover = prover

    async def head_of_size(self, size: int, head: PublishedHead) -> ListHead:
        """The head of `size` leaves, which `head` covers. Raises NotFound if no head has that size."""
        if size == head.size:
            return ListHead(size, head.status_root, head.status_root_entry)
        if not 0 < size < head.size:
            raise NotFound(f"the published log has {head.size} leaves, and no head of size {size}")
        data = await self._prover.entries.entry(size - 1, head.size)
        entry = decode(data)
        if not isinstance(entry, StatusRoot):
            raise NotFound(f"no head of this log has {size} leaves: entry {size - 1} is no status_root")
        return ListHead(size, entry, data)

    async def head_at(self, time_ms: int, head: PublishedHead) -> ListHead:
        """The last head at or before that time which `head` covers. Raises NotFound for a time before the log."""
        if time_ms >= head.status_root.time:
            return await self.head_of_size(head.size, head)
        size = await self._store.size_at(time_ms, head.size)
        if not size:
            raise NotFound("the log did not exist at that time")
        return await self.head_of_size(size, head)

    async def bits(self, number: int, at: ListHead, head: PublishedHead) -> ListBits:
        """List `number` at that head. Raises NotFound if it was not open then, ForkDetected for a spoilt store."""
        lists = at.status_root.lists
        if number >= lists:
            raise NotFound(f"there is no status list {number}: the head of size {at.size} has {lists}")
        nodes = list_nodes(number, lists)
        if at.size == head.size:
            tree = head.status
            return ListBits(
                tree.list_bits(number, "revocation"),
                tree.list_bits(number, "suspension"),
                build_status_proof(number, lists, {node: tree.node(node) for node in nodes}),
            )
        first = number * LIST_CHUNKS
        chunks = await self._store.status_chunks(first, first + LIST_CHUNKS - 1, at.size)
        found = ListBits(
            list_bits(chunks, number, "revocation"),
            list_bits(chunks, number, "suspension"),
            build_status_proof(number, lists, await self._store.status_nodes(nodes, at.size)),
        )
        await asyncio.to_thread(_check, found, number, at)
        return found

    async def proof(self, number: int, at: ListHead, head: PublishedHead, issuer: bytes) -> ListProof:
        """The proof of list `number` at that head, under the checkpoint of `head`. `issuer`: 32 bytes, its owner."""
        bits = await self.bits(number, at, head)
        plan = plan_multiproof([at.size - 1], head.size)
        hashes = await self._prover.tiles.nodes([node for group in plan for node in group], head.size)
        return ListProof(
            origin=head.note.partition(b"\n")[0].decode(),
            list=number,
            size=at.size,
            issuer=issuer,
            status_root=at.entry,
            revocation=bits.revocation,
            suspension=bits.suspension,
            status_proof=bits.status_proof,
            tree_size=head.size,
            log_proof=tuple(build(plan, hashes)),
            checkpoint=head.note,
        )


def _check(bits: ListBits, number: int, at: ListHead) -> None:
    """Raises ForkDetected unless this is what the log says: it is about to be signed."""
    try:
        root = list_root(bits.revocation, bits.suspension, number, at.status_root.lists, bits.status_proof)
    except ProofInvalid as error:
        raise ForkDetected(f"list {number} at size {at.size} is not stored whole: run `badge-ledger check`") from error
    if root != at.status_root.root:
        raise ForkDetected(f"list {number} as stored at size {at.size} is not the logged one: run `badge-ledger check`")
