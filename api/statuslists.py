"""W3C Bitstring Status Lists and their proofs, at published heads only, each made when somebody asks for it.

    GET /status/{list}/{purpose}[?timestamp=]   the list as JSON-LD or JWT, by Accept (RFC 9110 section 12.5.1)
    GET /v1/lists/{list}[?size=]                both purposes with their proof (`ledger.listproof`)

A list is made once a head, in a thread, however many ask for it at once, and kept until newer ones push it out. The
same head gives the same bytes on every node that has the same list key, address, heartbeat and zlib, so its ETag is a
hash of just these. A copy may be used for `ttl`; it says so itself, as `max-age` does.

Who asks, and which badge is meant by it, is known to nobody: there is one list for 131,072 badges, and no log line or
metric of a request names more than the route.
"""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Final

import msgspec
from aiohttp import web

from api.context import CONTEXT, query_int, query_knows
from api.problems import problem
from ledger.entry import did_key
from ledger.errors import LedgerError, MalformedInput, NotAcceptable, NotFound, Overloaded
from ledger.listproof import format_list_proof
from ledger.listprover import ListHead, ListProver
from ledger.moment import parse_timestamp
from ledger.node import Node
from ledger.publication import PublishedHead
from ledger.signing import Ed25519Key
from ledger.status import MAX_LISTS, Purpose
from ledger.statuslist import LIST_BASE, StatusList, encode_list, sign_json_ld, sign_jwt
from ledger.text import parse_decimal

#: How long a copy of a list may be used, seconds: as long may a revocation stay unseen by who holds one.
TTL_S: Final = 60
MEDIA_VC: Final = "application/vc"
MEDIA_JWT: Final = "application/vc+jwt"
#: What a list can be had as, the preferred first. The first three are one text under three names, because clients
#: decide by the media type whether to parse what they got.
MEDIA: Final = (MEDIA_VC, "application/ld+json", "application/json", MEDIA_JWT)
#: Lists kept, and lists in the making before more are refused. One takes 50 kB at the most, mostly less than 1 kB.
MAX_KEPT: Final = 512
MAX_MAKING: Final = 64

