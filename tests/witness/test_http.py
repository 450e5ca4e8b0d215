"""The witness over HTTP: codes, types, and what hostile clients do."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from api.witness_app import create_witness_app
from ledger.merkle import tree_hash
from ledger.note import parse_note
from ledger.tlogwitness import MAX_REQUEST_BYTES, SIZE_TYPE, SignSubtree, format_sign_subtree, parse_cosignatures
from ledger.witness import Witness
from tests.fakes import FakeClock
from tests.witness.conftest import MakeWitness
from tests.witness.logs import Log, subtree_proof

HASH = hashlib.sha256(b"log.example/1").hexdigest()


class Site:
    """The application on a port of its own."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.port = port

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, bytes, str]:
        async with self.session.post(f"http://127.0.0.1:{self.port}{path}", data=body, **options) as response:
            return response.status, await response.read(), response.headers.get("Content-Type", "")

    async def get(self, path: str) -> tuple[int, bytes, str]:
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, await response.read(), response.headers.get("Content-Type", "")

    async def raw(self, *pieces: bytes, close: bool = False) -> bytes:
        """Send bytes as they are; what comes back until the connection ends or an answer is complete."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if close:
            writer.write_eof()
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return head


@pytest.fixture
async def site(witness: Witness) -> AsyncIterator[Site]:
    runner = web.AppRunner(
        create_witness_app(witness, body_patience_s=0.2), access_log=None, auto_decompress=False, shutdown_timeout=1
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Site(session, runner.addresses[0][1])
    await runner.cleanup()


async def test_codes_and_types(site: Site, log: Log) -> None:
    """As the specification has them: the 409 is the size alone, in its own type."""
    status, body, kind = await site.post("/add-checkpoint", log.submission(0, 5))
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert body.startswith("— witness.example/w1 ".encode())
    assert await site.post("/add-checkpoint", log.submission(0, 5)) == (409, b"5\n", SIZE_TYPE)
    other = Log("other.example")
    fork = Log(branch="x")
    for wrong, expected in (
        (b"", 400),
        (other.submission(0, 5), 404),
        (Log(name="stranger").submission(5, 6), 403),
        (fork.submission(5, 6), 422),
        (b"x" * (MAX_REQUEST_BYTES + 1), 413),
    ):
        status, body, kind = await site.post("/add-checkpoint", wrong)
        assert (status, kind, body.count(b"\n")) == (expected, "text/plain; charset=utf-8", 1), body
    for method, path in (("GET", "/add-checkpoint"), ("PUT", "/sign-subtree"), ("POST", f"/{HASH}/checkpoint")):
        async with site.session.request(method, f"http://127.0.0.1:{site.port}{path}") as response:
            assert response.status == 405


async def test_the_monitoring_endpoint(site: Site, log: Log) -> None:
    """404 before, the cosigned checkpoint after; unknown and malformed hashes are 404."""
    assert (await site.get(f"/{HASH}/checkpoint"))[0] == 404
    _, lines, _ = await site.post("/add-checkpoint", log.submission(0, 5, pq=True))
    status, body, kind = await site.get(f"/{HASH}/checkpoint")
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert body.endswith(lines)
    assert parse_note(body).text == log.text(5)
    assert [line.name for line in parse_note(body).signatures] == [log.name, "witness.example/w1", "witness.example/w1"]
    for path in (HASH.upper(), HASH[:-1], "0" * 64, "..", "log.example/1"):
        assert (await site.get(f"/{path}/checkpoint"))[0] == 404


async def test_a_subtree_over_http(site: Site, log: Log) -> None:
    """A line of timestamp zero, or a refusal."""
    await site.post("/add-checkpoint", log.submission(0, 14))
    _, note, _ = await site.get(f"/{HASH}/checkpoint")
    proof = tuple(subtree_proof(8, 13, log.leaves[:14]))
    good = SignSubtree(8, 13, tree_hash(log.leaves[8:13]), proof, note)
    status, line, kind = await site.post("/sign-subtree", format_sign_subtree(good))
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert parse_cosignatures(line)[0].signature[:8] == bytes(8)
    wrong = SignSubtree(8, 13, tree_hash(log.leaves[8:12]), proof, note)
    assert (await site.post("/sign-subtree", format_sign_subtree(wrong)))[0] == 422
    assert (await site.post("/sign-subtree", b""))[0] == 400


async def test_health_and_metrics(site: Site, log: Log) -> None:
    """Sizes by origin, requests by answer; nothing of callers."""
    assert await site.get("/healthz") == (200, b"ok\n", "text/plain; charset=utf-8")
    await site.post("/add-checkpoint", log.submission(0, 5), headers={"User-Agent": "curious/1.0"})
    await site.post("/add-checkpoint", b"secret")
    _, body, _ = await site.get("/metrics")
    for line in (
        b'badge_ledger_cosigner_tree_size{origin="log.example/1"} 5.0',
        b'badge_ledger_cosigner_cosigned_timestamp_seconds{origin="log.example/1"} 1.8e+09',
        b'badge_ledger_cosigner_requests_total{operation="add-checkpoint",status="200"} 1.0',
        b'badge_ledger_cosigner_requests_total{operation="add-checkpoint",status="400"} 1.0',
        b"badge_ledger_cosigner_contradictions 0.0",
    ):
        assert line in body.split(b"\n")
    assert b"curious" not in body
    assert b"127.0.0.1" not in body


async def test_the_content_type_does_not_matter(site: Site, log: Log) -> None:
    """The specification names none: forms, JSON, nonsense and none are all read as bytes."""
    for size, kind in enumerate(("application/x-www-form-urlencoded", "application/json", "multipart/form-data", "x")):
        body = log.submission(size, size + 1)
        assert (await site.post("/add-checkpoint", body, headers={"Content-Type": kind}))[0] == 200
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(log.submission(4, 5))
    assert (await site.raw(head, log.submission(4, 5))).startswith(b"HTTP/1.1 200")


async def test_compressed_bodies_are_refused(site: Site, log: Log) -> None:
    """A few bytes that become many would pass the limit on bytes sent."""
    body = gzip.compress(log.submission(0, 5) + bytes(10 << 20))
    assert (await site.post("/add-checkpoint", body, headers={"Content-Encoding": "gzip"}))[0] == 415


async def test_bodies_that_are_too_large_or_too_slow(site: Site, log: Log) -> None:
    """Given up as soon as that is known, stated or not; and those that break off."""
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\n"
    assert (await site.raw(head + b"Content-Length: 999999999\r\n\r\n")).startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    assert (await site.raw(chunked, chunk, chunk)).startswith(b"HTTP/1.1 413")
    assert (await site.raw(head + b"Content-Length: 10\r\n\r\nold 0")).startswith(b"HTTP/1.1 408")
    assert (await site.raw(chunked, b"5\r\nold 0\r\n")).startswith(b"HTTP/1.1 408")
    assert (await site.post("/add-checkpoint", log.submission(0, 5)))[0] == 200


async def test_slow_clients_bar_nobody(site: Site, log: Log) -> None:
    """Three hundred that send half a body, and one that sends a whole one."""
    writers = []
    for _ in range(300):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nold 0\n")
        writers.append(writer)
    assert (await site.post("/add-checkpoint", log.submission(0, 5)))[0] == 200
    for writer in writers:
        writer.close()


async def test_a_bug_shows_no_traceback(site: Site, log: Log, witness: Witness) -> None:
    """One sentence; the operator's log has the rest."""

    def broken(body: bytes) -> Any:
        raise ZeroDivisionError

    witness.sign_subtree = broken  # type: ignore[method-assign]
    with capture_logs() as events:
        status, body, _ = await site.post("/sign-subtree", b"")
    assert (status, body) == (500, b"internal error; the operator's log has it\n")
    assert [event["event"] for event in events] == ["request.bug"]


async def test_two_histories_at_once_over_http(make: MakeWitness, site: Site, log: Log, clock: FakeClock) -> None:
    """A lying log with two valid heads of one size, forty requests at once: one head is cosigned, ever."""
    await site.post("/add-checkpoint", log.submission(0, 4))
    fork = Log(branch="other", fork=4)
    bodies = [branch.submission(4, size) for size in (9, 10) for branch in (log, fork)] * 10
    answers = await asyncio.gather(*(site.post("/add-checkpoint", body) for body in bodies))
    cosigned = {bodies[k] for k, answer in enumerate(answers) if answer[0] == 200}
    assert len(cosigned) == 1
    for _ in range(3):
        clock.wall_ms += 1000
        clock.passed_s += 1
        again = await asyncio.gather(
            *(site.post("/add-checkpoint", b.submission(s, s)) for b in (log, fork) for s in (9, 10))
        )
        assert [answer[0] for answer in again].count(200) == 1
