"""From an integrated head to a published one: receipts never race it, heartbeats, clocks, and guards that fail."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from ledger.checkpoint import open_checkpoint
from ledger.entry import StatusRoot, decode
from ledger.receipt_json import parse_json
from tests.service.gates import GateGuard
from tests.service.harness import Client, Party, TurnedClock, World, prove, unique, until
from tests.store.conftest import RunSql

# Receipts and the head ------------------------------------------------------------------------------------------------


async def test_nothing_is_shown_before_its_head_is_published(world: World, gate: GateGuard) -> None:
    """While publication hangs: no answer, no receipt, no tile, no slot state, no issuer of what is integrated only."""
    service = await world.start(guard=gate, answer_timeout_s=0.3)
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.issues(300))
    before = await client.head_size()
    gate.gate.clear()
    commitment, slot = unique(), party.slot()
    pending = await client.send(party.block([party.issue(slot, commitment)]))
    assert pending.type == "pending"
    index = pending.json["first_index"] + 1
    assert service.node.sequencer.replay.size > index
    assert await client.head_size() == before
    assert (await client.get(f"/v1/receipts/{index}")).status == 404
    assert (await client.get(f"/v1/badges/{commitment.hex()}")).status == 404
    assert (await client.get(f"/tile/entries/001.p/{index % 256 + 1}")).status == 404
    assert (await client.get(f"/tile/0/001.p/{index % 256 + 1}")).status == 404
    assert (await client.get(f"/v1/log/inclusion?index={index}")).status == 404
    assert (await client.get(f"/v1/slots/{slot}")).type == "pending"
    assert (await client.get(f"/v1/issuers/{party.issuer.hex()}")).type == "pending"
    newcomer = Party("bob")
    answer = await client.post("/v1/issuers", newcomer.registration(), token=client.token)
    assert answer.type == "pending"
    gate.gate.set()
    await until(lambda: service.node.publication.head is not None and service.node.publication.head.size > index, "it")
    assert (await client.get(f"/v1/receipts/{index}")).status == 200
    assert (await client.get_json(f"/v1/slots/{slot}"))["state"] == "active"


async def test_tiles_of_a_signed_head_are_there_before_it_is_published(world: World, gate: GateGuard) -> None:
    """An auditing witness must see them before it cosigns: up to the guard's head, not up to the published one only."""
    service = await world.start(guard=gate)
    party = await Party("alice").register(service.client)
    await service.client.submit(party.issues(3))
    published = await service.client.head_size()
    # The guard moves, and then the publisher stands still before it publishes.
    stopped = asyncio.Event()

    async def hang(*_: object) -> None:
        stopped.set()
        await asyncio.Event().wait()

    service.node.publisher._release = hang  # type: ignore[method-assign,assignment]
    sending = asyncio.create_task(service.client.send(party.issues(2)))
    await stopped.wait()
    signed = (await gate.read()).size
    assert signed > published
    assert await service.client.head_size() == published
    assert (await service.client.get(f"/tile/entries/000.p/{signed}")).status == 200
    assert (await service.client.get(f"/tile/0/000.p/{signed}")).status == 200
    assert (await service.client.get(f"/tile/0/000.p/{signed + 1}")).status == 404
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_receipts_served_under_load_verify(world: World, gate: GateGuard) -> None:
    """With slow and irregular publication: every receipt, inline or asked for, verifies under one head, its own."""
    gate.delay_s = 0.05
    service = await world.start(guard=gate)
    other = await world.start(guard=gate)
    party = await Party("alice").register(service.client)
    policy = world.policy
    indexes: list[int] = []
    commitments: list[bytes] = []
    done = asyncio.Event()

    async def write(client: Client, count: int) -> None:
        for n in range(count):
            commitment = unique()
            block = party.block([party.issue(commitment=commitment), *[party.issue() for _ in range(n % 3 * 130)]])
            answer = await client.submit(block, query="?receipts=full" if n % 2 else "?receipts=short")
            for document in answer["receipts"][:2]:
                receipt = parse_json(json.dumps(document).encode())
                assert prove(receipt, policy).checkpoint.size == answer["head"]["size"]
            indexes.append(answer["first_index"] + 1)
            commitments.append(commitment)

    async def read(client: Client) -> int:
        rng, count = random.Random(5), 0
        while not done.is_set():
            if not indexes:
                await asyncio.sleep(0)
                continue
            which = rng.randrange(len(indexes))
            path = f"/v1/receipts/{indexes[which]}" if rng.random() < 0.5 else f"/v1/badges/{commitments[which].hex()}"
            answer = await client.get(f"{path}?profile={rng.choice(['short', 'full'])}")
            # The other node may learn of a head a moment later; an answer is never wrong.
            assert answer.status in (200, 404), answer
            if answer.status == 200:
                body = answer.body
                if "badges" in path:
                    body = body[body.index(b"[") + 1 : body.rindex(b"]")]
                prove(parse_json(body), policy)
                count += 1
            await client.get("/checkpoint")
        return count

    readers = [asyncio.create_task(read(s.client)) for s in (service, other) for _ in range(2)]
    writers = [asyncio.create_task(write(s.client, 15)) for s in (service, other) for _ in range(3)]
    await asyncio.gather(*writers)
    done.set()
    counts = await asyncio.gather(*readers)
    assert min(counts) > 10


