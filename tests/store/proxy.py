"""A proxy in front of a server's Unix socket that cuts the connection around a COMMIT."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

#: Client's simple query "COMMIT" on the wire: 'Q', length, text, zero.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class CuttingProxy:
    """Passes everything on until `cut` is set; then the next COMMIT ends its connection.

    cut = "before": the server never sees the COMMIT. cut = "after": the server obeys it, the client never hears.
    """

    def __init__(self, server_socket: str) -> None:
        self._server_socket = server_socket
        self.cut: str | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        far_reader, far_writer = await asyncio.open_unix_connection(self._server_socket)
        up = asyncio.create_task(self._up(reader, far_writer))
        down = asyncio.create_task(self._down(far_reader, writer))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            writer.close()
            far_writer.close()

    async def _up(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self.cut and COMMIT in data:
                if self.cut == "after":
                    self._deaf = True
                    far.write(data)
                    await far.drain()
                    await self._obeyed.wait()
                return
            far.write(data)
            await far.drain()

    async def _down(self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await far_reader.read(1 << 16):
            if self._deaf:
                self._obeyed.set()
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The directory of the proxy's socket."""
        self._deaf, self._obeyed = False, asyncio.Event()
        with tempfile.TemporaryDirectory(prefix="blp-") as folder:
            server = await asyncio.start_unix_server(self._serve, Path(folder) / ".s.PGSQL.5432")
            try:
                yield folder
            finally:
                server.close()
                for link in self._links:
                    link.cancel()
                await asyncio.gather(*self._links, return_exceptions=True)
                await asyncio.sleep(0)  # transports close in the next turn of the loop


@contextlib.asynccontextmanager
async def cutting_proxy(dsn: str) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy before the server of a DSN, and the DSN that leads through it."""
    (folder,) = parse_qs(urlsplit(dsn).query)["host"]
    proxy = CuttingProxy(f"{folder}/.s.PGSQL.5432")
    async with proxy.running() as front:
        yield proxy, f"{dsn.partition('?')[0]}?host={quote(front, safe='')}"
