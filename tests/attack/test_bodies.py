"""Bodies that never come, break off or unpack themselves: they hold nothing that others need, and are no bug."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import structlog

from api.context import CONTEXT, MAX_JSON_BYTES, ServiceLimits
from tests.service.harness import BINARY, Client, Party, Process, Recorder, World, until

HEAD = "POST /v1/submissions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@contextlib.asynccontextmanager
async def half_requests(client: Client, count: int, head: str) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that have sent headers, and keep silent."""
    parts = urlsplit(client.url)
    opened = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(count)]
    try:
        for _, writer in opened:
            writer.write(head.encode() + b"\r\n")
            await writer.drain()
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize("length", [f"Content-Length: {MAX_JSON_BYTES}\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_lengths_that_are_only_stated_shut_nobody_out(world: World, length: str) -> None:
    """A dozen silent connections used to take all bytes there are for submissions, for as long as they liked."""
    service = await world.start(limits=ServiceLimits(max_inflight_bytes=2 * MAX_JSON_BYTES))
    party = await Party("alice").register(service.client)
    async with half_requests(service.client, 12, HEAD + length):
        await service.client.submit(party.issues(3))


async def test_silent_connections_are_not_submissions(world: World) -> None:
    """As many silent connections as there may be submissions at once used to shut all others out."""
    service = await world.start(limits=ServiceLimits(max_concurrent_submissions=3))
    party = await Party("alice").register(service.client)
    async with half_requests(service.client, 10, HEAD + "Content-Length: 10\r\n"):
        await service.client.submit(party.issues(3))


async def test_bytes_that_came_count(world: World) -> None:
    """What has come of bodies is bounded by what there is for them, and free again when they break off."""
    service = await world.start(limits=ServiceLimits(max_inflight_bytes=100_000))
    party = await Party("alice").register(service.client)
    context = service.app[CONTEXT]
    parts = urlsplit(service.client.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(HEAD.encode() + b"Content-Length: 99000\r\n\r\n" + b" " * 90_000)
    await until(lambda: context.inflight_bytes == 90_000, "they have come")
    refused = await service.client.send(party.issues(200))
    assert (refused.status, refused.type) == (503, "overloaded")
    writer.close()
    await until(lambda: context.inflight_bytes == 0, "they are forgotten")
    await service.client.submit(party.issues(200))


async def test_a_body_that_does_not_come_is_given_up(world: World) -> None:
    """HTTP 408, whatever it was for."""
    service = await world.start(limits=ServiceLimits(body_patience_s=0.05))
    for path in ("/v1/submissions", f"/v1/issuers/{'00' * 32}/slots", "/v1/issuers"):
        head = HEAD.replace("/v1/submissions", path) + f"Authorization: Bearer {service.client.token}\r\n"
        if "slots" in path:
            party = await Party("alice").register(service.client)
            head = head.replace("00" * 32, party.issuer.hex())
        async with half_requests(service.client, 1, head + "Content-Length: 10\r\n") as readers:
            assert b" 408 " in await asyncio.wait_for(readers[0].readline(), 10)
    assert service.app[CONTEXT].inflight == service.app[CONTEXT].inflight_bytes == 0


async def test_compressed_bodies_are_refused_unpacked(process: Process) -> None:
    """A bomb of a few kilobytes used to stop the event loop for a second; broken gzip was an internal error."""
    await process.start()
    async with process.client(Recorder()) as client:
        for coding in ("gzip", "deflate", "br", "nope"):
            for data in (gzip.compress(bytes(10 << 20)), b"not packed"):
                headers = {"Content-Type": BINARY, "Content-Encoding": coding}
                answer = await client.request("POST", "/v1/submissions", data=data, headers=headers)
                assert (answer.status, answer.type) == (415, "unsupported-media")
    await process.stop()
    assert '"level": "error"' not in process.log()


async def test_a_body_that_breaks_off_is_no_bug(world: World) -> None:
    """Each used to write a traceback of one and a half kilobytes into the log."""
    service = await world.start()
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            async with half_requests(service.client, 1, HEAD + "Content-Length: 10\r\n"):
                pass
        await until(lambda: service.app[CONTEXT].inflight == 0, "they are gone")
        assert (await service.client.get("/healthz")).status == 200
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