# Heartbeat and clocks -------------------------------------------------------------------------------------------------


async def test_an_idle_ledger_beats(world: World) -> None:
    """After the heartbeat's time: a bare status_root and its head, nothing else; no size is signed a second time."""
    clock = TurnedClock()
    service = await world.start(clock=clock, lock_timeout_s=0.6)
    party = await Party("alice").register(service.client)
    await service.client.submit(party.issues(1))
    size = await service.client.head_size()
    for beat in range(1, 4):
        clock.turn(301)

        async def grown(wanted: int = size + beat) -> bool:
            return await service.client.head_size() >= wanted

        await until(grown, "the heartbeat")
        assert await service.client.head_size() == size + beat
    entries = [decode(entry) for entry in await service.store.read_entries(size, size + 3)]
    assert all(isinstance(entry, StatusRoot) for entry in entries)
    assert (await service.client.get("/readyz")).status == 200


async def test_a_jump_of_the_wall_clock_stops_writing(world: World) -> None:
    """Against the monotonic clock of the process, forwards or back: 503, nothing changed, until it is set right."""
    clock = TurnedClock()
    service = await world.start(clock=clock)
    client = service.client
    party = await Party("alice").register(client)
    logged = party.issues(1)
    await client.submit(logged)
    size = service.node.sequencer.replay.size
    block = party.issues(1)
    for seconds in (6, -6, 86_400, -86_400):
        clock.jump(seconds)
        answer = await client.send(block)
        assert (answer.status, answer.type) == (503, "clock")
        assert answer.headers["Retry-After"] == "30"
        # A repetition needs no clock.
        await client.submit(logged)
        clock.jump(-seconds)
    assert service.node.sequencer.replay.size == size
    await client.submit(block)


async def test_a_clock_away_from_the_databases_stops_writing(world: World) -> None:
    """Found by housekeeping: nothing is written until a later check finds the two together again."""
    clock = TurnedClock()
    service = await world.start(clock=clock)
    party = await Party("alice").register(service.client)
    clock.turn(3)
    await service.node.housekeep()
    await service.client.submit(party.issues(1))
    clock.turn(3)
    with pytest.raises(Exception, match=r"6\.\d s from the database's"):
        await service.node.housekeep()
    block = party.issues(1)
    answer = await service.client.send(block)
    assert (answer.status, answer.type) == (503, "clock")
    clock.turn(-6)
    await service.node.housekeep()
    await service.client.submit(block)


async def test_a_node_with_a_wrong_clock_does_not_start(world: World) -> None:
    for seconds in (6, -6):
        clock = TurnedClock()
        clock.turn(seconds)
        with pytest.raises(Exception, match="from the database's"):
            await world.start(clock=clock)


async def test_a_clock_behind_the_log_stops_writing(world: World) -> None:
    """Another node wrote a later time: times never fall, and this node does not hide its clock behind the log's."""
    ahead, behind = TurnedClock(), TurnedClock()
    ahead.turn(4.5)
    behind.turn(-4.5)
    one, two = await world.start(clock=ahead), await world.start(clock=behind)
    party = await Party("alice").register(one.client)
    await one.client.submit(party.issues(1))
    answer = await two.client.send(party.issues(1))
    assert (answer.status, answer.type) == (503, "clock")
    assert "behind the log" in answer.json["detail"]


