"""Fetching what the host of an identifier publishes, without being steered into private networks.

The name is resolved once, every address must be globally reachable, and the connection goes to the address that was
checked. No redirects, https only, 64 KiB, five seconds. An operator of a closed network may allow private addresses.
"""

from __future__ import annotations

import ipaddress
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ledger.errors import NotFound

MAX_BYTES = 64 * 1024
TIMEOUT_S = 5.0


class _PublicResolver(AbstractResolver):
    """Resolves like the system and refuses addresses that are not global."""

    def __init__(self) -> None:
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._system.resolve(host, port, family)
        for result in results:
            if not is_public(result["host"]):
                raise OSError(f"{host} has an address that is not public")
        return results

    async def close(self) -> None:
        await self._system.close()


def is_public(address: str) -> bool:
    """Whether an IP address is globally reachable unicast (also the IPv4 address inside a mapped or a 6to4 one)."""
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.is_site_local:
            return False
        parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


class DocumentFetcher:
    """A `ledger.issuers.Fetch`."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private

    async def __call__(self, url: str) -> bytes:
        """The body at `url`. Raises NotFound with the reason."""
        try:
            # Read by the very parser that the connection goes by: two readers of one URL may see two hosts in it.
            parsed = URL(url)
        except ValueError as error:
            raise NotFound("the document has no proper URL") from error
        host = parsed.raw_host
        if host is None or parsed.user is not None or parsed.password is not None:
            raise NotFound("the document has no proper URL")
        if parsed.scheme != "https" and not self._allow_private:
            raise NotFound("only https documents are fetched")
        try:
            # A literal address never meets the resolver, so it is judged here.
            if not self._allow_private and not is_public(host):
                raise NotFound("the document's host is not public")
        except ValueError:
            pass
        resolver = aiohttp.ThreadedResolver() if self._allow_private else _PublicResolver()
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False
                ) as session,
                session.get(parsed, allow_redirects=False, headers={"Accept": "application/json"}) as response,
            ):
                if response.status != 200:
                    raise NotFound(f"the document answers {response.status}")
                body = await response.content.read(MAX_BYTES + 1)
                while len(body) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES + 1 - len(body))):
                    body += more
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NotFound(f"the document cannot be fetched ({type(error).__name__})") from error
        if len(body) > MAX_BYTES:
            raise NotFound(f"the document has more than {MAX_BYTES} bytes")
        return body
