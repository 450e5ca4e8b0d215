"""What the stored log says of heads: is this one of them, and how one leads to another.

    consistency   the proof from one tree size to another, from stored tiles
    holds         whether a commit of the log has this size and root
    confront      somebody shows a head that this log signed: the database must hold it

Whatever this log ever signed was committed first, and named in the database before that (`PublisherSession.mark`). So a
head under the log's signature that the database does not hold proves that the database lost its tail, or that another
history was signed; whoever shows it need not be trusted for that.

What this module does not do: verify signatures (`ledger.checkpoint`), or decide what stops (`ledger.publisher`).
"""

from __future__ import annotations

from ledger.checkpoint import Checkpoint
from ledger.errors import ForkDetected, NotFound, WitnessAhead
from ledger.merkle import build, plan_consistency
from ledger.store import Store
from ledger.tilereader import read_nodes

#: What an operator does when a released head is ahead of the database, in this order.
AHEAD_REMEDIES = (
    "bring back the database that holds it: the old primary, or a replica that has it; "
    "or refill the lost tail from a mirror (`badge-ledger restore-tail`); "
    "or close this log and open a successor whose first entry names this log's origin, size and root. "
    "The guard is never lowered"
)


class History:
    """The heads of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def size(self) -> int:
        """Leaves of the integrated log."""
        return (await self._store.head()).size

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """The RFC 6962 proof between two sizes, 0 < first <= second, empty for equal ones. Raises NotFound."""
        plan = plan_consistency(first, second)
        nodes = await read_nodes(self._store, [node for group in plan for node in group], second)
        return build(plan, nodes)

    async def holds(self, size: int, root: bytes) -> bool:
        """Whether a commit ended with this size, 1 or more, and root."""
        try:
            commit = await self._store.commit_of(size - 1)
        except NotFound:
            return False
        return commit.tree_size == size and commit.root == root

    async def confront(self, checkpoint: Checkpoint, whose: str) -> None:
        """`whose` holds this checkpoint, its signature by this log verified: it must be one of the stored heads.

        Ask it first and call this afterwards: the database is read after the head was signed. Raises WitnessAhead where
        the database ends before it, ForkDetected where it holds another history.
        """
        if checkpoint.size == 0:
            return
        size = await self.size()
        if checkpoint.size > size:
            raise WitnessAhead(
                f"the database ends at size {size}, but {whose} holds a head of size {checkpoint.size} that this log "
                f"signed: {AHEAD_REMEDIES}",
                database_size=size,
                witness_size=checkpoint.size,
            )
        if not await self.holds(checkpoint.size, checkpoint.root):
            raise ForkDetected(
                f"{whose} holds a head of size {checkpoint.size}, signed by this log, that this database does not "
                "hold: another history was signed; nothing more is signed here"
            )