# Guards that fail -----------------------------------------------------------------------------------------------------


async def test_a_full_guard_answers_nobody_falsely_and_recovers(world: World, gate: GateGuard) -> None:
    """Swaps that fail are retried; meanwhile callers are told that it is logged and pending, never that it is done."""
    service = await world.start(guard=gate, answer_timeout_s=0.3)
    client = service.client
    party = await Party("alice").register(client)
    before = await client.head_size()
    gate.failures = 10_000
    block = party.issues(2)
    answer = await client.send(block)
    assert (answer.status, answer.type) == (503, "pending")
    assert await client.head_size() == before
    assert (await gate.read()).size == before
    gate.failures = 0

    async def answered() -> bool:
        return (await client.send(block)).status == 200

    await until(answered, "the guard has room again")
    assert service.node.stopped is None


async def test_a_swap_whose_answer_was_lost_succeeded(world: World, gate: GateGuard) -> None:
    """The register holds our value: the publication goes on, without a second signature."""
    service = await world.start(guard=gate)
    party = await Party("alice").register(service.client)
    gate.torn = 3
    for _ in range(3):
        await service.client.submit(party.issues(1))
    assert gate.torn == 0


async def test_the_publisher_stops_where_a_stored_tile_was_altered(
    world: World, gate: GateGuard, run_sql: RunSql
) -> None:
    """The proof from the released head fails: nothing is signed, writers are refused, readers keep the old head."""
    service = await world.start(guard=gate, answer_timeout_s=0.3)
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.issues(200))
    old = await client.get("/checkpoint")
    gate.gate.clear()
    await client.send(party.issues(1))  # the publisher takes this one as its candidate and waits at the guard
    pending = await client.send(party.issues(100))
    assert pending.type == "pending"
    await run_sql("UPDATE tiles SET data = set_byte(data, 100 * 32, get_byte(data, 100 * 32) # 1) WHERE level = 0")
    world.broken = "tile"
    gate.gate.set()
    await until(lambda: service.node.stopped is not None, "the publisher stops")
    assert service.node.stopped is not None
    assert service.node.stopped.slug == "fork"
    for answer in (await client.send(party.issues(1)), await client.get("/readyz")):
        assert (answer.status, answer.type) == (503, "ledger-stopped")
        assert answer.json["cause"].endswith("problem:fork")
    assert (await client.get("/healthz")).status == 200
    new = await client.get("/checkpoint")
    assert new.status == 200
    guard = await gate.read()
    key = world.signer.verifier_keys[0]
    assert open_checkpoint(new.body, key)[0].size == guard.size < service.node.sequencer.replay.size
    assert open_checkpoint(old.body, key)[0].size <= guard.size
    assert b"badge_ledger_stopped 1.0" in (await client.get("/metrics")).body


async def test_whoever_waits_when_the_ledger_stops_is_told_its_own_place(
    world: World, gate: GateGuard, run_sql: RunSql
) -> None:
    """Each waiting caller hears that the ledger stopped and where its own entries stand, not another's."""
    service = await world.start(guard=gate)
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.issues(200))
    gate.gate.clear()
    sending = [asyncio.create_task(client.send(party.issues(60)))]
    await until(lambda: service.node.sequencer.replay.size > 260, "the first is integrated")
    sending.append(asyncio.create_task(client.send(party.issues(7))))
    await until(lambda: service.node.sequencer.replay.size > 270, "the second is integrated")
    await run_sql("UPDATE tiles SET data = set_byte(data, 100 * 32, get_byte(data, 100 * 32) # 1) WHERE level = 0")
    await run_sql("UPDATE edge SET data = set_byte(data, 0, get_byte(data, 0) # 1)")
    world.broken = "tile"
    gate.gate.set()
    first, second = await asyncio.gather(*sending)
    stopped = [answer for answer in (first, second) if answer.status == 503]
    assert stopped
    for answer in stopped:
        assert answer.type == "ledger-stopped"
    places = {answer.json["first_index"] for answer in stopped}
    assert len(places) == len(stopped)
