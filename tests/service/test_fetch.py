"""Fetching published documents: nobody steers the ledger into a private network or makes it take in too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

import api.fetch
from api.fetch import MAX_BYTES, DocumentFetcher, is_public
from ledger.errors import NotFound


class Host:
    """A web server on loopback that counts connections."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[web.Request] = []
        self.release = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        path = request.path
        if path == "/moved":
            raise web.HTTPFound("/document")
        if path == "/missing":
            raise web.HTTPNotFound()
        if path == "/slow":
            await self.release.wait()
        if path in ("/exact", "/big", "/endless"):
            response = web.StreamResponse()
            await response.prepare(request)
            count = MAX_BYTES if path == "/exact" else MAX_BYTES + 1 if path == "/big" else 1 << 26
            try:
                for start in range(0, count, 4096):
                    await response.write(bytes(min(4096, count - start)))
            except ConnectionError:
                pass
            return response
        return web.Response(body=b'{"keys": []}', content_type="application/json")


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    app = web.Application()
    app.router.add_get("/{path:.*}", host.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.port = runner.addresses[0][1]
    yield host
    host.release.set()
    await runner.cleanup()


@pytest.fixture
async def trap() -> AsyncIterator[Host]:
    """Accepts any connection, and counts it."""
    trap = Host()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trap.connections += 1
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    trap.port = server.sockets[0].getsockname()[1]
    yield trap
    server.close()
    await server.wait_closed()


async def test_private_addresses_are_never_connected_to(trap: Host) -> None:
    """However they are written: as literals, as numbers, behind a user name, behind a name that resolves to them."""
    fetch = DocumentFetcher()
    for host in (
        "127.0.0.1",
        "user@127.0.0.1",
        "user:pw@127.0.0.1",
        "a.example@127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0",
        "0.0.0.0",  # noqa: S104
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "169.254.169.254",
        "10.0.0.1",
        "[fe80::1%25lo]",
        "",
        "a b",
        "[::1",
    ):
        with pytest.raises(NotFound):
            await fetch(f"https://{host}:{trap.port}/did.json")
    assert trap.connections == 0


async def test_only_https(host: Host) -> None:
    for url in (
        f"http://127.0.0.1:{host.port}/document",
        "ftp://a.example/x",
        "file:///etc/passwd",
        "https:",
        "//x",
        "",
    ):
        with pytest.raises(NotFound):
            await DocumentFetcher()(url)
    assert host.requests == []


async def test_an_operator_may_allow_a_closed_network(host: Host) -> None:
    body = await DocumentFetcher(allow_private=True)(f"http://127.0.0.1:{host.port}/document")
    assert body == b'{"keys": []}'
    (request,) = host.requests
    assert request.headers["Accept"] == "application/json"


async def test_what_is_not_taken(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redirects, errors, more than 64 KiB (however it comes), and answers that take too long."""
    fetch = DocumentFetcher(allow_private=True)
    base = f"http://127.0.0.1:{host.port}"
    assert len(await fetch(f"{base}/exact")) == MAX_BYTES
    for path in ("moved", "missing", "big", "endless"):
        with pytest.raises(NotFound):
            await fetch(f"{base}/{path}")
    assert [request.path for request in host.requests].count("/document") == 0
    monkeypatch.setattr(api.fetch, "TIMEOUT_S", 0.2)
    with pytest.raises(NotFound):
        await fetch(f"{base}/slow")


def test_what_is_public() -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"):
        assert is_public(address)
    for address in (
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "255.255.255.255",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
    ):
        assert not is_public(address), address
