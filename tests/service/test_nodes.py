"""Nodes: side by side on one database, restarted, with the wrong guard, after a failover that lost a tail."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import ledger.node
import ledger.sequencer_state
import ledger.store.session
import ledger.store.store
from api.context import CONTEXT
from ledger.block import Block
from ledger.errors import (
    DatabaseError,
    ForkDetected,
    GuardAhead,
    GuardMismatch,
    LedgerError,
    OperationError,
    OutcomeUnknown,
)
from ledger.guard import GuardHead, SqliteGuard
from ledger.node import Node
from ledger.publisher import HeadSigner
from ledger.replay import Replay
from ledger.sequencer import Sequencer
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.store import Store
from tests.service.conftest import Refuses
from tests.service.databases import Databases
from tests.service.gates import GateGuard, locked_head
from tests.service.harness import Client, Party, Service, TurnedClock, World, seed, unique, until
from tests.store.conftest import RunSql

# Side by side ---------------------------------------------------------------------------------------------------------


async def test_two_nodes_write_one_history(world: World) -> None:
    """Load on both at once: every answer true, one of them publishes, and either serves what the other logged."""
    one, two = await world.start(), await world.start()
    parties = [await Party(f"issuer {n}").register((one, two)[n % 2].client) for n in range(4)]

    async def work(party: Party, client: Client, other: Client) -> None:
        for n in range(5):
            commitment = unique()
            slot = party.slot()
            answer = await client.submit(
                party.block([party.issue(slot, commitment), *[party.issue() for _ in range(n)]])
            )
            there = other if n % 2 else client

            async def served(path: str = f"/v1/badges/{commitment.hex()}", at: Client = there) -> bool:
                return (await at.get(path)).status == 200

            await until(served, "the badge on the other node")
            await client.submit(party.block([party.suspend(slot)]))
            await other.submit(party.block([party.reinstate(slot)]))
            await client.submit(party.block([party.revoke(slot)]))
            assert answer["count"] == n + 1

    await asyncio.gather(
        *[
            work(party, *((one.client, two.client) if n < 2 else (two.client, one.client)))
            for n, party in enumerate(parties)
        ]
    )
    assert sorted((one.node.publisher.is_publisher, two.node.publisher.is_publisher)) == [False, True]
    for service in (one, two):
        assert service.node.sequencer.commits > 5


async def test_what_one_node_learns_the_other_uses(world: World) -> None:
    """An issuer, a key and a list made through one node serve on the other at once."""
    one, two = await world.start(), await world.start()
    party = await Party("alice").register(one.client)
    await two.client.submit(party.issues(1))
    key = Ed25519Key.from_seed(seed("helper"))
    index = await party.add_key(two.client, key, roles=1)
    await one.client.submit(party.block([party.issue()], key=key, index=index))
    again = await two.client.post("/v1/issuers", party.registration(), token=two.client.token)
    assert again.status == 200
    bob = Party("bob")
    assert (await one.client.post("/v1/issuers", bob.registration(), token=one.client.token)).status == 201
    assert (await two.client.post("/v1/issuers", bob.registration(), token=two.client.token)).status == 200
    slots = await party.reserve(one.client, 20)
    await two.client.submit(party.block([party.issue(slot) for slot in slots[:10]]))
    assert not set(await party.reserve(one.client, 50)) & set(slots)


async def test_the_other_node_takes_over_publication(world: World) -> None:
    one = await world.start()
    two = await world.start()
    party = await Party("alice").register(two.client)
    await two.client.submit(party.issues(1))
    assert one.node.publisher.is_publisher
    await world.stop(one)
    await two.client.submit(party.issues(1))
    await until(lambda: two.node.publisher.is_publisher, "the other node publishes")


# Belonging together ---------------------------------------------------------------------------------------------------


async def refused_start(world: World, kind: type[LedgerError], **parameters: Any) -> str:
    with pytest.raises(kind) as raised:
        await world.start(**parameters)
    assert type(raised.value) is kind
    return raised.value.detail


async def test_a_node_with_another_guard_does_not_start(world: World, service: Service, party: Party) -> None:
    """A new guard, or one that has served another log, larger or smaller: refused, and left as it was."""
    await service.client.submit(party.issues(1))
    for size in (0, 1, 10_000):
        guard = await SqliteGuard.open(world.directory / f"guard{size}.db")
        if size:
            await guard.swap(await guard.read(), GuardHead(size, seed("root"), 1))
        detail = await refused_start(world, GuardMismatch, guard=guard)
        assert "another guard" in detail
        again = await SqliteGuard.open(world.directory / f"guard{size}.db")
        assert (await again.read()).size == size
        await again.close()
    await service.client.submit(party.issues(1))


async def test_a_database_without_its_guard_does_not_start(world: World, service: Service, run_sql: RunSql) -> None:
    await service.client.get("/checkpoint")
    await world.stop(service)
    await run_sql("DELETE FROM meta WHERE key = 'guard'")
    await refused_start(world, GuardMismatch)
    await run_sql("INSERT INTO meta VALUES ('guard', $1)", (await world.open_guard()).identity.encode())
    await world.start()


async def test_other_keys_or_another_origin_do_not_start(world: World, service: Service) -> None:
    await service.client.get("/checkpoint")
    await world.stop(service)
    other = HeadSigner("ledger.example/service", Ed25519Key.from_seed(seed("x")), MLDSA44Key.from_seed(seed("y")))
    assert "keys" in await refused_start(world, OperationError, signer=other)
    assert "origin" in await refused_start(world, OperationError, origin="other.example/log")
    await world.start()


async def test_a_database_behind_the_guard_does_not_start(
    world: World, service: Service, party: Party, databases: Databases
) -> None:
    """Restored from a backup: refused, with the remedies in order; with the right database everything goes on."""
    await service.client.submit(party.issues(1))
    backup = await databases.copy()

    async def goes_on() -> bool:
        return (await service.client.send(party.issues(1))).status == 200

    await until(goes_on, "the service finds its database again")
    await world.stop(service)
    last = await databases.copy()
    await databases.bring_back(backup)
    detail = await refused_start(world, GuardAhead)
    places = [detail.index(word) for word in ("old primary", "replica", "restore-tail", "successor", "never lowered")]
    assert places == sorted(places)
    await databases.bring_back(last)
    await world.start()


async def test_a_database_that_falls_behind_the_guard_stops_the_ledger(
    world: World, service: Service, party: Party, databases: Databases
) -> None:
    """The same while the service runs, by a failover that lost published entries: nothing is signed any more."""
    backup = await databases.copy()

    async def goes_on() -> bool:
        return (await service.client.send(party.issues(1))).status == 200

    await until(goes_on, "the service finds its database again")
    size = await service.client.head_size()
    last = await databases.copy()
    await until(goes_on, "the service finds its database again")
    last = await databases.copy()
    await databases.bring_back(backup)
    await until(lambda: service.node.stopped is not None, "the ledger stops")
    assert isinstance(service.node.stopped, GuardAhead)
    refused = await service.client.send(party.issues(1))
    assert (refused.status, refused.type) == (503, "ledger-stopped")
    assert "restore-tail" in refused.json["detail"]
    assert await service.client.head_size() > size
    await world.stop(service)
    await databases.bring_back(last)
    await world.start()


async def test_a_lost_database_beside_a_guard_does_not_start(world: World, service: Service, run_sql: RunSql) -> None:
    """An empty database with a guard that has signed: the remedies, not a new log under the old keys."""
    await service.client.get("/checkpoint")
    await world.stop(service)
    guard = await world.open_guard()
    size = (await guard.read()).size
    await guard.close()
    kept = {name: await run_sql(f"SELECT * FROM {name}") for name in ("meta", "head")}
    await run_sql("DELETE FROM meta")
    await run_sql("UPDATE head SET size = 0, root = sha256(''), time_ms = 0")
    detail = await refused_start(world, GuardAhead)
    assert f"size {size} was released" in detail
    await run_sql("DELETE FROM meta")
    for row in kept["meta"]:
        await run_sql("INSERT INTO meta VALUES ($1, $2)", row["key"], row["value"])
    (head,) = kept["head"]
    await run_sql("UPDATE head SET size = $1, root = $2, time_ms = $3", head["size"], head["root"], head["time_ms"])


async def test_a_guard_that_released_another_history_stops_the_ledger(world: World, gate: GateGuard) -> None:
    """The guard names another root for a size that the database has: somebody signed another history with our keys."""
    service = await world.start(guard=gate, answer_timeout_s=0.2)
    party = await Party("alice").register(service.client)
    gate.gate.clear()
    assert (await service.client.send(party.issues(2))).type == "pending"
    size = (await service.store.head()).size
    await world.stop(service)
    standing = await gate.read()
    plain = await world.open_guard()
    await plain.swap(standing, GuardHead(size, seed("another root"), standing.time_s + 1))
    await plain.close()
    gate.gate.set()
    world.broken = "guard"
    service = await world.start(guard=gate)
    await until(lambda: service.node.stopped is not None, "the ledger stops")
    assert isinstance(service.node.stopped, ForkDetected)
    assert "another history was signed" in service.node.stopped.detail
    refused = await service.client.send(party.issues(1))
    assert (refused.status, refused.type) == (503, "ledger-stopped")


async def test_a_published_head_ahead_of_the_guard_does_not_start(world: World) -> None:
    """The guard was rolled back (its identity is the same): it did not release what is published."""
    service = await world.start()
    party = await Party("alice").register(service.client)
    await world.stop(service)
    backup = world.directory / "backup"
    shutil.copy(world.guard_path, backup)
    service = await world.start()
    await service.client.submit(party.issues(1))
    await world.stop(service)
    newest = world.directory / "newest"
    shutil.copy(world.guard_path, newest)
    rolled_back = await SqliteGuard.open(backup)
    with pytest.raises(ForkDetected, match="ahead of the guard"):
        await world.start(guard=rolled_back)


async def test_two_nodes_that_start_at_once_open_one_log(world: World) -> None:
    """An empty database, an empty guard, two nodes: one log_params, one history."""
    one, two = await asyncio.gather(world.start(), world.start())
    party = await Party("alice").register(one.client)
    await two.client.submit(party.issues(1))


# Restarts -------------------------------------------------------------------------------------------------------------


async def fill(service: Service, party: Party) -> None:
    """Some of everything, blocks of more than 256 events among it."""
    client = service.client
    for count in (1, 300, 2, 1000, 255):
        block = party.issues(count)
        await client.submit(block)
        await client.submit(party.block([party.suspend(block.slots[0]), party.revoke(block.slots[-1])]))
    helper = Ed25519Key.from_seed(unique())
    await party.add_key(client, helper, roles=1)
    await party.retire_key(client, helper, roles=1)
    await party.reserve(client, 10)


async def test_a_restart_knows_everything(world: World, service: Service, party: Party) -> None:
    """Replayed from the first entry: the same state to the byte, also behind submissions of more than 256 events."""
    await fill(service, party)
    _, before = await service.node.sequencer.snapshot()
    await world.stop(service)
    service = await world.start()
    assert (await service.node.sequencer.snapshot())[1] == before
    await fill(service, party)


async def test_housekeeping_and_a_start_from_its_snapshot(
    world: World, service: Service, party: Party, run_sql: RunSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookup index is filled, the snapshot stored; a start reads only what lies behind it and is in the same state
    as one that replays everything."""
    monkeypatch.setattr(ledger.node, "SNAPSHOT_ENTRIES", 1000)
    await fill(service, party)
    commitment = unique()
    await service.client.submit(party.block([party.issue(commitment=commitment)]))
    await service.node.housekeep()
    filled_to = await service.store.lookup_filled_to()
    assert filled_to == (await service.store.head()).published_size
    assert len(service.node.lookup) == 0
    assert (await service.client.get(f"/v1/badges/{commitment.hex()}")).status == 200
    (row,) = await run_sql("SELECT size FROM snapshots")
    assert row["size"] == filled_to
    late = unique()
    await service.client.submit(party.block([party.issue(commitment=late)]))
    await service.node.housekeep()
    assert len(await run_sql("SELECT size FROM snapshots")) == 1
    _, state = await service.node.sequencer.snapshot()
    await world.stop(service)

    reads: list[int] = []
    read_entries = Store.read_entries

    async def spy(store: Store, start: int, end: int) -> list[bytes]:
        reads.append(start)
        return await read_entries(store, start, end)

    monkeypatch.setattr(Store, "read_entries", spy)
    service = await world.start()
    assert (await service.node.sequencer.snapshot())[1] == state
    assert min(reads) >= filled_to - 256
    for wanted in (commitment, late):
        assert (await service.client.get(f"/v1/badges/{wanted.hex()}")).status == 200
    await service.client.submit(party.issues(300))
    _, state = await service.node.sequencer.snapshot()
    await world.stop(service)

    await run_sql("UPDATE snapshots SET data = set_byte(data, 4, 99)")  # a version that this code does not read
    reads.clear()
    service = await world.start()
    assert min(reads) == 0
    assert (await service.node.sequencer.snapshot())[1] == state
    assert Replay.from_snapshot(state).size == service.node.sequencer.replay.size


