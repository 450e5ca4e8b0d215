"""A ledger whose heads witnesses cosign: what is published, what waits, what stops, and what comes back by itself.

The witnesses are tests/fake_witness.py's, over HTTP. Besides the check of the whole log at the end of every test, every
head that a witness ever cosigned has to be a head of this log.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.exchange import HttpExchange
from ledger.errors import ForkDetected, WitnessAhead
from ledger.note import format_vkey, parse_note
from ledger.policy import Policy, parse_policy
from ledger.receipt_json import parse_json
from tests.fake_witness import FakeWitness, cosigned_by, served
from tests.service.gates import GateGuard
from tests.service.harness import Client, Party, Service, World, now_ms, prove, unique, until

ANSWER_S = 0.3


class Witnessed:
    """A world whose nodes gather. `names` are the witnesses' in the policy."""

    def __init__(self, world: World, witnesses: list[FakeWitness], policy: Policy, exchange: HttpExchange) -> None:
        self.world = world
        self.witnesses = witnesses
        self.policy = policy
        self.exchange = exchange

    async def start(self, **options: Any) -> Service:
        options = {"answer_timeout_s": 0.5, "lock_timeout_s": 0.6, **options}
        return await self.world.start(witnesses=(self.policy, self.exchange, ANSWER_S), **options)

    def adopt(self, witness: FakeWitness, size: int, root: bytes) -> None:
        """The witness stands at a head that somebody signed with the log's keys."""
        witness.adopt(self.world.signer.sign(size, root, now_ms() // 1000))
        witness.notes.clear()


@contextlib.asynccontextmanager
async def witnessed(world: World, *, quorum: str = "2", shows: bool = True) -> AsyncIterator[Witnessed]:
    keys = world.signer.verifier_keys
    witnesses = [FakeWitness(f"w{k}", keys[0], lambda: now_ms() // 1000, pq=k == 3, shows=shows) for k in (1, 2, 3)]
    async with contextlib.AsyncExitStack() as stack:
        text = "".join(f"log {format_vkey(key)}\n" for key in keys)
        for witness in witnesses:
            text += witness.policy_lines(await stack.enter_async_context(served(witness)))
        policy = parse_policy(f"{text}group g {quorum} w1 w2 w3\nquorum g\n")
        exchange = await stack.enter_async_context(HttpExchange(ANSWER_S))
        yield Witnessed(world, witnesses, policy, exchange)
        for witness in witnesses:
            for note in witness.notes:
                world.recorder.saw(note)
        for service in list(world.services):
            await world.stop(service)


@pytest.fixture
async def ring(world: World) -> AsyncIterator[Witnessed]:
    """Three witnesses, any two of them a quorum; the third has an ML-DSA-44 key too."""
    async with witnessed(world) as ring:
        yield ring


async def metric(client: Client, name: str) -> float:
    """The value of a metric, labels included in the name."""
    lines = (await client.get("/metrics")).body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " "))


async def test_published_heads_and_receipts_carry_the_cosignatures(ring: Witnessed) -> None:
    """Receipts as they are served verify under the policy of witnesses, inline ones too; only the log's own ML-DSA-44
    line needs to be asked for."""
    service = await ring.start()
    client = service.client
    party = await Party("alice").register(client)
    commitment = unique()
    answer = await client.submit(party.block([party.issue(commitment=commitment)]), query="?receipts=short")
    inline = parse_json(json.dumps(answer["receipts"][0]).encode())
    note = (await client.get("/checkpoint")).body
    assert all(cosigned_by(note, witness) for witness in ring.witnesses)
    log = parse_policy(f"log {format_vkey(ring.world.signer.verifier_keys[0])}\nquorum none\n")
    needs = Policy(log.logs, ring.policy.witnesses, ring.policy.groups, ring.policy.quorum)
    for receipt in (
        inline,
        *[
            parse_json((await client.get(f"/v1/receipts/{answer['first_index'] + 1}?profile={profile}")).body)
            for profile in ("short", "full")
        ],
    ):
        assert set(prove(receipt, needs).evaluation.witnesses) == {"w1", "w2", "w3", "w3-pq"}
        assert len(receipt.signatures) == 5
    path = f"/v1/receipts/{answer['first_index'] + 1}?signatures=all"
    assert len(parse_json((await client.get(path)).body).signatures) == 6
    assert (await client.get("/readyz")).json["quorum"] == "met"
    assert await metric(client, 'badge_ledger_witness_failures{witness="w3-pq"}') == 0
    assert await metric(client, 'badge_ledger_witness_lag{witness="w1"}') == 0
    assert await metric(client, "badge_ledger_quorum_waiting_seconds") == 0


async def test_below_the_quorum_the_ledger_waits_and_says_for_whom(ring: Witnessed) -> None:
    """Writers get 503 pending with the reason, the log goes on, readers keep the last head; then all is answered."""
    service = await ring.start()
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.issues(3))
    before = await client.get("/checkpoint")
    ring.witnesses[1].mood = "dead"
    ring.witnesses[2].mood = "503"
    first, second = party.issues(2), party.issues(2)
    answer = await client.send(first)
    assert (answer.status, answer.type) == (503, "pending")
    assert answer.json["missing"] == ["w2", "w3"]
    assert "group g has 1 of 2 needed, missing w2, w3" in answer.json["detail"]
    assert "w3: it answers 503" in answer.json["detail"]
    assert answer.json["first_index"] >= 0
    answer = await client.send(second)
    assert answer.type == "pending"
    assert service.node.sequencer.replay.size == answer.json["first_index"] + answer.json["count"] + 2
    assert (await client.get("/checkpoint")).body == before.body

    async def told() -> bool:
        ready = await client.get("/readyz")
        return ready.status == 200 and "missing w2, w3" in ready.json["quorum"]

    await until(told, "it says so to who asks")
    assert await metric(client, "badge_ledger_quorum_waiting_seconds") > 0
    assert await metric(client, 'badge_ledger_witness_failures{witness="w2"}') > 0
    assert await metric(client, 'badge_ledger_witness_lag{witness="w2"}') > 0
    ring.witnesses[2].mood = "honest"
    for block in (first, second):

        async def answered(block: Any = block) -> bool:
            return (await client.send(block)).status == 200

        await until(answered, "the quorum is back")
    note = (await client.get("/checkpoint")).body
    assert [bool(cosigned_by(note, witness)) for witness in ring.witnesses] == [True, False, True]


async def test_an_old_head_names_the_quorum_when_it_makes_the_node_unready(ring: Witnessed) -> None:
    """Beyond two heartbeats: 503, and why. The heartbeat goes on below the quorum and does not pile up."""
    service = await ring.start(heartbeat_s=0.4)
    client = service.client
    await until(lambda: service.node.publication.head is not None, "a first head")
    for witness in ring.witnesses:
        witness.mood = "dead"

    async def unready() -> bool:
        answer = await client.get("/readyz")
        return answer.status == 503 and "s old: the quorum is not met" in answer.json["detail"]

    await until(unready, "the head is old")
    for witness in ring.witnesses:
        witness.mood = "honest"

    async def ready() -> bool:
        return (await client.get("/readyz")).status == 200

    await until(ready, "the quorum is back")


async def test_an_overdue_head_gives_way_to_the_newest(ring: Witnessed) -> None:
    """One witness cosigns head after head, of which none gets its quorum; each extends the one before, and the first to
    be published is the newest of the log."""
    service = await ring.start()
    client = service.client
    party = await Party("alice").register(client)
    before = await client.head_size()
    ring.witnesses[1].mood = ring.witnesses[2].mood = "dead"
    blocks = []
    alone = ring.witnesses[0]
    with capture_logs() as logs:
        for _ in range(3):
            standing = alone.size
            blocks.append(party.issues(2))
            assert (await client.send(blocks[-1])).type == "pending"
            await until(lambda size=standing: alone.size > size, "it cosigns a newer head")  # type: ignore[misc]
    (told,) = [event for event in logs if event["event"] == "publisher.below-quorum"]
    assert "missing w2, w3" in told["reason"]
    assert await client.head_size() == before
    guard = await service.node.guard.read()
    assert before < alone.size <= guard.size <= service.node.sequencer.replay.size
    ring.witnesses[1].mood = "honest"
    for block in blocks:

        async def answered(block: Any = block) -> bool:
            return (await client.send(block)).status == 200

        await until(answered, "the quorum is back")


async def test_another_node_takes_over_with_the_witnesses_where_they_are(ring: Witnessed, gate: GateGuard) -> None:
    """It is told by the 409, or by the head that they show; both nodes' callers are answered."""
    first = await ring.start(guard=gate)
    second = await ring.start(guard=gate)
    party = await Party("alice").register(first.client)
    await first.client.submit(party.issues(2))
    await second.client.submit(party.issues(2))
    publisher, other = (first, second) if first.node.publisher.is_publisher else (second, first)
    await ring.world.stop(publisher)
    block = party.issues(2)

    async def answered() -> bool:
        return (await other.client.send(block)).status == 200

    await until(answered, "the other publishes")
    size = await other.client.head_size()
    assert [witness.size for witness in ring.witnesses] == [size] * 3


async def test_a_head_that_was_signed_before_a_crash_is_cosigned_after_it(ring: Witnessed, gate: GateGuard) -> None:
    """Some witnesses cosigned it, nobody published it: the next process finishes exactly that head, with its time."""
    service = await ring.start(guard=gate)
    party = await Party("alice").register(service.client)
    ring.witnesses[1].mood = ring.witnesses[2].mood = "dead"
    block = party.issues(2)
    assert (await service.client.send(block)).type == "pending"
    await until(lambda: bool(ring.witnesses[0].size), "one cosigns")
    standing = await gate.read()
    assert ring.witnesses[0].size == standing.size
    await ring.world.stop(service)
    ring.witnesses[1].mood = "honest"
    service = await ring.start(guard=gate)
    await until(lambda: service.node.publication.head is not None, "a head")

    async def published() -> bool:
        return await service.client.head_size() >= standing.size

    await until(published, "the very head")
    await service.client.submit(block)


# What stops it --------------------------------------------------------------------------------------------------------


async def test_a_node_does_not_start_where_a_witness_proves_that_the_database_lost_its_tail(
    ring: Witnessed, gate: GateGuard
) -> None:
    """A larger head, or another of the same size, under the log's own signature: the error says what to do."""
    service = await ring.start(guard=gate)
    party = await Party("alice").register(service.client)
    await service.client.submit(party.issues(2))
    head = service.node.publication.head
    assert head is not None
    await ring.world.stop(service)
    ring.adopt(ring.witnesses[1], head.size + 5, bytes(32))
    with pytest.raises(WitnessAhead, match=r"witness w2 holds a head of size .*bring back the database") as caught:
        await ring.start(guard=gate)
    assert caught.value.members == {"database_size": head.size, "witness_size": head.size + 5}
    ring.adopt(ring.witnesses[1], head.size, bytes(32))
    with pytest.raises(ForkDetected, match="another history was signed"):
        await ring.start(guard=gate)


async def test_a_witness_that_comes_back_with_more_stops_the_ledger(ring: Witnessed, gate: GateGuard) -> None:
    """It could not be asked at the start. Nothing more is signed, writers are refused, readers keep the last head."""
    ring.witnesses[1].mood = "dead"
    service = await ring.start(guard=gate)
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.issues(2))
    before = await client.get("/checkpoint")
    ring.adopt(ring.witnesses[1], service.node.sequencer.replay.size + 1000, bytes(32))
    ring.witnesses[1].mood = "honest"
    await until(lambda: ring.witnesses[1].requests[-1].old_size == 0, "it is asked")

    async def stopped() -> bool:
        await client.send(party.issues(1))
        return service.node.stopped is not None

    await until(stopped, "the contradiction is seen")
    assert service.node.stopped is not None
    assert service.node.stopped.slug == "witness-ahead"
    for answer in (await client.send(party.issues(1)), await client.get("/readyz")):
        assert (answer.status, answer.type) == (503, "ledger-stopped")
        assert answer.json["cause"].endswith("problem:witness-ahead")
    assert (await client.get("/checkpoint")).status == 200
    assert (await gate.read()).size <= service.node.sequencer.replay.size
    assert before.status == 200