_PURPOSES: Final[dict[str, Purpose]] = {"revocation": "revocation", "suspension": "suspension"}
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE: Final = re.compile(rf"\s*({_NAME})/({_NAME})((?:\s*;\s*{_NAME}=(?:{_NAME}|\"\"))*)\s*")
_QUOTED_TEXT: Final = re.compile(_QUOTED)
_MAX_ACCEPT_CHARS: Final = 1024
_WEIGHT: Final = re.compile(r";\s*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.IGNORECASE)
_ANY_WEIGHT: Final = re.compile(r";\s*q=", re.IGNORECASE)


class Signed(msgspec.Struct, frozen=True):
    """A list in both forms."""

    json_ld: bytes
    jwt: bytes


class StatusLists:
    """The lists of one service. `base`: the address that others reach it by, as `parse_public_url` gives it."""

    def __init__(self, node: Node, key: Ed25519Key, base: str, threads: ThreadPoolExecutor) -> None:
        self._node = node
        self._key = key
        self._threads = threads
        self._kept: OrderedDict[tuple[int, Purpose, int], asyncio.Task[Signed]] = OrderedDict()
        self._making = 0
        self.prover = ListProver(node.store, node.prover)
        self.base = base
        self.issuer = did_key(key.public_key)
        #: A head is replaced after a heartbeat, or two if its publisher dies; whoever fetched it then may keep it for
        #: its ttl, and clocks differ.
        self.validity_ms = 1000 * (2 * math.ceil(node.options.heartbeat_s) + 2 * TTL_S)

    @property
    def address(self) -> str:
        """The address below which the lists stand."""
        return f"{self.base}status/"

    async def head_for(self, request: web.Request, number: int, head: PublishedHead) -> ListHead:
        """The head that the request is about: the newest, or that of its timestamp. MalformedInput, NotFound."""
        stamps = request.query.getall("timestamp", [])
        if not stamps:
            at = await self.prover.head_of_size(head.size, head)
        elif len(stamps) > 1:
            raise MalformedInput("the parameter timestamp stands twice")
        else:
            time_ms = parse_timestamp(stamps[0])
            if time_ms > self._node.clock.now_ms():
                raise MalformedInput("the timestamp lies in the future, of which nothing is logged")
            at = await self.prover.head_at(time_ms, head)
        if number >= at.status_root.lists:
            raise NotFound(f"there {'was then' if stamps else 'is'} no status list {number}")
        return at

    async def signed(self, number: int, purpose: Purpose, at: ListHead, head: PublishedHead) -> Signed:
        """The list in both forms, made now or before. Raises Overloaded, or what reading it raises."""
        place = (number, purpose, at.size)
        task = self._kept.get(place)
        if task is None:
            if self._making >= MAX_MAKING:
                raise Overloaded("too many status lists at once", retry_after_s=1)
            self._making += 1
            task = self._kept[place] = asyncio.create_task(self._make(number, purpose, at, head))
            task.add_done_callback(lambda done: self._made(place, done))
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(place)
        # A caller that goes away must not take the list from the others who wait for it.
        return await asyncio.shield(task)

    def etag(self, number: int, purpose: Purpose, at: ListHead, media: str) -> str:
        """The strong validator of one representation: what its bytes follow from, hashed."""
        parts = (
            self.base,
            self.issuer,
            self.validity_ms,
            TTL_S,
            zlib.ZLIB_RUNTIME_VERSION,
            number,
            purpose,
            at.size,
            media,
        )
        return sha256("\n".join(map(str, parts)).encode() + b"\n" + at.entry).hexdigest()[:32]

    def max_age_s(self, at: ListHead) -> int:
        """For how long a copy may be used; none of a list that ends before that."""
        ends_ms = at.status_root.time + self.validity_ms
        return TTL_S if ends_ms - self._node.clock.now_ms() >= 1000 * TTL_S else 0

    async def _make(self, number: int, purpose: Purpose, at: ListHead, head: PublishedHead) -> Signed:
        bits = (await self.prover.bits(number, at, head)).of(purpose)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._sign, number, purpose, at, bits)

    def _sign(self, number: int, purpose: Purpose, at: ListHead, bits: bytes) -> Signed:
        list_ = StatusList(
            base=self.base,
            list=number,
            purpose=purpose,
            size=at.size,
            issuer=self.issuer,
            valid_from_ms=at.status_root.time,
            valid_until_ms=at.status_root.time + self.validity_ms,
            ttl_ms=1000 * TTL_S,
            encoded=encode_list(bits),
        )
        return Signed(sign_json_ld(list_, self._key), sign_jwt(list_, self._key))

    def _made(self, place: tuple[int, Purpose, int], task: asyncio.Task[Signed]) -> None:
        self._making -= 1
        # What failed is tried again; asking for the exception also tells asyncio that it was seen.
        if (task.cancelled() or task.exception() is not None) and self._kept.get(place) is task:
            del self._kept[place]


STATUS_LISTS: web.AppKey[StatusLists] = web.AppKey("status_lists", StatusLists)


async def get_status_list(request: web.Request) -> web.Response:
    """A W3C Bitstring Status List. Refusals have the header of answers too: else a browser hides from the page why."""
    try:
        answer = await _status_list(request)
    except LedgerError as error:
        if error.status >= 500 and error.status != 503:
            raise  # the operator's log has to hear of it
        answer = problem(error)
    # Wallets and verifiers run in browsers too; there is nothing here that is not for everybody.
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer


async def _status_list(request: web.Request) -> web.Response:
    query_knows(request, "timestamp")
    lists = request.app[STATUS_LISTS]
    number, purpose = _number(request), _PURPOSES.get(request.match_info["purpose"])
    if purpose is None:
        raise NotFound(f"the lists are {' and '.join(_PURPOSES)}")
    media = choose_media(request.headers.getall("Accept", []))
    head = await request.app[CONTEXT].node.published()
    at = await lists.head_for(request, number, head)
    tag = lists.etag(number, purpose, at, media)
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": f"public, max-age={age_s}" if (age_s := lists.max_age_s(at)) else "no-cache",
        "Vary": "Accept",
    }
    if any(known.value in ("*", tag) for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    signed = await lists.signed(number, purpose, at, head)
    body = signed.jwt if media == MEDIA_JWT else signed.json_ld
    return web.Response(body=body, headers={"Content-Type": media, **headers})


async def get_list_proof(request: web.Request) -> web.Response:
    """A status list, both purposes, with its proof."""
    query_knows(request, "size")
    context, lists = request.app[CONTEXT], request.app[STATUS_LISTS]
    number = _number(request)
    head = await context.node.published()
    at = await lists.prover.head_of_size(query_int(request, "size", default=head.size), head)
    if number >= at.status_root.lists:
        raise NotFound(f"there is no status list {number} at the head of size {at.size}")
    proof = await lists.prover.proof(number, at, head, context.node.sequencer.replay.lists[number])
    body = await asyncio.get_running_loop().run_in_executor(context.threads, format_list_proof, proof)
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


def _number(request: web.Request) -> int:
    try:
        return parse_decimal(request.match_info["list"], what="list", max_value=MAX_LISTS - 1)
    except MalformedInput as error:
        raise NotFound("there is no such status list") from error


def choose_media(accept: list[str]) -> str:
    """The media type that the Accept headers prefer, of those offered. Raises NotAcceptable.

    The most specific range that names a type decides its weight (RFC 9110 section 12.5.1). Parameters other than q are
    passed over, as are items that are not of the header's grammar; no readable item at all accepts everything.
    """
    weights: dict[tuple[str, str], float] = {}
    text = ",".join(accept)
    if len(text) > _MAX_ACCEPT_CHARS:
        raise MalformedInput(f"the Accept header has more than {_MAX_ACCEPT_CHARS} characters")
    for item in _QUOTED_TEXT.sub('""', text).split(","):
        found = _RANGE.fullmatch(item)
        if found is None:
            continue
        weight = _WEIGHT.search(found[3])
        if weight is None and _ANY_WEIGHT.search(found[3]):
            continue
        name = (found[1].lower(), found[2].lower())
        weights[name] = max(weights.get(name, 0.0), float(weight[1]) if weight else 1.0)
    if not weights:
        return MEDIA[0]
    best, best_weight = "", 0.0
    for media in MEDIA:
        kind, _, subtype = media.partition("/")
        names = ((kind, subtype), (kind, "*"), ("*", "*"))
        weight_of = next((weights[name] for name in names if name in weights), 0.0)
        if weight_of > best_weight:
            best, best_weight = media, weight_of
    if not best:
        raise NotAcceptable(f"a status list can be had as {', '.join(MEDIA)}", offered=list(MEDIA))
    return best


def parse_public_url(text: str) -> str:
    """The address under which the service is reached, ending in a slash. Raises MalformedInput.

    https, or http on this machine itself; a host, perhaps a port and a path; no user, query or fragment, nothing that
    would have to be escaped: it stands in badges for good.
    """
    url = text.rstrip("/") + "/"
    found = LIST_BASE.fullmatch(url)
    if found is None or (found["port"] is not None and not 0 < int(found["port"]) < 65536):
        raise MalformedInput(
            f"{text[:200]!r} is not how others can reach a ledger: --public-url https://HOST[:PORT][/PATH]"
        )
    if found["scheme"] == "http" and not _LOOPBACK.fullmatch(found["host"]):
        raise MalformedInput(f"--public-url is https, or http on this machine itself, not {text[:200]!r}")
    return url


_LOOPBACK: Final = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
