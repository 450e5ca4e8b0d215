"""A database that lost its tail, brought back from a mirror up to the guard's head, or the mirror's if that is larger.

    1  the guard says which head was released: size and root. It is never lowered; the database has to reach it. A
       larger head of the mirror was released too, since the log signed it: the guard was put back with the database (a
       snapshot of the whole machine), and the database has to reach that head
    2  the missing entries are read from the mirror, whole, before anything is written: with what the database has they
       lead to that head's root, so they are the very entries that were lost, whoever kept them. A guard that was put
       back is moved forward to the head then, so that no half of this is ever taken for the log
    3  one commit for each status_root, as the log had them, under all rules with every signature
    4  every slot list is closed: what was handed out since the backup is forgotten, and no slot is handed out twice

Broken off anywhere, it is run again and goes on. Nothing is signed here. Where the mirror has the guard's head as it
was published, it is published again; else the next `serve` signs and releases it. Answers to repeated submissions are
computed from the entries, so they are back as well; slots that were reserved and not used are lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from hashlib import sha256

import msgspec

from ledger.assemble import Logged
from ledger.auditor.source import Source, read_ahead
from ledger.checkpoint import Checkpoint
from ledger.cosignature import open_by_log
from ledger.entry import StatusRoot
from ledger.errors import ForkDetected, GuardMismatch, InputError, MalformedEntry, RuleViolation
from ledger.evidence import own_times
from ledger.guard import GuardHead, swap_or_confirm
from ledger.merkle import leaf_hashes
from ledger.node import Node
from ledger.publisher import HeadSigner
from ledger.sequencer_state import edge_at
from ledger.store import Store
from ledger.tiles import TILE_WIDTH, Edge, Tile, bundles_for_range, decode_bundle
from ledger.units import UnitReader

_DEPTH = 16


class Restored(msgspec.Struct, frozen=True):
    """What was done: the database ended at `before` and ends at `after`; `closed_lists` hand out no more slots.

    `guard` is the size of the guard's head as it was found; where `after` is larger, the guard was moved forward to it.
    """

    before: int
    after: int
    commits: int
    closed_lists: int
    guard: int


class _Piece(msgspec.Struct, frozen=True):
    """A bundle of the mirror, and the SHA-256 of what it held when it was read first."""

    tile: Tile
    digest: bytes


async def restore_tail(
    node: Node, source: Source, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Restored:
    """Append what the larger of the guard's and the mirror's head covers and the database lost. `node` is not started,
    and no service runs.

    Raises InputError for a mirror that does not reach the guard's head or holds other entries, ForkDetected for a
    database that contradicts the guard's head, GuardMismatch and OperationError for what belongs to another log; then
    nothing was written.
    """
    store = node.store
    standing = await node.guard.read()
    head = await store.head()
    await _check_identity(node)
    if standing.size <= head.size:
        await _check_held(store, standing)
    note = await source.checkpoint()
    checkpoint, _ = open_by_log(note, node.signer.verifier_keys)
    if head.size >= max(standing.size, checkpoint.size):
        return Restored(head.size, head.size, 0, 0, standing.size)
    _check_reaches(source, checkpoint, standing)
    found, goal = standing, _goal(note, checkpoint, node.signer, standing)
    edge = await edge_at(store, head.size) if head.size else Edge()
    if edge.root() != head.root:
        raise ForkDetected("the stored tiles do not lead to the stored head: run `badge-ledger check`")
    # A mirror that goes on beyond the guard's head has to come by it: else it is of a second history under our keys.
    goals = {goal.size: ("mirror's", goal.root), standing.size: ("guard's", standing.root)}
    pieces = await _read(source, checkpoint.size, (head.size, goal.size), edge, goals)
    if goal != standing:
        await swap_or_confirm(node.guard, standing, goal)
        standing = goal
    closed = await store.close_slot_lists()
    commits = 0
    node.lookup.filled_to = await store.lookup_filled_to()
    async for units in _units(source, pieces, head.size, standing.size):
        await node.sequencer.restore(units)
        commits += 1
        progress(units[-1].index + units[-1].count - head.size, standing.size - head.size)
    # Lists that were opened in what was restored are handed out from no more than the others.
    closed += await store.close_slot_lists()
    await _check_held(store, standing)
    await _publish(store, note, node.signer, standing)
    return Restored(head.size, standing.size, commits, closed, found.size)


async def _check_identity(node: Node) -> None:
    """Guard, keys and database belong together; an empty database takes on the guard's log."""
    if "guard" not in await node.store.meta() and (await node.store.head()).size:
        raise GuardMismatch("this database has been used with another guard: take the pair that belongs together")
    await node.take_on_identity()