async def test_claims_without_proof_keep_a_new_publisher_from_signing(world: World, gate: GateGuard) -> None:
    """Two of three show nothing and say that they stand beyond: a restart signs nothing and says why; when they say so
    no more, it goes on by itself."""
    async with witnessed(world, shows=False) as ring:
        service = await ring.start(guard=gate)
        party = await Party("alice").register(service.client)
        await service.client.submit(party.issues(2))
        await ring.world.stop(service)
        guard = await gate.read()
        for witness in ring.witnesses[:2]:
            witness.mood = "lies-ahead"
        service = await ring.start(guard=gate)
        block = party.issues(1)
        answer = await service.client.send(block)
        assert answer.type == "pending"
        assert "missing w1, w2" in answer.json["detail"]
        assert "it says that it stands at size" in answer.json["detail"]
        assert await gate.read() == guard
        assert service.node.stopped is None
        ring.witnesses[0].mood = "honest"

        async def answered() -> bool:
            return (await service.client.send(block)).status == 200

        await until(answered, "two agree with the database")


async def test_one_liar_changes_nothing(ring: Witnessed) -> None:
    """Whatever one of three does, the other two are a quorum and the ledger answers at its pace."""
    service = await ring.start()
    party = await Party("alice").register(service.client)
    for mood in ("lies-ahead", "lies-around", "garbage", "huge", "redirect", "wrong-signature", "other-head", "future"):
        ring.witnesses[0].mood = mood
        await service.client.submit(party.issues(1))
        note = (await service.client.get("/checkpoint")).body
        assert not cosigned_by(note, ring.witnesses[0])
        assert len(parse_note(note).signatures) == 2 + 3
    assert service.node.stopped is None
