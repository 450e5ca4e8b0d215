"""Receipts of what was logged, made here and written: fetched once are a head, some tiles and the lists' bits.

    1  the proof of a status list fixes the head: its bits, its status_root, the signed checkpoint
    2  for each submission: its entry, its key entries, and the nodes around its events, out of tiles and bundles
    3  the root over all that and the own events has to be the checkpoint's; one receipt is verified as others will do
    4  only now the journal says that the submission is logged: where it stands was the ledger's word so far
    5  the others are formatted and written to a staging folder, synced together, and renamed to their places

A receipt that stands under its name is whole and on the disk, whatever happens: it gets there by a rename, after one
sync for all files of a submission. What a crash leaves in the staging folder, the next run removes. The journal knows
what was logged, so receipts that are not there are made again.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ledger.checkpoint import Checkpoint
from ledger.cli.identity import Log
from ledger.cli.journal import Journal, Sent
from ledger.cli.reading import Item
from ledger.cli.trust import ReceiptChecker
from ledger.cli.workers import Workers, chunked, together
from ledger.entry import NONE_INDEX, IssuerKey, Submission, decode, encode
from ledger.errors import ProofInvalid, VerificationError
from ledger.listproof import ProvenList, verify_list_proof
from ledger.localreceipts import Template, event_proofs, fixed_leaves, plan_range, range_proofs
from ledger.merkle import build
from ledger.note import parse_note
from ledger.receipt import MAX_KEYS, Receipt
from ledger.status import list_of
from ledger.tilereader import TileCache
from ledger.tiles import ENTRIES_LEVEL, TILE_WIDTH, Tile, decode_bundle
from ledger.verify import verify_receipt

if TYPE_CHECKING:
    from ledger.client import LedgerClient, Profile
    from ledger.policy import Policy

STAGING: Final = ".badge-ledger-staging"
#: Receipts that one task formats and writes.
_TASK_ROWS: Final = 500
#: Submissions whose receipts are in memory at once: while one is synced, the next one is written.
_AT_ONCE: Final = 2


class Logged(NamedTuple):
    """A submission that is in the log, with the badges in it whose receipts are wanted: equal ones together.

    `before`: it was there before this run, by the journal; `journal`: what is proven of it is written down there.
    """

    sent: Sent
    groups: list[list[Item]]
    before: bool
    journal: Journal


class Row(NamedTuple):
    """What one receipt has for itself. `at`: the log index of its issue entry; the proofs: their hashes, joined."""

    at: int
    issue: bytes
    salt: bytes | None
    chunk: bytes
    log_proof: bytes
    status_proof: bytes
    events_proof: bytes


class Head:
    """One published head, verified, and what is read under it: tiles, entries, status lists."""

    def __init__(self, client: LedgerClient, log: Log, first: ProvenList) -> None:
        self._client = client
        self._log = log
        self.checkpoint: Checkpoint = first.checkpoint
        self.note = parse_note(first.proof.checkpoint)
        self.status_root = first.proof.status_root
        self.time_s = first.status_root.time // 1000
        self._lists = {first.proof.list: first}
        self._status: dict[int, tuple[bytes, bytes]] = {}
        self._bundles: dict[int, list[bytes]] = {}
        self._tiles = TileCache(self)

    @classmethod
    async def fetch(cls, client: LedgerClient, log: Log, number: int) -> Head:
        """The newest head, with the status list `number`. Raises VerificationError."""
        return cls(client, log, await _proven(client, log, number, None))

    @property
    def size(self) -> int:
        return self.checkpoint.size

    async def read_tiles(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """For `TileCache`."""
        return dict(zip(tiles, await asyncio.gather(*map(self._client.tile, tiles)), strict=True))

    async def entry(self, index: int) -> bytes:
        """The entry at `index`; proven only by the root that it goes into."""
        number = index // TILE_WIDTH
        if number not in self._bundles:
            tile = Tile(ENTRIES_LEVEL, number, min(TILE_WIDTH, self.size - number * TILE_WIDTH))
            self._bundles[number] = decode_bundle(await self._client.tile(tile), tile.width)
        return self._bundles[number][index % TILE_WIDTH]

    async def outside(self, first: int, count: int, fixed: Sequence[int]) -> list[bytes]:
        """The hashes around the leaves [first, first + count), as `range_proofs` takes them."""
        plan = plan_range(first, count, fixed, self.size)
        return build(plan, await self._tiles.nodes([node for group in plan for node in group], self.size))

    async def load_lists(self, slots: Sequence[int]) -> None:
        """Have the status of these slots at hand. Raises VerificationError."""
        for number in sorted({list_of(slot) for slot in slots} - self._lists.keys()):
            proven = await _proven(self._client, self._log, number, self.size)
            if proven.proof.status_root != self.status_root:
                raise ProofInvalid(f"the ledger proves list {number} under another status_root of the same head")
            self._lists[number] = proven

    def status_of(self, slot: int) -> tuple[bytes, bytes]:
        """(chunk, its proof, joined) of a slot whose list is loaded."""
        found = self._status.get(slot >> 8)
        if found is None:
            chunk, proof = self._lists[list_of(slot)].status_proof(slot)
            found = self._status[slot >> 8] = (chunk, b"".join(proof))
        return found


async def _proven(client: LedgerClient, log: Log, number: int, size: int | None) -> ProvenList:
    proof = await client.list_proof(number, size)
    entry = decode(proof.status_root)
    # Judged at its own time: the issuer's clock decides nothing here, and verifiers have theirs.
    proven = verify_list_proof(proof, policy=log.keys, now_s=getattr(entry, "time", 0) // 1000)
    if (proof.list, proof.origin) != (number, log.origin) or proof.size != (size or proof.tree_size):
        raise ProofInvalid(f"the ledger answered with the proof of another list than {number}")
    return proven


class ReceiptWriter:
    """Writes receipts below `out`, as a context manager. One at a time: the journal's lock sees to that."""

    def __init__(
        self,
        client: LedgerClient,
        log: Log,
        out: Path,
        workers: Workers,
        *,
        profile: Profile,
        policy: Policy | None,
        advance: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._client = client
        self._log = log
        self._out = out
        self._workers = workers
        self._full = profile == "full"
        self._checker = ReceiptChecker(log, policy, client.clock)
        self._advance = advance
        self._staging = out / STAGING
        self._staged = 0
        self._folders: set[str] = set()

    def __enter__(self) -> ReceiptWriter:
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)

    async def write_all(self, queue: asyncio.Queue[Logged | None]) -> None:
        """The receipts of what comes through the queue, until None does. Raises as `write` does."""
        more = True
        while more:
            batch = [await queue.get()]
            while not queue.empty():
                batch.append(queue.get_nowait())
            more = None not in batch
            await self.write([each for each in batch if each is not None])

    async def write(self, logged: Sequence[Logged]) -> None:
        """The receipts of these submissions, under one head. Raises VerificationError and what the client raises;
        OSError of the disk."""
        if not logged:
            return
        head = await Head.fetch(self._client, self._log, list_of(logged[0].sent.block.slots[0]))
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(each: Logged) -> None:
            async with gate:
                await self._write(head, each)

        await together([one(each) for each in logged])

    async def _write(self, head: Head, logged: Logged) -> None:
        sent = logged.sent
        if sent.first_index is None:
            raise ProofInvalid("a receipt was asked for what is not in the log")
        try:
            rows, sample = await self._prove(head, sent, logged.groups)
        except VerificationError:
            logged.journal.disproved(sent)
            raise
        logged.journal.logged(sent)
        todo: list[tuple[str, Row]] = []
        for group, row in zip(logged.groups, rows, strict=True):
            for receipt in dict.fromkeys(item.receipt for item in group):
                todo.append((receipt, row))
        first, self._staged = self._staged, self._staged + len(todo)
        staging = str(self._staging)
        tasks = []
        for start in range(0, len(todo), _TASK_ROWS):
            part = [row for _, row in todo[start : start + _TASK_ROWS]]
            tasks.append(self._workers.run(write_rows, staging, first + start, sample, part))
        await together(tasks)
        await asyncio.to_thread(sync_folder, self._staging)
        self._make_folders([receipt for receipt, _ in todo])
        names = [(first + k, receipt) for k, (receipt, _) in enumerate(todo)]
        await together(
            [self._workers.run(move, staging, str(self._out), part) for part in chunked(names, 4 * _TASK_ROWS)]
        )
        for group, row in zip(logged.groups, rows, strict=True):
            slot = int.from_bytes(row.issue[34:42], "big")
            for k, item in enumerate(group):
                item.slot, item.index = slot, row.at
                item.result = "present" if k or logged.before else "issued"
            self._advance(len(group))

    async def _prove(self, head: Head, sent: Sent, groups: list[list[Item]]) -> tuple[list[Row], Receipt]:
        """The rows of the groups, and a receipt of this submission that was verified."""
        block, at = sent.block, sent.first_index or 0
        first, count, size = at + 1, block.count, head.size
        if not 0 < first < size - count:
            raise ProofInvalid("the ledger's newest head does not reach to its answer to the submission")
        keys = await _key_chain(head, block.submission.key) if self._full else ()
        submission = await head.entry(at) if self._full else b""
        if self._full and not _same_submission(submission, block.submission):
            raise ProofInvalid(f"entry {at} of the log is not the submission that was signed")
        shown = {size - 1: head.status_root} | ({at: submission, **dict(keys)} if self._full else {})
        fixed = fixed_leaves(shown)
        root, log_proofs = range_proofs(
            first, block.leaf_hashes, fixed, size, await head.outside(first, count, list(fixed))
        )
        if root != head.checkpoint.root:
            raise ProofInvalid("the ledger's log holds other events than those that were signed")
        events_proofs = event_proofs(block.leaf_hashes, block.events_root) if self._full else [b""] * count
        await head.load_lists(block.slots)
        rows = []
        for group in groups:
            k = sent.position(group[0].commitment)
            chunk, status_proof = head.status_of(block.slots[k])
            rows.append(
                Row(first + k, block.entry(k), group[0].salt, chunk, log_proofs[k], status_proof, events_proofs[k])
            )
        sample = self._receipt(head, (at, submission) if self._full else None, keys, rows[0])
        verify_receipt(
            sample,
            policy=self._log.keys,
            now_s=head.time_s,
            commitment=groups[0][0].commitment,
            issuer=block.submission.issuer,
        )
        return rows, self._checker.trimmed(sample)

    def _receipt(
        self, head: Head, submission: tuple[int, bytes] | None, keys: Sequence[tuple[int, bytes]], row: Row
    ) -> Receipt:
        return Receipt(
            full=self._full,
            salt=None,
            origin=self._log.origin,
            tree_size=head.size,
            index=row.at,
            issue=row.issue,
            status_root=head.status_root,
            chunk=row.chunk,
            submission=submission,
            keys=tuple(keys),
            log_proof=_hashes(row.log_proof),
            status_proof=_hashes(row.status_proof),
            events_proof=_hashes(row.events_proof),
            signatures=head.note.signatures,
        )

    def _make_folders(self, receipts: Sequence[str]) -> None:
        folders = {receipt.rpartition("/")[0] for receipt in receipts} - self._folders
        for folder in folders:
            (self._out / folder).mkdir(parents=True, exist_ok=True)
        self._folders |= folders


