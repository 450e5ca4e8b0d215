"""The HTTP client of a ledger: what issuers, the command line and mirrors ask of one. Over aiohttp.

    async with LedgerClient("https://ledger.example/") as client:
        info = await client.log_info()
        answer = await client.submit(encode_body(block), not_after_ms=block.submission.not_after)

A submission is safe to repeat as long as its bytes are the same: the ledger finds it by their hash before it checks
anything else, and gives the first answer again. So `submit` repeats exactly the bytes it was given whenever the outcome
is open (503 pending, overloaded, stopping or outcome-unknown; a connection that broke) until the submission's own
`not_after` or the caller's patience ends. It never signs and never builds a second submission.

What this module does not do: verify. What it returns is what the server said, its form checked; receipts and
checkpoints are for `ledger.receipt` and `ledger.policy` to prove.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
import msgspec

from ledger.answers import (
    HistoriesAnswer,
    InclusionAnswer,
    IssuerDocument,
    IssuersAnswer,
    LogInfo,
    ReceiptsAnswer,
    SlotDocument,
    SlotsAnswer,
    SubmissionAnswer,
    error_of_problem,
)
from ledger.clock import Clock, SystemClock
from ledger.errors import InputError, MalformedInput, NotFound, OperationError, OutcomeUnknown, Unavailable
from ledger.listproof import ListProof, parse_list_proof
from ledger.merkle import HASH_BYTES
from ledger.moment import format_timestamp
from ledger.note import MAX_NOTE_BYTES
from ledger.text import format_base64
from ledger.tiles import ENTRIES_LEVEL, MAX_ENTRY_BYTES, TILE_WIDTH, Tile, bundles_for_range, decode_bundle, tile_path

BLOCK_TYPE: Final = "application/vnd.badge-ledger.submission"
PACKED_TYPE: Final = "application/vnd.badge-ledger.receipt"
MAX_ANSWER_BYTES: Final = 64 << 20

Profile = Literal["short", "full"]
#: Told of each repetition: why, and the seconds until it.
OnRetry = Callable[[Unavailable, float], None]

_T = TypeVar("_T")
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0
_READ_PATIENCE_S = 30.0
_BUNDLES_AHEAD = 8
#: Length and bytes of the longest entry in a bundle.
_MAX_ENTRY_BYTES = 2 + MAX_ENTRY_BYTES


class Unreachable(Unavailable):
    """No connection came about, so nothing was sent. Known to this process only, never an answer of a ledger."""


class LedgerClient:
    """One ledger, by the URL that its tiles stand under. An async context manager.

    `token` is the operator's, for registering issuers. `timeout_s` bounds one request, not its repetitions.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        token: str | None = None,
        timeout_s: float = 60.0,
        connections: int = 16,
    ) -> None:
        what = f"not the URL of a ledger (http://HOST[:PORT]/ or https://...): {url[:200]!r}"
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            host.encode("idna")  # as the resolver will, which has no error of its own for what cannot be a name
            _ = parts.port
        except ValueError:
            raise MalformedInput(what) from None
        if "@" in parts.netloc:
            # It would stand in every error, and in what the commands print.
            raise MalformedInput("the URL of a ledger names no user or password")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise MalformedInput(what)
        self.url = url.rstrip("/") + "/"
        self.clock = clock or SystemClock()
        self._token = token
        self._timeout_s = timeout_s
        self._connections = connections
        self._use_proxies = not _is_loopback(host)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "badge-ledger-client"},
            trust_env=self._use_proxies,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # The log ------------------------------------------------------------------------------------------------------

    async def log_info(self) -> LogInfo:
        """Origin, verifier keys, newest head, limits."""
        return await self._get_as(LogInfo, "v1/log")

    async def checkpoint(self) -> bytes:
        """The published checkpoint, a signed note."""
        return await self._read("checkpoint", MAX_NOTE_BYTES)

    async def tile(self, tile: Tile) -> bytes:
        """A hash tile or bundle. A partial one that the server no longer has is cut out of the full one."""
        # What a tile of that kind can have at the most: a few kilobytes on the wire must not become 64 MiB in here.
        entry_bytes = _MAX_ENTRY_BYTES if tile.level == ENTRIES_LEVEL else HASH_BYTES
        try:
            data = await self._read(tile_path(tile), tile.width * entry_bytes)
        except NotFound:
            if tile.width == TILE_WIDTH:
                raise
            whole = Tile(tile.level, tile.index)
            return _cut(await self._read(tile_path(whole), TILE_WIDTH * entry_bytes), tile)
        if tile.level != ENTRIES_LEVEL and len(data) != tile.width * HASH_BYTES:
            raise OperationError(f"{tile_path(tile)} has {len(data)} bytes, not {tile.width * HASH_BYTES}")
        return data

    async def bundles(self, start: int, end: int, size: int) -> AsyncIterator[tuple[int, list[bytes]]]:
        """Entries [start, end) of the log of `size`, bundle by bundle: (index of the first, entries). Reads ahead by
        a few bundles, so that a walk is not one round trip after the other."""
        tiles = bundles_for_range(start, end, size)
        ahead: deque[tuple[Tile, asyncio.Task[bytes]]] = deque()
        try:
            while True:
                for tile in islice(tiles, _BUNDLES_AHEAD - len(ahead)):
                    ahead.append((tile, asyncio.create_task(self.tile(tile))))
                if not ahead:
                    return
                tile, task = ahead.popleft()
                entries = decode_bundle(await task, tile.width)
                first = tile.index * TILE_WIDTH
                low, high = max(start - first, 0), min(end - first, tile.width)
                yield first + low, entries[low:high]
        finally:
            for _, task in ahead:
                task.cancel()
            await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)

    async def inclusion(self, index: int, tree_size: int) -> InclusionAnswer:
        """The inclusion proof of one leaf in the tree of `tree_size` leaves."""
        return await self._get_as(InclusionAnswer, f"v1/log/inclusion?index={index}&tree_size={tree_size}")

    # Receipts and slots -------------------------------------------------------------------------------------------

    async def receipts(self, commitment: bytes, profile: Profile = "full", *, at_ms: int | None = None) -> list[bytes]:
        """The JSON receipts of a commitment, one a slot, the slot issued first first; dated ones for a moment `at_ms`
        (milliseconds since the Unix epoch). Raises NotFound."""
        query = f"profile={profile}&signatures=all" + ("" if at_ms is None else f"&at={format_timestamp(at_ms)}")
        answer = await self._get_as(ReceiptsAnswer, f"v1/badges/{commitment.hex()}?{query}")
        return [bytes(receipt) for receipt in answer.receipts]

    async def histories(self, commitment: bytes) -> list[bytes]:
        """The JSON histories of a commitment, one a slot, the slot issued first first. Raises NotFound, TooLarge."""
        answer = await self._get_as(HistoriesAnswer, f"v1/badges/{commitment.hex()}/history?signatures=all")
        return [bytes(history) for history in answer.histories]

    async def receipt_at(self, index: int, profile: Profile = "full") -> bytes:
        """The receipt of the issue entry at this log index, as of the published head. Raises NotFound."""
        return await self._read(f"v1/receipts/{index}?profile={profile}&signatures=all")

    async def slot(self, slot: int) -> SlotDocument:
        """State of a slot as of the published head."""
        return await self._get_as(SlotDocument, f"v1/slots/{slot}")

    async def list_proof(self, number: int, size: int | None = None) -> ListProof:
        """Status list `number` with its proof, under the published head, or as of the head of `size`. NotFound."""
        return parse_list_proof(await self._read(f"v1/lists/{number}" + (f"?size={size}" if size is not None else "")))

    async def status_list(self, number: int, purpose: str, query: str = "") -> bytes:
        """A W3C status list as the server has it. `query`: a `timestamp=` perhaps, escaped."""
        return await self._read(f"status/{number}/{purpose}" + (f"?{query}" if query else ""))

    async def reserve_slots(
        self, issuer: bytes, *, key: int, not_after_ms: int, nonce: bytes, count: int, signature: bytes
    ) -> list[int]:
        """At most `count` unused slots in the issuer's own lists. Not repeated when the answer is lost: the ledger
        refuses the same nonce, and slots that nobody uses cost nothing, so the caller signs another request."""
        body = {
            "key": key,
            "not_after": not_after_ms,
            "nonce": nonce.hex(),
            "count": count,
            "signature": format_base64(signature),
        }
        answer = await self._post_json(f"v1/issuers/{issuer.hex()}/slots", body)
        return _decode(answer, SlotsAnswer, "slots").slots

    # Submissions --------------------------------------------------------------------------------------------------

    async def submit(
        self,
        body: bytes,
        *,
        not_after_ms: int,
        receipts: Profile | None = None,
        patience_s: float = 300.0,
        on_retry: OnRetry | None = None,
    ) -> SubmissionAnswer:
        """Send a bulk body ("BLS1") until the ledger answers for good; at most `patience_s` seconds of repeating.

        Raises RuleViolation and the other refusals at once; Unavailable (and its kinds) when time is up, and then the
        submission may or may not be in the log: send the same bytes again, later or from another process.
        """
        path = "v1/submissions" + (f"?receipts={receipts}" if receipts else "")

        async def send() -> bytes:
            return await self._request("POST", path, body, {"Content-Type": BLOCK_TYPE})

        answer = await self._repeat(send, not_after_ms=not_after_ms, patience_s=patience_s, on_retry=on_retry)
        return _decode(answer, SubmissionAnswer, "the answer to a submission")

    # Issuers ------------------------------------------------------------------------------------------------------

    async def issuers(self, after: str | None = None, limit: int = 100) -> IssuersAnswer:
        """A page of at most `limit` issuers in order of registration, behind the issuer `after` (hexadecimal id)."""
        return await self._get_as(IssuersAnswer, f"v1/issuers?limit={limit}" + (f"&after={after}" if after else ""))

    async def issuer(self, issuer: bytes) -> IssuerDocument:
        """An issuer and its keys. Raises NotFound."""
        return await self._get_as(IssuerDocument, f"v1/issuers/{issuer.hex()}")

    async def register_issuer(
        self, identifier: str, public_key: bytes, roles: int, possession_sig: bytes, evidence: bytes | None = None
    ) -> IssuerDocument:
        """Register an issuer with its first key; needs the operator's token. `evidence` (32 bytes) only if vouched."""
        body: dict[str, Any] = {
            "identifier": identifier,
            "public_key": public_key.hex(),
            "roles": roles,
            "possession_sig": format_base64(possession_sig),
        }
        if evidence is not None:
            body["evidence"] = evidence.hex()
        return _decode(await self._post_json("v1/issuers", body, authorize=True), IssuerDocument, "an issuer")

    async def change_key(self, issuer: bytes, change: dict[str, Any]) -> IssuerDocument:
        """Add or retire a key; `change` as `POST /v1/issuers/{id}/keys` takes it."""
        answer = await self._post_json(f"v1/issuers/{issuer.hex()}/keys", change)
        return _decode(answer, IssuerDocument, "an issuer")

    # Requests -----------------------------------------------------------------------------------------------------

    async def _get_as(self, kind: type[_T], path: str) -> _T:
        return _decode(await self._read(path), kind, path.partition("?")[0])

    async def _read(self, path: str, max_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        async def get() -> bytes:
            return await self._request("GET", path, max_bytes=max_bytes)

        return await self._repeat(get, not_after_ms=None, patience_s=_READ_PATIENCE_S, on_retry=None)

    async def _post_json(self, path: str, body: object, *, authorize: bool = False) -> bytes:
        headers = {"Content-Type": "application/json"}
        if authorize:
            if not self._token:
                raise InputError("this needs the operator's token: --token, --token-file or --data")
            headers["Authorization"] = f"Bearer {self._token}"
        return await self._request("POST", path, msgspec.json.encode(body), headers)

    async def _repeat(
        self,
        send: Callable[[], Awaitable[bytes]],
        *,
        not_after_ms: int | None,
        patience_s: float,
        on_retry: OnRetry | None,
    ) -> bytes:
        end = self.clock.monotonic() + patience_s
        reached = False
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await send()
            except Unavailable as error:
                # A ledger that never answered is a wrong address more often than one that restarts.
                reached = reached or not isinstance(error, Unreachable)
                wait_s = min(error.retry_after_s or pause_s, _LONGEST_PAUSE_S)
                late = not_after_ms is not None and self.clock.now_ms() + wait_s * 1000 > not_after_ms
                if not reached or late or self.clock.monotonic() + wait_s > end:
                    raise
                if on_retry is not None:
                    on_retry(error, wait_s)
            await self.clock.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        if self._session is None:
            raise RuntimeError("the client is used outside `async with`")
        address = self.url + path
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                async with self._session.request(
                    method, address, data=body, headers=headers, allow_redirects=False
                ) as response:
                    found = response.status in (200, 201)
                    answer = await _bounded(response, max_bytes if found else MAX_ANSWER_BYTES)
                    if found:
                        return answer
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        raise error_of_problem(response.status, answer, response.headers.get("Retry-After"))
                address = self._redirected(method, address, location)
            raise OperationError(f"{self.url + path} redirects more than {_MAX_REDIRECTS} times, now to {address}")
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"cannot reach {self.url}: {_reason(error)}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise OutcomeUnknown(f"the connection to {self.url} broke: {_reason(error)}") from error

    def _redirected(self, method: str, address: str, location: str) -> str:
        """Where a redirect leads, if a read may follow it: within the ledger's scheme, host and port. Elsewhere, a
        server could have a machine of a private network asked; and no redirect carries a token or a signed body on."""
        own = urlsplit(self.url)
        try:
            target = urlsplit(urljoin(address, location))
            same = _origin(target) == _origin(own)
        except ValueError:
            same = False
        if method != "GET" or not same:
            raise OperationError(f"{address} redirects to {location[:300]}, which is not followed: is that the ledger?")
        # Under its own authority as a text: no two readers of addresses can differ on the host.
        query = f"?{target.query}" if target.query else ""
        return f"{own.scheme}://{own.netloc}/{target.path.lstrip('/')}{query}"


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port (RFC 6454 section 4). Raises ValueError for a port that is none."""
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


async def _bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > max_bytes:
            raise OperationError(f"the answer of {response.url} is longer than {max_bytes} bytes")
    return bytes(data)


def _decode(data: bytes, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise OperationError(f"the server's answer is not {what} of a ledger: {error}") from error


def _cut(data: bytes, tile: Tile) -> bytes:
    """The first `tile.width` hashes or entries of a full tile or bundle."""
    if tile.level != ENTRIES_LEVEL:
        return data[: tile.width * HASH_BYTES]
    end = 0
    for _ in range(tile.width):
        end += 2 + int.from_bytes(data[end : end + 2], "big")
    return data[:end]


def _reason(error: BaseException) -> str:
    """The operating system's words rather than the library's."""
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "it does not speak TLS, or not ours; is it http://?"
    if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0).lower()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
