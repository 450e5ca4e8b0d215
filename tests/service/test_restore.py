"""A database that lost its tail comes back from a mirror, up to the guard's head, and not beyond what is proven."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ledger.auditor.source import FolderSource, HttpSource
from ledger.client import LedgerClient
from ledger.cosignature import open_by_log
from ledger.errors import ForkDetected, GuardAhead, GuardMismatch, InputError, Unavailable
from ledger.guard import GuardHead, SqliteGuard
from ledger.mirror import Mirror
from ledger.node import Node
from ledger.restore import Restored, restore_tail
from ledger.tiles import Tile
from tests.service.databases import Databases
from tests.service.harness import Party, Service, World, seed, until
from tests.store.conftest import RunSql


async def keep(world: World, service: Service, folder: Path) -> FolderSource:
    """A mirror of the service as it stands."""
    async with LedgerClient(service.client.url) as client:
        await Mirror(HttpSource(client), folder, world.signer.verifier_keys).update()
    return FolderSource(folder)


async def restore(world: World, source: FolderSource, **options: Any) -> Restored:
    node = await world.make_node(**options)
    try:
        return await restore_tail(node, source)
    finally:
        await _close(node)


async def _close(node: Node) -> None:
    await node.store.close()
    await node.guard.close()


async def working(service: Service, party: Party) -> None:
    """The service has found its database again."""

    async def goes_on() -> bool:
        return (await service.client.send(party.issues(1))).status == 200

    await until(goes_on, "the service finds its database again")


async def lose_tail(world: World, service: Service, party: Party, databases: Databases, folder: Path) -> FolderSource:
    """A backup, then work of every kind, a mirror, and the backup instead of the database."""
    await service.client.submit(party.issues(3))
    backup = await databases.copy()
    await working(service, party)
    await service.client.submit(party.issues(600))
    slots = [party.slot() for _ in range(2)]
    await service.client.submit(party.block([party.issue(slot) for slot in slots]))
    await service.client.submit(party.block([party.revoke(slots[0]), party.suspend(slots[1])]))
    await Party("latecomer").register(service.client)
    mirror = await keep(world, service, folder)
    await world.stop(service)
    await databases.bring_back(backup)
    return mirror


async def test_a_lost_tail_comes_back(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """Refused before, whole after: every head, receipt and status as it was, and the ledger goes on."""
    mirror = await lose_tail(world, service, party, databases, tmp_path / "mirror")
    with pytest.raises(GuardAhead, match="badge-ledger restore-tail"):
        await world.start()
    restored = await restore(world, mirror)
    assert restored.after > restored.before + 600
    assert restored.commits >= 4
    assert restored.closed_lists >= 1
    assert (await restore(world, mirror)).commits == 0
    service = await world.start()
    assert await service.client.head_size() >= restored.after
    await service.client.submit(party.issues(2))


async def test_slots_come_from_new_lists_only(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """What was handed out since the backup is forgotten, so the old lists hand out nothing more."""
    mirror = await lose_tail(world, service, party, databases, tmp_path / "mirror")
    await restore(world, mirror)
    service = await world.start()
    known = len(service.node.sequencer.replay.lists)
    slots = await party.reserve(service.client, 5)
    assert all(slot >> 17 >= known for slot in slots)


async def test_a_whole_database_comes_back(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """Nothing is left but keys, guard and mirror: the whole log is replayed into an empty database."""
    await service.client.submit(party.issues(300))
    mirror = await keep(world, service, tmp_path / "mirror")
    size = await service.client.head_size()
    await world.stop(service)
    await databases.lose()
    restored = await restore(world, mirror)
    assert (restored.before, restored.after) == (0, size)
    service = await world.start()
    await service.client.submit(party.issues(1))


class Breaking(FolderSource):
    """Fails once the second reading has come to its `left`-th bundle."""

    def __init__(self, folder: Path, left: int) -> None:
        super().__init__(folder)
        self.left = left

    async def tile(self, tile: Tile) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("gone")
        return await super().tile(tile)


async def test_a_restore_that_broke_off_goes_on(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """Wherever it stops, the service still refuses to start, and the same command ends it."""
    mirror = await lose_tail(world, service, party, databases, tmp_path / "mirror")
    befores = []
    for left in (0, 2, 3, 4, 5):
        with pytest.raises(Unavailable):
            await restore(world, Breaking(tmp_path / "mirror", left))
        with pytest.raises(GuardAhead):
            await world.start()
        node = await world.make_node()
        befores.append((await node.store.head()).size)
        await _close(node)
    assert befores == sorted(befores)
    await restore(world, mirror)
    await world.start()


def copy_guard(world: World, copy: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(world.guard_path)) as guard,
        contextlib.closing(sqlite3.connect(copy)) as to,
    ):
        guard.backup(to)


def put_guard_back(world: World, copy: Path) -> None:
    for name in ("-wal", "-shm"):
        Path(f"{world.guard_path}{name}").unlink(missing_ok=True)
    shutil.move(copy, world.guard_path)


async def standing_head(world: World) -> GuardHead:
    guard = await world.open_guard()
    try:
        return await guard.read()
    finally:
        await guard.close()


async def test_database_and_guard_put_back_together(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """A snapshot of the whole machine: only witnesses and mirrors know of the later heads. The mirror's is one that the
    log signed, so the guard moves to it before the first entry is written: half a restore is not taken for the log."""
    await service.client.submit(party.issues(3))
    older = tmp_path / "older.db"
    await world.stop(service)
    copy_guard(world, older)
    service = await world.start()
    mirror = await lose_tail(world, service, party, databases, tmp_path / "mirror")
    put_guard_back(world, older)
    put_back = await standing_head(world)
    bundle = tmp_path / "mirror" / "tile" / "entries" / "001"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
    with pytest.raises(InputError, match="to the mirror's head"):
        await restore(world, mirror)
    assert await standing_head(world) == put_back
    bundle.write_bytes(whole)
    with pytest.raises(Unavailable):
        await restore(world, Breaking(tmp_path / "mirror", 4))
    with pytest.raises(GuardAhead):
        await world.start()
    restored = await restore(world, mirror)
    standing = await standing_head(world)
    note = await mirror.checkpoint()
    checkpoint, _ = open_by_log(note, world.signer.verifier_keys)
    assert put_back.size < restored.before < restored.after == standing.size == checkpoint.size
    assert standing.root == checkpoint.root
    service = await world.start()
    assert await service.client.head_size() >= checkpoint.size
    await service.client.submit(party.issues(2))


class PinnedGuard:
    """A world's guard with another head in it, that nobody may move."""

    def __init__(self, guard: SqliteGuard, head: GuardHead) -> None:
        self._guard = guard
        self._head = head
        self.identity = guard.identity

    async def read(self) -> GuardHead:
        return self._head

    async def swap(self, expected: GuardHead, new: GuardHead) -> None:
        raise AssertionError("the guard was moved")

    async def close(self) -> None:
        await self._guard.close()


