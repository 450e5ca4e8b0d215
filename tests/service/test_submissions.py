"""`POST /v1/submissions`: what is logged, how it is answered, and that the same bytes are logged once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from api.context import CONTEXT
from ledger.block import decode_body, encode_body
from ledger.checkpoint import open_checkpoint
from ledger.entry import encode
from ledger.receipt_json import parse_json
from ledger.signing import Ed25519Key
from ledger.text import parse_base64
from tests.service.conftest import Refuses
from tests.service.gates import GateGuard, locked_head
from tests.service.harness import (
    HOUR_MS,
    Client,
    Party,
    Service,
    TurnedClock,
    World,
    json_body,
    now_ms,
    prove,
    seed,
    until,
)


async def entries(service: Service, start: int, end: int) -> list[bytes]:
    return await service.store.read_entries(start, end)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1000])
async def test_events_stand_behind_their_submission(
    service: Service, client: Client, party: Party, count: int, as_json: bool
) -> None:
    """The answer names the submission entry; the events follow it, exactly as signed; the head covers them all."""
    block = party.issues(count)
    answer = await client.submit(block, as_json=as_json)
    first = answer["first_index"]
    assert answer["count"] == count
    assert abs(answer["time_ms"] - now_ms()) < 60_000
    head, _ = open_checkpoint(answer["checkpoint"].encode(), service.node.signer.verifier_keys[0])
    assert (head.size, head.root) == (answer["head"]["size"], parse_base64(answer["head"]["root"], what="root"))
    assert head.size > first + count
    submission = encode(block.with_time(answer["time_ms"]).submission)
    assert await entries(service, first, first + count + 1) == [submission, *block.entries()]


async def test_both_bodies_are_the_same_submission(client: Client, party: Party) -> None:
    """JSON and BLS1 give the same entries: the one repeats the other."""
    slots = [party.slot() for _ in range(3)]
    await client.submit(party.block([party.issue(slot) for slot in slots]))
    block = party.block([party.suspend(slots[0], 3), party.revoke(slots[1], 6), party.issue(), party.suspend(slots[2])])
    first = await client.submit(block, as_json=True)
    again = await client.submit(block, as_json=False)
    assert (again["first_index"], again["time_ms"]) == (first["first_index"], first["time_ms"])
    assert encode_body(decode_body(encode_body(block))) == encode_body(block)


async def test_content_type_with_parameters_is_json(client: Client, party: Party) -> None:
    block = party.issues(1)
    client.recorder.sends(block)
    answer = await client.request(
        "POST",
        "/v1/submissions",
        data=json_body(block),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("profile", ["short", "full"])
async def test_receipts_come_inline(world: World, client: Client, party: Party, profile: str) -> None:
    """One receipt for each issue event, in order, none for the others; each verifies under the answered head."""
    (before,) = await party.reserve(client, 1)
    await client.submit(party.block([party.issue(before)]))
    block = party.block([party.issue(), party.suspend(before), party.issue()])
    answer = await client.submit(block, query=f"?receipts={profile}")
    receipts = [parse_json(json.dumps(receipt).encode()) for receipt in answer["receipts"]]
    assert [receipt.index - answer["first_index"] for receipt in receipts] == [1, 3]
    for receipt, entry in zip(receipts, (block.entry(0), block.entry(2)), strict=True):
        assert receipt.issue == entry
        assert receipt.full == (profile == "full")
        assert receipt.tree_size == answer["head"]["size"]
        assert prove(receipt, world.policy).state == "active"
    again = await client.submit(block, query=f"?receipts={profile}")
    assert len(again["receipts"]) == 2


async def test_too_many_inline_receipts_change_nothing(client: Client, party: Party, refuses: Refuses) -> None:
    block = party.issues(1001)
    await refuses(client.send(block, query="?receipts=short"), 400, "malformed")
    assert len((await client.submit(party.issues(1000), query="?receipts=short"))["receipts"]) == 1000
    await refuses(client.send(block, query="?receipts=long"), 400, "malformed")
    await client.submit(block)


async def test_a_hundred_thousand_events_fit(client: Client, party: Party) -> None:
    """The largest submission, both ways; its receipts verify (the final check)."""
    await client.submit(party.issues(100_000))


# The same bytes again -------------------------------------------------------------------------------------------------


async def test_the_same_bytes_get_the_first_answer(client: Client, party: Party) -> None:
    block = party.issues(2)
    answers = [await client.submit(block) for _ in range(3)]
    assert len({(a["first_index"], a["time_ms"]) for a in answers}) == 1
    assert (await client.submit(party.issues(1)))["first_index"] != answers[0]["first_index"]


async def test_twice_in_one_group(world: World, client: Client, party: Party) -> None:
    """Two identical requests that arrive together are one submission."""
    block = party.issues(2)
    async with locked_head(world.dsn):
        sending = [asyncio.create_task(client.submit(block)) for _ in range(5)]
        await until(lambda: client_inflight(world) == 5, "all five are in the service")
    answers = await asyncio.gather(*sending)
    assert len({answer["first_index"] for answer in answers}) == 1


def client_inflight(world: World) -> int:
    return sum(service.app[CONTEXT].inflight for service in world.services)


async def test_concurrently_on_two_nodes(world: World, client: Client, party: Party) -> None:
    """Whichever node is faster: one logging, one answer."""
    other = await world.start()
    for _ in range(20):
        block = party.issues(1)
        one, two = await asyncio.gather(client.submit(block), other.client.submit(block))
        assert one["first_index"] == two["first_index"]


async def test_after_the_key_was_retired(client: Client, party: Party, refuses: Refuses) -> None:
    """What was logged while its key lived is answered for as long as its idempotency key is kept."""
    key = Ed25519Key.from_seed(seed("second key"))
    index = await party.add_key(client, key, roles=1)
    block = party.block([party.issue()], key=key, index=index)
    first = await client.submit(block)
    await party.retire_key(client, key, roles=1)
    again = await client.submit(block)
    assert again["first_index"] == first["first_index"]
    await refuses(client.send(party.block([party.issue()], key=key, index=index)), 403, "rule:key-retired")


async def test_after_not_after_passed(world: World) -> None:
    clock = TurnedClock()
    client = (await world.start(clock=clock)).client
    party = await Party("alice").register(client)
    block = party.block([party.issue()], not_after=clock.now_ms() + HOUR_MS)
    first = await client.submit(block)
    clock.turn(2 * 3600)
    again = await client.submit(block)
    assert again["first_index"] == first["first_index"]


async def test_a_replay_after_the_memory_ended_is_outside_its_window(world: World) -> None:
    """Idempotency keys are purged a day past not_after; the window has long closed by then."""
    clock = TurnedClock()
    service = await world.start(clock=clock)
    party = await Party("alice").register(service.client)
    slot = party.slot()
    await service.client.submit(party.block([party.issue(slot)]))
    block = party.block([party.suspend(slot)], not_after=clock.now_ms() + 24 * HOUR_MS)
    await service.client.submit(block)
    clock.turn(47 * 3600)
    assert await service.store.purge_submissions(clock.now_ms()) == 1
    await service.client.submit(block)
    clock.turn(3600 + 1)
    assert await service.store.purge_submissions(clock.now_ms()) == 1
    size = service.node.sequencer.replay.size
    answer = await service.client.send(block)
    assert (answer.status, answer.type) == (422, "rule:window")
    assert service.node.sequencer.replay.size == size


async def test_after_pending(world: World, gate: GateGuard) -> None:
    """503 pending: in the log already, with its index; the same bytes get the answer once the head is published."""
    client = (await world.start(guard=gate, answer_timeout_s=0.3)).client
    party = await Party("alice").register(client)
    gate.gate.clear()
    block = party.issues(3)
    pending = await client.send(block)
    assert (pending.status, pending.type) == (503, "pending")
    assert pending.headers["Retry-After"] == "1"
    assert pending.json["count"] == 3
    again = await client.send(block)
    assert (again.status, again.type) == (503, "pending")
    gate.gate.set()
    answer: dict[str, Any] = {}

    async def answered() -> bool:
        found = await client.send(block)
        answer.update(found.json)
        return found.status == 200

    await until(answered, "the pending submission is answered")
    assert answer["first_index"] == pending.json["first_index"] == again.json["first_index"]


async def test_after_a_restart(world: World) -> None:
    first_node = await world.start()
    party = await Party("alice").register(first_node.client)
    blocks = [party.issues(n) for n in (1, 300, 1000)]
    answers = [await first_node.client.submit(block) for block in blocks]
    await world.stop(first_node)
    client = (await world.start()).client
    for block, answer in zip(blocks, answers, strict=True):
        again = await client.submit(block)
        assert (again["first_index"], again["time_ms"]) == (answer["first_index"], answer["time_ms"])


async def test_many_at_once_share_commits(service: Service, client: Client, party: Party) -> None:
    """Requests that arrive together become one commit, one status_root, one head."""
    commits = service.node.sequencer.commits
    blocks = [party.issues(1) for _ in range(200)]
    answers = await asyncio.gather(*[client.submit(block) for block in blocks])
    assert len({answer["first_index"] for answer in answers}) == 200
    assert service.node.sequencer.commits - commits < 100


async def test_one_bad_request_in_a_group_harms_nobody(world: World, client: Client, party: Party) -> None:
    """Of two that want one slot in the same group one gets it; everybody else in the group is logged."""
    slot = party.slot()
    rivals = [party.block([party.issue(slot)]) for _ in range(2)]
    others = [party.issues(1) for _ in range(5)]
    async with locked_head(world.dsn):
        sending = [asyncio.create_task(client.send(block)) for block in (*others[:2], *rivals, *others[2:])]
        await until(lambda: client_inflight(world) == 7, "all are in the service")
    answers = await asyncio.gather(*sending)
    assert sorted(answer.status for answer in answers) == [200] * 6 + [409]
    (refused,) = [answer for answer in answers if answer.status == 409]
    assert refused.type == "rule:slot-issued"


async def test_a_caller_who_leaves_harms_nobody(world: World, client: Client, party: Party) -> None:
    """A request that is given up while it waits in a group is logged or not; the others are answered."""
    left, bad = (
        party.issues(1),
        party.block([party.issue(party.list * 131072 + 10), party.issue(party.list * 131072 + 10)]),
    )
    stays = [party.issues(1) for _ in range(3)]
    async with locked_head(world.dsn):
        gone = [asyncio.create_task(client.send(block)) for block in (left, bad)]
        sending = [asyncio.create_task(client.send(block)) for block in stays]
        await until(lambda: client_inflight(world) == 5, "all are in the service")
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
    assert [answer.status for answer in await asyncio.gather(*sending)] == [200, 200, 200]
    await client.submit(left)