async def _key_chain(head: Head, key: int) -> list[tuple[int, bytes]]:
    """The key entry at `key`, its signer's, and so on to the issuer's first."""
    chain: list[tuple[int, bytes]] = []
    while key != NONE_INDEX:
        if key >= head.size or len(chain) >= MAX_KEYS:
            raise ProofInvalid("the ledger shows no chain of keys that ends in the issuer's first")
        data = await head.entry(key)
        entry = decode(data)
        if not isinstance(entry, IssuerKey) or (chain and key >= chain[-1][0]):
            raise ProofInvalid(f"entry {key} of the log is not the key that it should be")
        chain.append((key, data))
        key = entry.signer
    return chain


def _same_submission(data: bytes, signed: Submission) -> bool:
    """Whether the entry is what was signed, at whatever time the ledger logged it."""
    entry = decode(data)
    return isinstance(entry, Submission) and encode(msgspec.structs.replace(signed, time=entry.time)) == data


def _hashes(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + 32] for at in range(0, len(joined), 32))


# In the processes ----------------------------------------------------------------------------------------------------


def write_rows(staging: str, first: int, sample: Receipt, rows: Sequence[Row]) -> None:
    """Write the receipts of these rows as STAGING/<first>, <first + 1>, ... Raises OSError."""
    template = Template(sample)
    for number, row in enumerate(rows, first):
        data = template.format(*row)
        file = os.open(f"{staging}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # A full disk is no file's fault to the system, which names none; the folder is what people know.
            raise OSError(error.errno, error.strerror, os.path.dirname(staging)) from error
        finally:
            os.close(file)


def move(staging: str, out: str, names: Sequence[tuple[int, str]]) -> None:
    """Rename STAGING/<number> to OUT/<name>. Raises OSError."""
    for number, name in names:
        os.replace(f"{staging}/{number}", f"{out}/{name}")


def sync_folder(folder: Path) -> None:
    """Everything written to the folder's file system is on the disk when this returns. Raises OSError."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # not Linux
        os.sync()
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(opened):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(opened)
