"""Limits: bodies, events, concurrency. Whoever is refused for load is told so at once, and nothing changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from api.context import CONTEXT, MAX_JSON_BYTES, ServiceLimits
from ledger.block import MAX_BODY_BYTES, encode_body
from tests.service.conftest import Refuses
from tests.service.gates import GateGuard, locked_head
from tests.service.harness import BINARY, Answer, Client, Party, Service, World, until


async def half_request(client: Client, head: str, *, then: bytes = b"") -> str:
    """The status line and headers that answer a request whose body never ends."""
    parts = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + then)
        return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
    finally:
        writer.close()


async def chunked(client: Client, path: str, media: str, pieces: int, piece: bytes) -> Answer:
    """A POST whose body states no length."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield piece

    return await client.request("POST", path, data=body(), headers={"Content-Type": media})


async def test_a_body_that_states_too_much_is_refused_before_it_comes(client: Client, refuses: Refuses) -> None:
    for path, media, limit in (
        ("/v1/submissions", BINARY, MAX_BODY_BYTES),
        ("/v1/submissions", "application/json", MAX_JSON_BYTES),
    ):
        head = f"POST {path} HTTP/1.1\nHost: x\nContent-Type: {media}\nContent-Length: {limit + 1}"
        assert " 413 " in (await half_request(client, head)).split("\r\n")[0]


async def test_a_body_without_a_length_is_given_up_when_it_is_too_long(client: Client, refuses: Refuses) -> None:
    """Chunked: refused as soon as the limit is passed, not when all of it has been taken in."""
    head = f"POST /v1/submissions HTTP/1.1\nHost: x\nContent-Type: {BINARY}\nTransfer-Encoding: chunked"
    piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    assert " 413 " in (await half_request(client, head, then=piece * 8)).split("\r\n")[0]
    small = chunked(client, "/v1/submissions", BINARY, 1, b"BLS1")
    await refuses(small, 400, "malformed-body")


async def test_a_chunked_submission_is_one(client: Client, party: Party) -> None:
    block = party.issues(500)
    client.recorder.sends(block)
    answer = await chunked(client, "/v1/submissions", BINARY, 1, encode_body(block))
    assert answer.status == 200
    client.recorder.answered(block, answer.json)


async def test_broken_chunks_are_a_broken_request(service: Service, client: Client) -> None:
    """Bytes that are no HTTP break that connection, not the service, and are no bug in its log."""
    head = f"POST /v1/submissions HTTP/1.1\nHost: x\nContent-Type: {BINARY}\nTransfer-Encoding: chunked"
    answer = await half_request(client, head, then=b"zz\r\nnothing\r\n")
    assert " 400 " in answer.split("\r\n")[0]
    assert (await client.get("/healthz")).status == 200


async def test_small_bodies_are_small(client: Client, party: Party, refuses: Refuses) -> None:
    big = {"identifier": "x" * 70_000}
    for path in ("/v1/issuers", f"/v1/issuers/{party.issuer.hex()}/keys", f"/v1/issuers/{party.issuer.hex()}/slots"):
        await refuses(client.post(path, big, token=client.token), 413, "too-large")
        sending = client.request(
            "POST", path, data=b"{}", headers={"Content-Type": "text/plain", "Authorization": f"Bearer {client.token}"}
        )
        await refuses(sending, 415, "unsupported-media")
        await refuses(client.post(path, [], token=client.token), 400, "malformed-body")


async def test_more_than_a_hundred_thousand_events(client: Client, party: Party, refuses: Refuses) -> None:
    body = encode_body(
        party.block([party.issue(slot) for slot in range(party.list << 17, (party.list << 17) + 100_000)])
    )
    sending = client.request("POST", "/v1/submissions", data=body + bytes(74), headers={"Content-Type": BINARY})
    await refuses(sending, 413, "too-large")
    event = {"type": "issue", "slot": 1, "commitment": "00" * 32}
    document = {
        "issuer": "00" * 32,
        "key": 1,
        "not_after": 1,
        "nonce": "00" * 16,
        "events_root": "00" * 32,
        "signature": "A" * 86 + "==",
        "events": [event] * 100_001,
    }
    data = json.dumps(document, separators=(",", ":")).encode()
    sending = client.request("POST", "/v1/submissions", data=data, headers={"Content-Type": "application/json"})
    await refuses(sending, 400, "malformed-body")


async def test_too_many_submissions_at_once(world: World, gate: GateGuard) -> None:
    """Beyond the limit: 503 overloaded with Retry-After, nothing changed, and the earlier ones are answered."""
    service = await world.start(guard=gate, limits=ServiceLimits(max_concurrent_submissions=3))
    client = service.client
    party = await Party("alice").register(client)
    gate.gate.clear()
    sending = [asyncio.create_task(client.submit(party.issues(1))) for _ in range(3)]
    await until(lambda: service.app[CONTEXT].inflight == 3, "three are in the service")
    late = party.issues(1)
    refused = await client.send(late)
    assert (refused.status, refused.type) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) >= 1
    gate.gate.set()
    await asyncio.gather(*sending)
    assert service.app[CONTEXT].inflight == service.app[CONTEXT].inflight_bytes == 0
    await client.submit(late)


async def test_too_many_bytes_at_once(world: World, gate: GateGuard) -> None:
    """Stated lengths count as stated, an unstated one as the largest there is; one submission always gets in."""
    service = await world.start(guard=gate, limits=ServiceLimits(max_inflight_bytes=10_000))
    client = service.client
    party = await Party("alice").register(client)
    await client.submit(party.issues(1000))
    gate.gate.clear()
    first = asyncio.create_task(client.submit(party.issues(1)))
    await until(lambda: service.app[CONTEXT].inflight == 1, "one is in the service")
    refused = await client.send(party.issues(200))
    assert (refused.status, refused.type) == (503, "overloaded")
    refused = await chunked(client, "/v1/submissions", BINARY, 1, encode_body(party.issues(1)))
    assert (refused.status, refused.type) == (503, "overloaded")
    gate.gate.set()
    await first


async def test_too_many_events_queued(world: World) -> None:
    """The sequencer's queue is bounded in events; what it holds is logged once the database lets it."""
    service = await world.start(max_queued_events=100)
    client = service.client
    party = await Party("alice").register(client)
    async with locked_head(world.dsn):
        first = asyncio.create_task(client.submit(party.issues(90)))  # taken into a group, waits for the head row
        await until(lambda: service.node.sequencer._lock.locked(), "the first group waits for the head")
        second = asyncio.create_task(client.submit(party.issues(90)))
        await until(lambda: bool(service.node.sequencer._queue), "the second is queued")
        third = party.issues(90)
        refused = await client.send(third)
        assert (refused.status, refused.type) == (503, "overloaded")
    await asyncio.gather(first, second)
    await client.submit(third)