async def test_a_mirror_that_passes_the_guard_by(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """It goes on beyond the guard's head and our keys signed it, but does not come by that head: a second history."""
    mirror = await lose_tail(world, service, party, databases, tmp_path / "mirror")
    node = await world.make_node()
    size = (await node.store.head()).size
    await _close(node)
    for between in (size + 1, size + 300):
        guard = PinnedGuard(await world.open_guard(), GuardHead(between, seed("a second history"), 1))
        with pytest.raises(InputError, match=f"to the guard's head of {between}"):
            await restore(world, mirror, guard=guard)
    node = await world.make_node()
    assert (await node.store.head()).size == size
    await _close(node)
    await restore(world, mirror)
    await world.start()


async def test_what_is_not_the_lost_tail_is_not_written(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """A mirror that ends too early, one with a byte changed, one that changes between two readings."""
    folder = tmp_path / "mirror"
    early = await keep(world, service, tmp_path / "early")
    mirror = await lose_tail(world, service, party, databases, folder)
    with pytest.raises(InputError, match="a newer mirror is needed"):
        await restore(world, early)
    bundle = sorted((folder / "tile" / "entries").glob("0*"))[0]
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
    with pytest.raises(InputError, match="nothing was written"):
        await restore(world, mirror)
    bundle.write_bytes(whole)

    class Changing(FolderSource):
        seen = 0

        async def tile(self, tile: Tile) -> bytes:
            self.seen += 1
            data = await super().tile(tile)
            return data if self.seen < 4 else data[:-1] + bytes((data[-1] ^ 1,))

    node = await world.make_node()
    before = (await node.store.head()).size
    await _close(node)
    with pytest.raises(InputError, match="changed while it was read"):
        await restore(world, Changing(folder))
    node = await world.make_node()
    assert (await node.store.head()).size >= before
    await _close(node)
    await restore(world, mirror)
    await world.start()


async def test_another_logs_guard(
    world: World, service: Service, party: Party, databases: Databases, tmp_path: Path
) -> None:
    """The register of another log says nothing about this database."""
    mirror = await lose_tail(world, service, party, databases, tmp_path / "mirror")
    other = await SqliteGuard.open(tmp_path / "other.db")
    await other.swap(GuardHead(0, (await other.read()).root, 0), GuardHead(5, seed("other"), 1))
    with pytest.raises(GuardMismatch):
        await restore(world, mirror, guard=other)
    await restore(world, mirror)
    await world.start()


async def test_a_database_of_another_history(
    world: World, service: Service, party: Party, run_sql: RunSql, tmp_path: Path
) -> None:
    """It is not too short, it is another one: that is a fork, and no mirror mends it."""
    mirror = await keep(world, service, tmp_path / "mirror")
    await world.stop(service)
    (row,) = await run_sql("SELECT tree_size, root FROM commits ORDER BY tree_size DESC LIMIT 1")
    await run_sql("UPDATE commits SET root = $1 WHERE tree_size = $2", bytes(32), row["tree_size"])
    with pytest.raises(ForkDetected):
        await restore(world, mirror)
    await run_sql("UPDATE commits SET root = $1 WHERE tree_size = $2", row["root"], row["tree_size"])
