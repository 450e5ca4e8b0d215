"""HTTP to witnesses: whatever a stranger's server does, in bounded time and memory there is an answer or a failure."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from api.exchange import HttpExchange
from ledger.errors import Unavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_what_is_sent_and_what_comes_back() -> None:
    """Method, body and path as given, nothing of this machine in the headers; 200 and 409 with their bodies."""
    seen: list[tuple[str, str, bytes, dict[str, str]]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, await request.read(), dict(request.headers)))
        return web.Response(status=409 if request.method == "GET" else 200, body=b"17\n")

    async with serving(handle) as url, HttpExchange(5) as exchange:
        posted = await exchange.post(url + "add-checkpoint", b"old 0\n\n", 10)
        got = await exchange.get(url + "x/checkpoint", 10)
    assert (posted.status, posted.body, got.status, got.body) == (200, b"17\n", 409, b"17\n")
    assert [entry[:3] for entry in seen] == [("POST", "/add-checkpoint", b"old 0\n\n"), ("GET", "/x/checkpoint", b"")]
    for *_, headers in seen:
        assert headers.keys() <= {
            "Host",
            "User-Agent",
            "Accept",
            "Accept-Encoding",
            "Content-Type",
            "Content-Length",
        }
        assert headers["User-Agent"] == "badge-ledger"


async def test_connections_are_kept() -> None:
    """One connection serves all requests that follow each other."""
    peers = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async with serving(handle) as url, HttpExchange(5) as exchange:
        for _ in range(5):
            await exchange.post(url, b"x", 10)
    assert len(peers) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """They are an answer like another; so are cookies not kept."""
    paths = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        assert "Cookie" not in request.headers
        return web.Response(status=status, headers={"Location": "/elsewhere", "Set-Cookie": "a=b"})

    async with serving(handle) as url, HttpExchange(5) as exchange:
        for _ in range(2):
            assert (await exchange.post(url + "here", b"x", 10)).status == status
    assert paths == ["/here", "/here"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_long_answer_is_cut_off(chunked: bool) -> None:
    """At the limit it is taken, one byte beyond it is a failure, and an endless one ends."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/10":
            return web.Response(body=b"x" * 10)
        if request.path == "/11":
            return web.Response(body=b"x" * 11)
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65_536)
        return response

    async with serving(handle) as url, HttpExchange(30) as exchange:
        assert (await exchange.post(url + "10", b"", 10)).body == b"x" * 10
        for path in ("11", "endless"):
            with pytest.raises(Unavailable, match="more than 10 bytes"):
                await exchange.post(url + path, b"", 10)


async def test_what_is_compressed_stays_so() -> None:
    """A small answer that unpacks into a large one is a small answer."""

    async def handle(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"})

    async with serving(handle) as url, HttpExchange(5) as exchange:
        assert (await exchange.get(url, 65_536)).body.startswith(b"\x1f\x8b")


@pytest.mark.parametrize("when", ["before", "within"])
async def test_who_takes_too_long_has_failed(when: str) -> None:
    """Whether nothing comes, or a byte now and then."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if when == "within":
            await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                if when == "within":
                    await response.write(b"x")
                await asyncio.sleep(0.05)
        return response

    async with serving(handle) as url, HttpExchange(0.3) as exchange:
        with pytest.raises(Unavailable, match=r"within 0\.3 s"):
            await exchange.get(url, 1000)


async def test_who_is_not_there_has_failed() -> None:
    """Nobody listens, no such name, no HTTP, and an address that is none."""

    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"\x00\x01 hello\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with HttpExchange(5) as exchange:
        with pytest.raises(Unavailable, match="cannot be asked"):
            await exchange.get(f"http://127.0.0.1:{port}/", 10)
        server.close()
        await server.wait_closed()
        for url in (f"http://127.0.0.1:{port}/", "http://nobody.invalid/", "http://127.0.0.1:1/"):
            with pytest.raises(Unavailable, match="cannot be asked"):
                await exchange.get(url, 10)
    with pytest.raises(Unavailable, match="stopping"):
        await exchange.get(f"http://127.0.0.1:{port}/", 10)
