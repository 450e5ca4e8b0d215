"""Fakes for tests of what talks to a ledger: a clock turned by hand, and a whole ledger in memory over HTTP.

`FakeLedger` keeps its log in a `LogBuilder`, so it admits exactly what the rules admit, and its receipts prove. It runs
in a thread of its own, because commands under test bring their own event loop. `faults` are taken one for each
submission: what a server, a database or a network does at the worst moment.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Literal, Self

import msgspec
from aiohttp import web

from ledger import errors
from ledger.badge_history import format_history
from ledger.block import Block, decode_body
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.dated import format_dated
from ledger.entry import ADD, LIST_SLOTS, RETIRE, ZERO32, ZERO64, IssuerKey, StatusList, did_key, issuer_id
from ledger.errors import LedgerError, NotFound
from ledger.listproof import ListProof, build_status_proof, format_list_proof, list_nodes
from ledger.merkle import build, plan_inclusion, plan_multiproof, tree_levels
from ledger.message import idempotency_key, slots_message
from ledger.moment import parse_timestamp
from ledger.note import Note, format_note, format_vkey
from ledger.receipt import Receipt
from ledger.receipt_json import to_document
from ledger.signing import verify_ed25519
from ledger.text import format_base64, parse_base64, parse_decimal
from ledger.tiles import ENTRIES_LEVEL, TILE_HEIGHT, TILE_WIDTH, encode_bundle, parse_tile_path
from tests import receipt_builder
from tests.builders import ORIGIN, LogBuilder
from tests.past_builder import World

TOKEN = "the-operators-token"
ROLE_NAMES = {1: "issue", 2: "status", 4: "manage"}
BINDING_NAMES = {1: "self-certifying", 2: "published", 3: "vouched", 4: "delegated"}

#: What may happen to a submission. `overloaded`, `cut-before`: nothing was logged; the others: it was.
Fault = Literal["overloaded", "cut-before", "pending", "outcome-unknown", "cut-after", "proxy", "stall"]


class FakeClock:
    """A clock that only `sleep` and the test move; `slept` are the pauses."""

    def __init__(self, now_ms: int = 0) -> None:
        self.wall_ms = now_ms
        self.passed_s = 0.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed_s += seconds
        self.wall_ms += round(seconds * 1000)


class FakeLedger:
    """A ledger in memory, as a context manager: `url` while it runs. Not safe for two requests at once to append."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.log = LogBuilder(origin, time=_now_ms())
        self.faults: list[Fault] = []
        #: Set when a submission is logged and its answer held back.
        self.stalled = threading.Event()
        #: Bodies of the submissions that arrived, and paths of all requests.
        self.bodies: list[bytes] = []
        self.requests: list[str] = []
        #: Everything that was sent here: paths, headers, bodies.
        self.received: list[bytes] = []
        #: Whether partial tiles are gone, as they may be once the full one exists.
        self.forget_partials = False
        #: Whether the hashes of submissions have been forgotten, as after their retention.
        self.forget_submissions = False
        self.max_events = 100_000
        #: Where it says that its status lists stand; nothing by default.
        self.status_lists = ""
        self.retry_after: str | None = None
        #: Slots that are handed out although they are taken.
        self.stale_slots: list[int] = []
        self.url = ""
        self._known: dict[bytes, tuple[int, int]] = {}
        self._handed_out: dict[bytes, int] = {}
        self._port = 0

    # The log ------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """The log's time follows the machine's."""
        self.log.time = max(self.log.time, _now_ms())

    def note(self) -> bytes:
        """The newest checkpoint, signed by the log and both witnesses."""
        checkpoint = Checkpoint(self.origin, self.log.size, self.log.root())
        lines = receipt_builder.sign_head(checkpoint, self.log.status_root().time // 1000)
        return format_note(Note(format_checkpoint(checkpoint), lines))

    def receipt(self, index: int, profile: str = "full") -> Receipt:
        """The receipt of an issue entry under the newest head."""
        return receipt_builder.build(self.log, index, full=profile == "full")

    def issued(self) -> list[bytes]:
        """Commitments of all issue entries, in log order."""
        return [entry[42:] for entry in self.log.entries if entry[1] == 5]

    def append(self, block: Block) -> tuple[int, int]:
        """Log a submission, or find it: its index and count."""
        key = idempotency_key(block.submission)
        if key in self._known and not self.forget_submissions:
            return self._known[key]
        self.tick()
        block.check_events_root()
        index = self.log.append(block.with_time(self.log.time))
        self.log.seal()
        self._known[key] = (index, block.count)
        return self._known[key]

    # HTTP ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        self.url = f"http://127.0.0.1:{self._port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = runner.addresses[0][1]
            ready.set()
            await self._stop.wait()
            await runner.cleanup()

        asyncio.run(main())

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._problems], client_max_size=16 << 20)
        app.add_routes(
            [
                web.get("/v1/log", self._get_log),
                web.get("/checkpoint", self._get_checkpoint),
                web.get("/tile/{rest:.+}", self._get_tile),
                web.get("/v1/log/inclusion", self._get_inclusion),
                web.post("/v1/submissions", self._post_submission),
                web.get("/v1/badges/{commitment}", self._get_badge),
                web.get("/v1/badges/{commitment}/history", self._get_history),
                web.get("/v1/receipts/{index}", self._get_receipt),
                web.get("/v1/slots/{slot}", self._get_slot),
                web.get("/v1/lists/{list}", self._get_list),
                web.get("/v1/issuers", self._get_issuers),
                web.post("/v1/issuers", self._post_issuer),
                web.get("/v1/issuers/{issuer}", self._get_issuer),
                web.post("/v1/issuers/{issuer}/keys", self._post_key),
                web.post("/v1/issuers/{issuer}/slots", self._post_slots),
            ]
        )
        return app

    @web.middleware
    async def _problems(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        self.received += [request.path_qs.encode(), *map(b": ".join, request.raw_headers), await request.read()]
        try:
            response: web.StreamResponse = await handler(request)
        except LedgerError as error:
            document = {"type": error.type, "title": error.title, "status": error.status, "detail": error.detail}
            headers = {"Retry-After": self.retry_after} if self.retry_after and error.status == 503 else {}
            return web.Response(
                status=error.status,
                body=msgspec.json.encode({**document, **error.members}),
                content_type="application/problem+json",
                headers=headers,
            )
        return response

    async def _get_log(self, _: web.Request) -> web.Response:
        return _json(
            {
                "origin": self.origin,
                "verifier_keys": [format_vkey(receipt_builder.log_key(self.origin))],
                "head": self._head(),
                "checkpoint": self.note().decode(),
                "limits": {"max_events": self.max_events},
                "software": {"name": "fake", "version": "0"},
                "status_lists": self.status_lists,
            }
        )

    async def _get_checkpoint(self, _: web.Request) -> web.Response:
        return web.Response(body=self.note())

    async def _get_tile(self, request: web.Request) -> web.Response:
        tile = parse_tile_path(request.path[1:])
        if tile.width < TILE_WIDTH and self.forget_partials:
            raise NotFound("that partial tile is gone")
        first = tile.index * TILE_WIDTH
        row = self.log.leaves if tile.level <= 0 else tree_levels(self.log.leaves)[TILE_HEIGHT * tile.level :][0]
        if first + tile.width > len(row):
            raise NotFound("there is no such tile")
        if tile.level == ENTRIES_LEVEL:
            return web.Response(body=encode_bundle(self.log.entries[first : first + tile.width]))
        return web.Response(body=b"".join(row[first : first + tile.width]))

    async def _get_inclusion(self, request: web.Request) -> web.Response:
        index, size = int(request.query["index"]), int(request.query["tree_size"])
        proof = build(plan_inclusion(index, size), receipt_builder.AllNodes(self.log.leaves[:size]))
        leaf = format_base64(self.log.leaves[index])
        return _json(
            {"index": index, "tree_size": size, "leaf_hash": leaf, "proof": [format_base64(hash_) for hash_ in proof]}
        )

    async def _post_submission(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "overloaded":
            raise errors.Overloaded("too much at once; nothing changed")
        if fault == "cut-before":
            return _cut(request)
        first_index, count = self.append(decode_body(body))
        if fault == "stall":
            self.stalled.set()
            await asyncio.Event().wait()
        if fault == "pending":
            raise errors.Pending("logged", first_index=first_index)
        if fault == "outcome-unknown":
            raise errors.OutcomeUnknown("the database did not answer")
        if fault == "cut-after":
            return _cut(request)
        if fault == "proxy":
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        return _json({"first_index": first_index, "count": count, "time_ms": self.log.time, "head": self._head()})

    async def _get_badge(self, request: web.Request) -> web.Response:
        commitment = bytes.fromhex(request.match_info["commitment"])
        found = [k for k, entry in enumerate(self.log.entries) if entry[1] == 5 and entry[42:] == commitment]
        if not found:
            raise NotFound("no badge with this commitment")
        full = request.query.get("profile", "full")
        if "at" in request.query:
            at_ms, world = parse_timestamp(request.query["at"]), World(self.log)
            if at_ms >= self.log.status_root().time:
                raise NotFound("no head covers that moment yet: ask again after the next heartbeat")
            dated = [world.dated(k, at_ms, self.log.size, full=full == "full") for k in found]
            return _json(
                {"commitment": commitment.hex(), "receipts": [msgspec.Raw(format_dated(each)) for each in dated]}
            )
        receipts: list[Any] = [to_document(self.receipt(k, full)) for k in found]
        return _json({"commitment": commitment.hex(), "receipts": receipts})

    async def _get_history(self, request: web.Request) -> web.Response:
        commitment, world = bytes.fromhex(request.match_info["commitment"]), World(self.log)
        found = [k for k in world.issued() if self.log.entries[k][42:] == commitment]
        if not found:
            raise NotFound("no badge with this commitment")
        histories = [msgspec.Raw(format_history(world.history(k, self.log.size))) for k in found]
        return _json({"commitment": commitment.hex(), "histories": histories})

    async def _get_receipt(self, request: web.Request) -> web.Response:
        index = parse_decimal(request.match_info["index"])
        if index >= self.log.size or self.log.entries[index][1] != 5:
            raise NotFound(f"entry {index} issues nothing")
        return _json(to_document(self.receipt(index, request.query.get("profile", "full"))))

    async def _get_slot(self, request: web.Request) -> web.Response:
        slot = parse_decimal(request.match_info["slot"])
        owner = self.log.replay.owner(slot // LIST_SLOTS)
        if owner is None:
            raise NotFound(f"there is no status list {slot // LIST_SLOTS}")
        state = self.log.replay.slot_state(slot)
        return _json({"slot": slot, "state": state, "issuer": owner.hex(), "tree_size": self.log.size})

    async def _get_list(self, request: web.Request) -> web.Response:
        number = parse_decimal(request.match_info["list"])
        size = int(request.query.get("size", self.log.size))
        tree = self.log.replay.status
        owner = self.log.replay.owner(number)
        if owner is None or size != self.log.size:
            raise NotFound(f"there is no status list {number} at a head of size {size}")
        nodes = {node: tree.node(node) for node in list_nodes(number, tree.lists)}
        leaves = receipt_builder.AllNodes(self.log.leaves)
        proof = ListProof(
            origin=self.origin,
            list=number,
            size=size,
            issuer=owner,
            status_root=self.log.entries[-1],
            revocation=tree.list_bits(number, "revocation"),
            suspension=tree.list_bits(number, "suspension"),
            status_proof=build_status_proof(number, tree.lists, nodes),
            tree_size=size,
            log_proof=tuple(build(plan_multiproof([size - 1], size), leaves)),
            checkpoint=self.note(),
        )
        return web.Response(body=format_list_proof(proof), content_type="application/json")

    # Issuers ------------------------------------------------------------------------------------------------------

    async def _get_issuers(self, request: web.Request) -> web.Response:
        ids = list(self.log.replay.issuers)
        after = request.query.get("after")
        start = ids.index(bytes.fromhex(after)) + 1 if after else 0
        page = ids[start : start + 1]
        more = start + 1 < len(ids)
        return _json({"issuers": [self._issuer(i) for i in page], "next": page[-1].hex() if more else None})

    async def _get_issuer(self, request: web.Request) -> web.Response:
        return _json(self._issuer(bytes.fromhex(request.match_info["issuer"])))

    async def _post_issuer(self, request: web.Request) -> web.Response:
        sent = request.headers.get("Authorization")
        if sent is None:
            raise errors.Unauthorized("this needs the operator's token")
        if sent != f"Bearer {TOKEN}":
            raise errors.Forbidden("this is not the operator's token")
        body = await request.json()
        public_key = bytes.fromhex(body["public_key"])
        known = self.log.replay.issuers.get(issuer_id(body["identifier"]))
        if known is not None and any(key.public_key == public_key for key in known.keys.values()):
            return _json(self._issuer(issuer_id(body["identifier"])))
        certified = body["identifier"] == did_key(public_key)
        self._append_key(
            body, ADD, body["identifier"], ZERO32, binding=1 if certified else 3, evidence=body.get("evidence")
        )
        return _json(self._issuer(issuer_id(body["identifier"])), status=201)

    async def _post_key(self, request: web.Request) -> web.Response:
        issuer = bytes.fromhex(request.match_info["issuer"])
        body = await request.json()
        state = self.log.replay.issuers[issuer]
        action = ADD if body["action"] == "add" else RETIRE
        binding = 4
        if action == RETIRE:
            known = next(key for key in state.keys.values() if key.public_key.hex() == body["public_key"])
            binding = 4 if known.delegated else known.binding
        self._append_key(body, action, state.identifier, bytes.fromhex(body["prev"]), binding=binding)
        return _json(self._issuer(issuer))

    def _append_key(
        self,
        body: dict[str, Any],
        action: int,
        identifier: str,
        prev: bytes,
        *,
        binding: int,
        evidence: str | None = None,
    ) -> None:
        self.tick()
        self.log.append(
            IssuerKey(
                time=self.log.time,
                action=action,
                prev=prev,
                identifier=identifier,
                roles=body["roles"],
                algorithm=1,
                public_key=bytes.fromhex(body["public_key"]),
                binding=binding,
                evidence=bytes.fromhex(evidence) if evidence else ZERO32,
                signer=body.get("signer", 2**64 - 1),
                possession_sig=_signature(body.get("possession_sig")),
                manage_sig=_signature(body.get("manage_sig")),
            )
        )
        self.log.seal()

    async def _post_slots(self, request: web.Request) -> web.Response:
        issuer = bytes.fromhex(request.match_info["issuer"])
        body = await request.json()
        key = self.log.replay.key(body["key"])
        if key is None or not key.live:
            raise errors.RuleViolation("no such live key", rule="unknown-key")
        nonce = bytes.fromhex(body["nonce"])
        message = slots_message(self.origin, issuer, body["key"], body["not_after"], nonce, body["count"])
        verify_ed25519(key.public_key, message, _signature(body["signature"]))
        if self.stale_slots:
            slots, self.stale_slots = self.stale_slots, []
            return _json({"slots": slots[: body["count"]]})
        lists = self.log.replay.issuers[issuer].lists
        if not lists:
            self.tick()
            self.log.append(StatusList(self.log.time, self.log.replay.list_count, issuer))
            self.log.seal()
            lists = self.log.replay.issuers[issuer].lists
        first = self._handed_out.get(issuer, 0)
        self._handed_out[issuer] = first + body["count"]
        # 7919 is prime to the list's length, so this is a permutation.
        counters = range(first, first + body["count"])
        return _json({"slots": [lists[0] * LIST_SLOTS + counter * 7919 % LIST_SLOTS for counter in counters]})

    def _issuer(self, issuer: bytes) -> dict[str, Any]:
        state = self.log.replay.issuers.get(issuer)
        if state is None:
            raise NotFound("the ledger knows no such issuer")
        keys = [
            {
                "index": key.index,
                "public_key": key.public_key.hex(),
                "roles": [name for bit, name in ROLE_NAMES.items() if key.roles & bit],
                "live": key.live,
                "binding": BINDING_NAMES[key.binding],
            }
            for key in state.keys.values()
        ]
        return {
            "issuer": issuer.hex(),
            "identifier": state.identifier,
            "last_key_leaf": state.last_leaf.hex(),
            "keys": keys,
            "lists": list(state.lists),
        }

    def _head(self) -> dict[str, Any]:
        return {
            "size": self.log.size,
            "root": format_base64(self.log.root()),
            "time_ms": self.log.status_root().time,
        }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")


def _cut(request: web.Request) -> web.StreamResponse:
    """Break the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _signature(text: str | None) -> bytes:
    return ZERO64 if text is None else parse_base64(text, what="signature", length=64)
