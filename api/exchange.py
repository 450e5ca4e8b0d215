"""HTTP as the ledger speaks it to witnesses: a `ledger.gather_peer.Exchange`.

A witness is a stranger who may answer anything, at any pace. One request has `timeout_s` seconds from its start to the
last byte that is read; of an answer no more than asked for is read, and that as it came (nothing is unpacked). No
redirects, no cookies, no proxies of the environment. Connections are kept for the next head. The addresses are the
operator's own, from the policy file, so private ones are as good as others; http only where the URL says so.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp

from ledger.errors import Unavailable
from ledger.gather_peer import Answer
from ledger.tlogwitness import TEXT_TYPE


class HttpExchange:
    """An async context manager."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "badge-ledger", "Accept-Encoding": "identity"},
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, body: bytes, max_bytes: int) -> Answer:
        """POST the body. Raises Unavailable."""
        return await self._request("POST", url, body, max_bytes)

    async def get(self, url: str, max_bytes: int) -> Answer:
        """GET. Raises Unavailable."""
        return await self._request("GET", url, None, max_bytes)

    async def _request(self, method: str, url: str, body: bytes | None, max_bytes: int) -> Answer:
        if self._session is None:
            raise Unavailable("the service is stopping")
        headers = {"Content-Type": TEXT_TYPE} if body is not None else None
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status not in (200, 409):
                    # Nobody reads the rest: a body that is not wanted is not waited for.
                    return Answer(response.status, b"")
                data = bytearray()
                while chunk := await response.content.read(max_bytes + 1 - len(data)):
                    data += chunk
                    if len(data) > max_bytes:
                        response.close()
                        raise Unavailable(f"its answer has more than {max_bytes} bytes")
                return Answer(response.status, bytes(data))
        except TimeoutError as error:
            raise Unavailable(f"it did not answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"it cannot be asked ({type(error).__name__})") from error