async def test_a_snapshot_of_another_log_is_refused(
    world: World, service: Service, party: Party, run_sql: RunSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger.node, "SNAPSHOT_ENTRIES", 10)
    await service.client.submit(party.issues(20))
    await service.node.housekeep()
    size, data = await service.node.sequencer.snapshot()
    await service.client.submit(party.issues(20))
    await service.node.lookup.fill((await service.node.published()).size)
    await world.stop(service)
    await run_sql("INSERT INTO snapshots VALUES ($1, $2)", size + 3, data)
    with pytest.raises(ForkDetected, match="does not belong to this log"):
        await world.start()
    await run_sql("DELETE FROM snapshots WHERE size = $1", size + 3)
    await world.start()


async def test_expired_idempotency_keys_are_forgotten(
    world: World, run_sql: RunSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day after not_after, by housekeeping."""
    clock = TurnedClock()
    service = await world.start(clock=clock)

    async def turned_too() -> int:
        return clock.now_ms()

    monkeypatch.setattr(service.store, "database_now_ms", turned_too)
    party = await Party("alice").register(service.client)
    await service.client.submit(party.issues(1))
    clock.turn(26 * 3600)
    later = party.block([party.issue()], not_after=clock.now_ms() + 1000)
    await service.client.submit(later)
    await service.node.housekeep()
    (row,) = await run_sql("SELECT count FROM submissions")
    assert row["count"] == 1


# Failovers and lost answers -------------------------------------------------------------------------------------------


async def test_a_failover_that_lost_an_unpublished_tail(world: World, gate: GateGuard, databases: Databases) -> None:
    """Integrated, never published, lost: the node rereads and goes on; what was lost is logged when it is repeated."""
    service = await world.start(guard=gate, answer_timeout_s=0.3)
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.issues(10))
    gate.gate.clear()
    # The publisher takes a candidate and waits at the guard, so that what follows is integrated only.
    candidate = party.issues(1)
    assert (await client.send(candidate)).type == "pending"
    before = await databases.copy()
    lost = [party.issues(n) for n in (1, 300, 5)]

    async def integrated(block: Block) -> bool:
        return (await client.send(block)).type == "pending"

    for block in lost:
        await until(lambda block=block: integrated(block), "it is integrated")  # type: ignore[misc]
    size = service.node.sequencer.replay.size
    await databases.bring_back(before)
    gate.gate.set()
    later = party.issues(2)

    async def answered(block: Block) -> bool:
        answer = await client.send(block)
        assert answer.status in (200, 503), answer
        return answer.status == 200

    await until(lambda: answered(later), "the node goes on")
    assert service.node.stopped is None
    assert service.node.sequencer.replay.size < size
    for block in (candidate, *reversed(lost)):
        await until(lambda block=block: answered(block), "what was lost is logged again")  # type: ignore[misc]
    commitment = lost[1].commitments()[7]
    document = await client.get_json(f"/v1/badges/{commitment.hex()}")
    assert len(document["receipts"]) == 1
    await service.node.lookup.fill((await service.node.published()).size)


async def test_a_reading_that_breaks_off_is_no_fork(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that loses the database while it catches up goes on where it can, and does not take itself for forked."""
    monkeypatch.setattr(ledger.sequencer_state, "_PAGE", 20)
    one = await world.start()
    party = await Party("alice").register(one.client)

    def deaf(node: Node) -> None:
        async def no_news() -> None:
            """Learns nothing, so that it falls behind."""

        node._follow = no_news  # type: ignore[method-assign]
        node._listen = no_news  # type: ignore[method-assign]

    two = await world.start(prepare=deaf)
    for _ in range(30):
        await one.client.submit(party.issues(3))
    read_entries, calls = two.store.read_entries, 0

    async def breaks(start: int, end: int) -> list[bytes]:
        nonlocal calls
        calls += 1
        if calls in (3, 6):
            raise DatabaseError("reading tiles failed: connection was closed")
        return await read_entries(start, end)

    monkeypatch.setattr(two.store, "read_entries", breaks)
    sequencer: Sequencer = two.node.sequencer
    for _ in range(2):
        with pytest.raises(DatabaseError):
            await sequencer.refresh()
    await sequencer.refresh()
    assert sequencer.replay.size == one.node.sequencer.replay.size
    assert two.node.stopped is None
    assert len(two.node.lookup) == 90
    await two.node.lookup.fill(one.node.sequencer.replay.size)


Lossy = Callable[[Sequence[str]], None]


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> Lossy:
    """Plans the next commits of appends: "before" (the COMMIT never arrived), "after" (its answer got lost)."""
    commit = ledger.store.session.commit
    plan: list[str] = []

    async def commits(connection: Any, what: str) -> None:
        how = plan.pop(0) if plan else "whole"
        if how == "refused":
            await connection.execute("ROLLBACK")
            raise DatabaseError("the commit failed: no space left on device")
        if how == "before":
            await connection.execute("ROLLBACK")
        else:
            await commit(connection, what)
        if how in ("before", "after"):
            connection.terminate()
            raise OutcomeUnknown("the commit was sent and not answered: connection was closed", retry_after_s=1)

    monkeypatch.setattr(ledger.store.store, "commit", commits)
    return plan.extend


@pytest.mark.parametrize("how", ["before", "after"])
async def test_an_unknown_outcome_is_found_out_by_repeating(
    service: Service, client: Client, party: Party, lossy: Lossy, how: str
) -> None:
    """503 outcome-unknown; the identical request finds its entries or logs them now, once in either case."""
    await client.submit(party.issues(300))
    for _ in range(3):
        block = party.issues(2)
        size = service.node.sequencer.replay.size
        lossy([how])
        unknown = await client.send(block)
        assert (unknown.status, unknown.type) == (503, "outcome-unknown")
        answer = await client.submit(block)
        assert answer["first_index"] == size
    issuers = await client.get_json("/v1/issuers")
    assert len(issuers["issuers"]) == 1
    # Rereading met every entry again: the index takes each once all the same.
    rows = await service.node.lookup.fill((await service.node.published()).size)
    assert rows == 306


async def test_readers_never_see_half_a_log(
    service: Service, client: Client, party: Party, lossy: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an unknown outcome the log is read anew; meanwhile issuers, slots and badges are what they were."""
    block = party.issues(50)
    await client.submit(block)
    monkeypatch.setattr(ledger.sequencer_state, "_PAGE", 4)
    hold = asyncio.Event()
    read_entries = service.store.read_entries
    reading = asyncio.Event()

    async def slow(start: int, end: int) -> list[bytes]:
        if start > 8 and not hold.is_set() and end - start <= 4:
            reading.set()
            await hold.wait()
        return await read_entries(start, end)

    monkeypatch.setattr(service.store, "read_entries", slow)
    lossy(["after"])
    late = party.issues(1)
    assert (await client.send(late)).type == "outcome-unknown"
    repeating = asyncio.create_task(client.submit(late))
    await asyncio.wait_for(reading.wait(), 20)
    assert len((await client.get_json("/v1/issuers"))["issuers"]) == 1
    assert (await client.get_json(f"/v1/issuers/{party.issuer.hex()}"))["lists"] == [party.list]
    assert (await client.get(f"/v1/badges/{block.commitments()[3].hex()}")).status == 200
    assert b'badge_ledger_badges{state="issued"} 50.0' in (await client.get("/metrics")).body
    hold.set()
    await repeating


async def test_refusals_are_told_only_after_the_commit_that_caused_them(
    world: World, service: Service, client: Client, party: Party, lossy: Lossy
) -> None:
    """Two want one slot in one group and the commit fails: neither is told that the other has it."""
    slot = party.slot()
    rivals = [party.block([party.issue(slot)]) for _ in range(2)]
    async with locked_head(world.dsn):
        sending = [asyncio.create_task(client.send(block)) for block in rivals]
        await until(lambda: service.app[CONTEXT].inflight == 2, "both are in the service")
        # One of them may have been taken into a group of its own before the other came; then both groups fail.
        lossy(["refused", "refused"])
    answers = await asyncio.gather(*sending)
    assert {answer.type for answer in answers} == {"database"}
    lossy([])
    again = [await client.send(block) for block in rivals]
    while again[0].status == 503:
        again = [await client.send(block) for block in rivals]
    assert [answer.status for answer in again] == [200, 409]


async def test_a_database_that_goes_away_and_comes_back(
    service: Service, client: Client, party: Party, databases: Databases
) -> None:
    """Every session is cut, several times under load: callers get 503, repeat, and are answered once each."""

    async def work(block: Block) -> None:
        async def answered() -> bool:
            answer = await client.send(block)
            assert answer.status in (200, 503), answer
            assert answer.status == 200 or answer.headers["Retry-After"]
            return answer.status == 200

        await until(answered, "it is answered")

    for _ in range(3):
        working = [asyncio.create_task(work(party.issues(2))) for _ in range(8)]
        await databases.copy()
        await asyncio.gather(*working)
    assert service.node.stopped is None


async def test_tasks_that_a_bug_ends_begin_again(world: World, refuses: Refuses) -> None:
    """A bug in the publisher or the follower is logged and retried: writers are not left waiting for ever."""
    service = await world.start()
    party = await Party("alice").register(service.client)
    learn, failures = service.node.learn_published, 3

    async def buggy() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise KeyError("a bug")
        await learn()

    service.node.learn_published = buggy  # type: ignore[method-assign]
    service.node.publisher._on_published = buggy
    await service.client.submit(party.issues(1))
    assert failures == 0
