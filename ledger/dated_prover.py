"""Dated receipts as the service builds them: the receipt under the newest published head, the past from the store.

    which head was the newest   a search over the commits by time (`Store.size_at`); its successor is the next commit
    status then                 versioned chunk and nodes, checked against the logged status_root before they are shown

Nothing is kept for it: every status_root is an entry of the log, and the status tree is stored append-only.
"""

from __future__ import annotations

import msgspec

from ledger import status
from ledger.dated import DatedReceipt, Past, plan_past
from ledger.entry import Issue, StatusRoot, decode
from ledger.errors import ForkDetected, LedgerError, NotFound, ProofInvalid
from ledger.merkle import build
from ledger.prover import Prover
from ledger.publication import PublishedHead
from ledger.store import Store


class Heads(msgspec.Struct, frozen=True):
    """Two neighbours that enclose a moment, as (log index, entry), and the first one read."""

    first: tuple[int, bytes]
    successor: tuple[int, bytes]
    status_root: StatusRoot


class DatedProver:
    """Builds dated receipts for one node."""

    def __init__(self, store: Store, prover: Prover) -> None:
        self._store = store
        self._prover = prover

    async def heads(self, at_ms: int, head: PublishedHead) -> Heads:
        """The status_roots that enclose the moment under `head`. Raises NotFound: too late, or before the log."""
        if at_ms >= head.status_root.time:
            raise NotFound("no head covers that moment yet: ask again after the next heartbeat")
        size = await self._store.size_at(at_ms, head.size)
        if not size:
            raise NotFound("the log began later than that moment")
        after = (await self._store.commit_of(size)).tree_size
        first, successor = [
            (index, await self._prover.entries.entry(index, head.size)) for index in (size - 1, after - 1)
        ]
        root, following = decode(first[1]), decode(successor[1])
        if (
            not isinstance(root, StatusRoot)
            or not isinstance(following, StatusRoot)
            or following.previous != first[0]
            or not root.time <= at_ms < following.time
        ):
            raise ForkDetected(f"the commit of size {size} is not the one that its entries tell: `badge-ledger check`")
        return Heads(first, successor, root)

    async def dated(
        self, index: int, at_ms: int, heads: Heads, head: PublishedHead, *, full: bool, all_signatures: bool = False
    ) -> DatedReceipt:
        """The receipt of the issue entry at `index` under `head`, and its status at a moment that `heads` enclose.

        Raises NotFound if the entry issues nothing, ForkDetected for a spoilt store.
        """
        receipt = await self._prover.receipt(index, head, full=full, all_signatures=all_signatures)
        plan = plan_past(heads.first[0], heads.successor[0], head.size)
        nodes = await self._prover.tiles.nodes((node for group in plan for node in group), head.size)
        chunk: bytes | None = None
        proof: list[bytes] = []
        if index < heads.first[0]:
            issue = decode(receipt.issue)
            assert isinstance(issue, Issue)  # noqa: S101 - the prover has seen to it
            chunk, proof = await self._status(issue.slot, heads)
        past = Past(heads.first, heads.successor, tuple(build(plan, nodes)), chunk, tuple(proof))
        return DatedReceipt(at_ms, receipt, past)

    async def _status(self, slot: int, heads: Heads) -> tuple[bytes, list[bytes]]:
        """The slot's chunk at the first head, and its proof."""
        size, root = heads.first[0] + 1, heads.status_root
        number = status.chunk_number(slot)
        try:
            plan = status.plan_status(slot, root.lists)
            wanted = [node for group in plan for node in group]
            stored = await self._store.status_nodes(wanted, size)
            chunk = (await self._store.status_chunks(number, number, size)).get(number, status.ZERO_CHUNK)
            proof = build(plan, {node: stored.get(node, status.empty_hash(node[0])) for node in wanted})
            status.verify_status(slot, chunk, root.lists, proof, root.root)
        except (ValueError, ProofInvalid) as error:
            raise _spoilt(slot, size) from error
        return chunk, proof


def _spoilt(slot: int, size: int) -> LedgerError:
    return ForkDetected(f"slot {slot} as stored at size {size} is not the logged one: run `badge-ledger check`")
