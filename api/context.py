"""What the handlers of one service share, and how they read requests and write answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from aiohttp import web

from api.metrics import Metrics
from ledger.block import MAX_BODY_BYTES
from ledger.dated_prover import DatedProver
from ledger.errors import (
    MalformedBody,
    MalformedInput,
    Overloaded,
    TooLarge,
    UnsupportedMedia,
)
from ledger.history_prover import HistoryProver
from ledger.issuers import Issuers
from ledger.node import Node
from ledger.publication import PublishedHead
from ledger.text import parse_decimal

JSON = "application/json"
#: A JSON event takes some 130 bytes; the limit leaves room for white space.
MAX_JSON_BYTES = 24 * 1024 * 1024
MAX_SMALL_BODY_BYTES = 64 * 1024
#: How long a body may take: this, and a second more for each so many bytes that have come. A client that sends nothing
#: and keeps its connection would otherwise hold what others need, for as long as it likes.
BODY_PATIENCE_S = 20.0
BODY_BYTES_PER_S = 32 * 1024

T = TypeVar("T")


class ServiceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the HTTP service."""

    max_concurrent_submissions: int = 2_000
    max_inflight_bytes: int = 256 * 1024 * 1024
    max_inline_receipts: int = 1_000
    max_entries_page: int = 1_000
    max_receipts_per_badge: int = 100
    max_histories_per_badge: int = 10
    max_body_bytes: int = MAX_BODY_BYTES
    body_patience_s: float = BODY_PATIENCE_S


class Context:
    """One per service. `threads` decode large bodies, so that other requests get their turn."""

    def __init__(
        self,
        node: Node,
        issuers: Issuers,
        limits: ServiceLimits,
        operator_token: str,
        metrics: Metrics,
        public_url: str,
    ) -> None:
        self.node = node
        self.issuers = issuers
        self.limits = limits
        self.operator_token = operator_token
        self.metrics = metrics
        #: The address that others reach this service by, ending in a slash.
        self.public_url = public_url
        self.dated = DatedProver(node.store, node.prover)
        self.histories = HistoryProver(node.store, node.prover)
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self.inflight = 0
        self.inflight_bytes = 0
        self.note_json: tuple[bytes, str] = (b"", "")

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    def admit(self, size: int) -> Admission:
        """Let in one more submission, whose body states `size` bytes. Raises Overloaded if that is too much now."""
        if self.inflight >= self.limits.max_concurrent_submissions:
            raise _too_many()
        if self.inflight and self.inflight_bytes + size > self.limits.max_inflight_bytes:
            raise _too_large()
        return Admission(self)

    def checkpoint_text(self, head: PublishedHead) -> str:
        """The head's signed note as text."""
        if self.note_json[0] != head.note:
            self.note_json = (head.note, head.note.decode())
        return self.note_json[1]


class Admission:
    """What one submission holds of the service, let go at the end of `with`. Only what has come counts, not what a
    client says that will come: lengths cost nothing to state."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._bytes = 0
        self._working = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.inflight_bytes -= self._bytes
        self._context.inflight -= self._working

    def grow(self, count: int) -> None:
        """So many bytes of the body have come. Raises Overloaded; a body that is alone always gets in."""
        context = self._context
        if context.inflight_bytes > self._bytes and (
            context.inflight_bytes + count > context.limits.max_inflight_bytes
        ):
            raise _too_large()
        context.inflight_bytes += count
        self._bytes += count

    def work(self) -> None:
        """The body is here as a whole. Raises Overloaded."""
        if self._context.inflight >= self._context.limits.max_concurrent_submissions:
            raise _too_many()
        self._context.inflight += 1
        self._working = True


def _too_many() -> Overloaded:
    return Overloaded("too many submissions at once; nothing changed", retry_after_s=1)


def _too_large() -> Overloaded:
    return Overloaded("too many bytes of submissions at once; nothing changed", retry_after_s=1)


CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)


_encoder = msgspec.json.Encoder()


def answer(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer that nobody caches unless `headers` say so."""
    return web.Response(
        body=_encoder.encode(body),
        status=status,
        content_type=JSON,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


async def read_json(request: web.Request, kind: type[T], max_bytes: int = MAX_SMALL_BODY_BYTES) -> T:
    """The body as `kind`. Raises UnsupportedMedia, TooLarge, MalformedBody."""
    if request.content_type != JSON:
        raise UnsupportedMedia(f"this resource takes {JSON}, not {request.content_type}")
    body = await read_body(request, max_bytes)
    return decode_json(body, kind)


def decode_json(body: bytes, kind: type[T]) -> T:
    """Raises MalformedBody in one sentence, which names the place."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedBody(f"the body is not what this resource takes: {error}") from None


async def read_body(request: web.Request, max_bytes: int, grow: Callable[[int], None] | None = None) -> bytes:
    """The body, at most `max_bytes`; `grow` is told of each piece that comes.

    Raises TooLarge, UnsupportedMedia for one that is compressed, MalformedBody for one that breaks off, HTTP 408 for
    one that does not come.
    """
    if (request.content_length or 0) > max_bytes:
        raise TooLarge(f"the body has {request.content_length} bytes, more than {max_bytes}", limit=max_bytes)
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        # The server unpacks nothing: a few bytes that become many would pass every limit there is on bytes sent.
        raise UnsupportedMedia(f"a body comes as it is, not in the coding {coding[:40]!r}")
    content = request.content
    # A body sent in chunks states no length: it is given up as soon as it is too long, not when it is all here.
    body = bytearray()

    def take(piece: bytes) -> None:
        nonlocal body
        body += piece
        if len(body) > max_bytes:
            raise TooLarge(f"the body has more than {max_bytes} bytes", limit=max_bytes)
        if grow is not None:
            grow(len(piece))

    try:
        if content.is_eof():
            take(content.read_nowait())  # the common case: it came with its headers, and needs no timer
            return bytes(body)
        end = asyncio.get_running_loop().time() + request.app[CONTEXT].limits.body_patience_s
        async with asyncio.timeout_at(end) as patience:
            async for piece in content.iter_any():
                take(piece)
                patience.reschedule(end + len(body) / BODY_BYTES_PER_S)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise MalformedBody("the body broke off") from error
    return bytes(body)


def query_int(request: web.Request, name: str, *, default: int | None = None, max_value: int = 2**63 - 1) -> int:
    """A decimal query parameter. Raises MalformedInput."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise MalformedInput(f"the parameter {name} stands twice")
    if not values:
        if default is None:
            raise MalformedInput(f"the parameter {name} is missing")
        return default
    return parse_decimal(values[0], what=name, max_value=max_value)


def query_knows(request: web.Request, *names: str) -> None:
    """Refuse other query parameters than these: a misspelt one would be answered as if it was not there, and the answer
    taken for what was asked. Raises MalformedInput."""
    if not request.query.keys() <= set(names):
        raise MalformedInput(
            f"there is a query parameter that this resource does not know; it takes {', '.join(names)}"
        )


def query_choice(request: web.Request, name: str, choices: tuple[str, ...], default: str) -> str:
    """A query parameter with few values. Raises MalformedInput."""
    value = request.query.get(name, default)
    if value not in choices:
        raise MalformedInput(f"{name} is one of {', '.join(choices)}")
    return value