async def _check_held(store: Store, standing: GuardHead) -> None:
    if standing.size == 0:
        return
    commit = await store.commit_of(standing.size - 1)
    if (commit.tree_size, commit.root) != (standing.size, standing.root):
        raise ForkDetected(f"the database holds another history than the guard's head of {standing.size} entries")


def _check_reaches(source: Source, checkpoint: Checkpoint, standing: GuardHead) -> None:
    if checkpoint.size < standing.size:
        raise InputError(
            f"{source.name} ends at {checkpoint.size} entries, the guard's head has {standing.size}: a newer mirror is "
            "needed; nothing was written"
        )


def _goal(note: bytes, checkpoint: Checkpoint, signer: HeadSigner, standing: GuardHead) -> GuardHead:
    """The larger of the guard's and the mirror's head; of one that the log put no time to, the time is the guard's."""
    if checkpoint.size <= standing.size:
        return standing
    times = own_times(note, signer.verifier_keys).values()
    return GuardHead(checkpoint.size, checkpoint.root, max([standing.time_s, *times]))


async def _publish(store: Store, note: bytes, signer: HeadSigner, standing: GuardHead) -> None:
    """Where the mirror has the guard's head as it was published, with all its cosignatures, publish it again at once:
    a service that started with the backup's head would show its readers a smaller one than they have seen."""
    checkpoint, _ = open_by_log(note, signer.verifier_keys)
    times = set(own_times(note, signer.verifier_keys).values())
    if (checkpoint.size, checkpoint.root, times) != (standing.size, standing.root, {standing.time_s}):
        return
    async with store.publisher() as session:
        if await session.acquire():
            await session.mark(standing.size, standing.root)
            await session.publish(standing.size, standing.root, standing.time_s, note)


async def _read(
    source: Source, size: int, span: tuple[int, int], edge: Edge, goals: dict[int, tuple[str, bytes]]
) -> list[_Piece]:
    """Extend the edge by the entries of `span` as the mirror of `size` has them.

    `goals`, by size: whose head it is, and its root. Raises InputError where the edge passes one with another root.
    """
    start, end = span
    pieces = []
    async for tile, data, entries in _bundles(source, size, span):
        pieces.append(_Piece(tile, sha256(data).digest()))
        first = tile.index * TILE_WIDTH
        last = min(end, first + len(entries))
        stops = sorted({last} | {goal for goal in goals if edge.size < goal < last})
        for stop in stops:
            edge.extend(leaf_hashes(entries[edge.size - first : stop - first]))
            whose, root = goals.get(stop, ("", b""))
            if whose and edge.root() != root:
                raise InputError(
                    f"{source.name} does not lead from the database's {start} entries to the {whose} head of {stop}: "
                    "it is the mirror of another history, or damaged; nothing was written"
                )
    return pieces


async def _bundles(source: Source, size: int, span: tuple[int, int]) -> AsyncIterator[tuple[Tile, bytes, list[bytes]]]:
    groups = [(tile,) for tile in bundles_for_range(span[0], span[1], size)]
    async for (tile,), (data,) in read_ahead(source, groups, _DEPTH):
        yield tile, data, decode_bundle(data, tile.width)


async def _units(source: Source, pieces: list[_Piece], start: int, end: int) -> AsyncIterator[list[Logged]]:
    """What was read, once more and in units: those up to each status_root. Raises InputError where it changed."""
    reader = UnitReader(start)
    units: list[Logged] = []
    groups = [(piece.tile,) for piece in pieces]
    position = 0
    async for (tile,), (data,) in read_ahead(source, groups, _DEPTH):
        if sha256(data).digest() != pieces[position].digest:
            raise InputError(f"{source.name} changed while it was read: run this again")
        position += 1
        first = tile.index * TILE_WIDTH
        try:
            for logged in reader.feed(decode_bundle(data, tile.width)[max(0, start - first) : end - first]):
                units.append(logged)
                if isinstance(logged.entry, StatusRoot):
                    yield units
                    units = []
        except (RuleViolation, MalformedEntry) as error:
            raise ForkDetected(f"the released head covers what breaks a rule of the log: {error.detail}") from error
