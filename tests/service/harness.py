"""A ledger under test: parties that sign, clients that call, a recorder that forgets nothing, and the final check.

    World      one log: a database, a guard, the log's keys; any number of nodes and processes on them
    Service    a node with its HTTP application in this process
    Process    the service as operators run it, in a process of its own, to be killed
    Client     HTTP against one of them; all that it sees goes into the recorder
    Party      an issuer: its keys, its slots, its signatures
    Recorder   every checkpoint ever seen, every submission ever sent and every answer

`World.check_everything` is the claim behind every scenario: the store is what its entries demand, every head that
anybody ever saw is a head of this log and no size was signed twice, every answered event stands where the answer said,
once, and its receipt verifies.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from api.app import create_app
from api.context import ServiceLimits
from api.routes import ROUTES
from ledger.block import Block, encode_body, sign_submission
from ledger.check import Report, check_store
from ledger.checkpoint import open_checkpoint
from ledger.clock import Clock
from ledger.cosignature import verify_cosignature
from ledger.documents import Fetch
from ledger.entry import (
    ADD,
    ISSUE,
    LIST_SLOTS,
    REINSTATE,
    RETIRE,
    REVOKE,
    SUSPEND,
    StatusRoot,
    Submission,
    decode,
    did_key,
    encode,
    encode_issue,
    encode_status_event,
    issuer_id,
)
from ledger.errors import LedgerError
from ledger.gather import make_gatherer
from ledger.gather_peer import Exchange
from ledger.guard import Guard, SqliteGuard
from ledger.history import History
from ledger.lookup import Lookup
from ledger.message import idempotency_key, key_message, slots_message
from ledger.node import Node, NodeOptions
from ledger.note import VerifierKey, find_lines, format_vkey
from ledger.policy import Policy, parse_policy
from ledger.prover import Prover
from ledger.publication import PublishedHead
from ledger.publisher import HeadSigner
from ledger.receipt import Receipt
from ledger.sequencer_state import LogState
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.store import Store
from ledger.text import format_base64
from ledger.verify import Proven, verify_receipt

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "ledger.example/service"
TOKEN = "operator-token-of-the-tests"
BINARY = "application/vnd.badge-ledger.submission"
PACKED = "application/vnd.badge-ledger.receipt"
PROBLEM = "urn:badge-ledger:problem:"
HOUR_MS = 3_600_000

_numbers = itertools.count()


def seed(name: str) -> bytes:
    """32 bytes for a name."""
    return hashlib.sha256(name.encode()).digest()


def unique(name: str = "") -> bytes:
    """32 bytes that no other call gives: a commitment, say."""
    return seed(f"{name}/{next(_numbers)}")


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str, *, deadline_s: float = 20) -> None:
    """Poll until it holds; fail with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        found = holds()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)


class TurnedClock:
    """The machine's clocks, turned by hand. `turn` moves both, as time passing does; `jump` the wall clock alone."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.passed_s = 0.0

    def turn(self, seconds: float) -> None:
        self.passed_s += seconds

    def jump(self, seconds: float) -> None:
        self.wall_s += seconds

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + int((self.wall_s + self.passed_s) * 1000)

    def monotonic(self) -> float:
        return time.monotonic() + self.passed_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        """The problem type without its prefix."""
        document = self.json
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.headers
        assert self.headers["Cache-Control"] == "no-store"
        assert document["status"] == self.status
        assert document["title"]
        assert document["detail"]
        assert document["type"].startswith(PROBLEM)
        return str(document["type"]).removeprefix(PROBLEM)


class Recorder:
    """What a ledger has said. It may never take any of that back."""

    def __init__(self) -> None:
        self.notes: dict[bytes, None] = {}
        self.sent: dict[bytes, Block] = {}
        self.answers: dict[bytes, tuple[int, int, int]] = {}
        #: (method, path, status) of everything that was answered.
        self.statuses: set[tuple[str, str, int]] = set()

    def saw(self, note: bytes) -> None:
        self.notes.setdefault(note)

    def sends(self, block: Block) -> bytes:
        key = idempotency_key(block.submission)
        self.sent[key] = block
        return key

    def answered(self, block: Block, document: dict[str, Any]) -> None:
        """The first answer stands; each later one to the same bytes says the same."""
        key = self.sends(block)
        where = (document["first_index"], document["count"], document["time_ms"])
        assert document["count"] == block.count
        assert document["head"]["size"] > document["first_index"] + document["count"]
        assert self.answers.setdefault(key, where) == where, "the same submission was answered differently"


class Client:
    """HTTP against one service."""

    def __init__(self, url: str, recorder: Recorder, token: str = TOKEN) -> None:
        self.url = url
        self.recorder = recorder
        self.token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            self.url,
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=60),
            skip_auto_headers=["Accept", "Accept-Encoding", "Content-Type"],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(self, method: str, path: str, **parameters: Any) -> Answer:
        """One request, never repeated."""
        assert self._session is not None
        if isinstance(data := parameters.get("data"), bytes):
            parameters["data"] = io.BytesIO(data)
        async with self._session.request(method, path, **parameters) as response:
            answer = Answer(response.status, response.headers, await response.read())
        self.recorder.statuses.add((method, path.partition("?")[0], answer.status))
        if answer.status == 200:
            if path == "/checkpoint":
                self.recorder.saw(answer.body)
            elif answer.headers["Content-Type"].startswith("application/json") and b'"checkpoint":"' in answer.body:
                self.recorder.saw(answer.json["checkpoint"].encode())
        return answer

    async def get(self, path: str, **headers: str) -> Answer:
        """GET; header names with _ for -."""
        return await self.request("GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()})

    async def get_json(self, path: str) -> Any:
        answer = await self.get(path)
        assert answer.status == 200, (path, answer)
        return answer.json

    async def post(self, path: str, document: Any, *, token: str | None = None) -> Answer:
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self.request("POST", path, data=json.dumps(document).encode(), headers=headers)

    async def send(self, block: Block, *, as_json: bool = False, query: str = "") -> Answer:
        """One submission, once; its answer is recorded."""
        self.recorder.sends(block)
        data = json_body(block) if as_json else encode_body(block)
        headers = {"Content-Type": "application/json" if as_json else BINARY}
        answer = await self.request("POST", f"/v1/submissions{query}", data=data, headers=headers)
        if answer.status == 200:
            self.recorder.answered(block, answer.json)
        return answer

    async def submit(self, block: Block, *, as_json: bool = False, query: str = "") -> Any:
        """A submission that is answered: the document."""
        answer = await self.send(block, as_json=as_json, query=query)
        assert answer.status == 200, answer
        return answer.json

    async def head_size(self) -> int:
        """Size of the published head."""
        return int((await self.get("/checkpoint")).body.split(b"\n")[1])


_NAMES = {ISSUE: "issue", REVOKE: "revoke", SUSPEND: "suspend", REINSTATE: "reinstate"}


def json_document(block: Block) -> dict[str, Any]:
    """The JSON body of a submission."""
    events: list[dict[str, Any]] = []
    for k, kind in enumerate(block.kinds):
        event: dict[str, Any] = {"type": _NAMES[kind], "slot": block.slots[k]}
        if kind == ISSUE:
            event["commitment"] = block.entry(k)[42:].hex()
        else:
            event["reason"] = block.reasons[k]
        events.append(event)
    s = block.submission
    return {
        "issuer": s.issuer.hex(),
        "key": s.key,
        "not_after": s.not_after,
        "nonce": s.nonce.hex(),
        "events_root": s.events_root.hex(),
        "signature": format_base64(s.signature),
        "events": events,
    }


def json_body(block: Block) -> bytes:
    return json.dumps(json_document(block)).encode()


class Party:
    """An issuer. `index` is the log index of `key`; `prev` the leaf hash of its newest key entry."""

    def __init__(self, name: str, identifier: str | None = None, *, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.key = Ed25519Key.from_seed(seed(f"party {name}"))
        self.identifier = identifier or did_key(self.key.public_key)
        self.issuer = issuer_id(self.identifier)
        self.index = -1
        self.prev = bytes(32)
        self.list = -1
        self._next_slot = 0

    # Registration -----------------------------------------------------------------------------------------------------

    def registration(self, *, roles: int = 7, **changes: Any) -> dict[str, Any]:
        """The body that registers it."""
        message = key_message(self.origin, ADD, bytes(32), self.identifier, roles, 1, self.key.public_key)
        return {
            "identifier": self.identifier,
            "public_key": self.key.public_key.hex(),
            "roles": roles,
            "possession_sig": format_base64(self.key.sign(message)),
            **changes,
        }

    async def register(self, client: Client, *, roles: int = 7, with_list: bool = True) -> Party:
        answer = await client.post("/v1/issuers", self.registration(roles=roles), token=client.token)
        assert answer.status in (200, 201), answer
        self.learn(answer.json)
        self.index = answer.json["keys"][0]["index"]
        if with_list:
            (slot,) = await self.reserve(client, 1)
            # The tests choose slots of this list by themselves.
            self.list = slot // LIST_SLOTS
        return self

    def learn(self, document: dict[str, Any]) -> None:
        self.prev = bytes.fromhex(document["last_key_leaf"])

    def key_change(
        self,
        action: int,
        key: Ed25519Key,
        *,
        roles: int = 7,
        signer: Ed25519Key | None = None,
        signer_index: int | None = None,
        prev: bytes | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """The body that adds or retires a key, signed by the first key unless told otherwise."""
        prev = self.prev if prev is None else prev
        message = key_message(self.origin, action, prev, self.identifier, roles, 1, key.public_key)
        body = {
            "action": "add" if action == ADD else "retire",
            "public_key": key.public_key.hex(),
            "roles": roles,
            "prev": prev.hex(),
            "manage_sig": format_base64((signer or self.key).sign(message)),
            "signer": self.index if signer_index is None else signer_index,
        }
        if action == ADD:
            body["possession_sig"] = format_base64(key.sign(message))
        return body | changes

    async def add_key(self, client: Client, key: Ed25519Key, *, roles: int) -> int:
        """Log index of the added key."""
        answer = await client.post(f"/v1/issuers/{self.issuer.hex()}/keys", self.key_change(ADD, key, roles=roles))
        assert answer.status == 200, answer
        self.learn(answer.json)
        return int(next(k["index"] for k in answer.json["keys"] if k["public_key"] == key.public_key.hex()))

    async def retire_key(self, client: Client, key: Ed25519Key, *, roles: int) -> None:
        answer = await client.post(f"/v1/issuers/{self.issuer.hex()}/keys", self.key_change(RETIRE, key, roles=roles))
        assert answer.status == 200, answer
        self.learn(answer.json)

    # Slots and events -------------------------------------------------------------------------------------------------

    def slots_request(self, count: int, *, clock: Clock | None = None, **changes: Any) -> dict[str, Any]:
        not_after = (clock.now_ms() if clock else now_ms()) + HOUR_MS
        fields: dict[str, Any] = {"key": self.index, "not_after": not_after, "nonce": unique()[:16], "count": count}
        fields |= {name: value for name, value in changes.items() if name in fields}
        message = slots_message(
            self.origin, self.issuer, fields["key"], fields["not_after"], fields["nonce"], fields["count"]
        )
        return {
            **fields,
            "nonce": fields["nonce"].hex(),
            "signature": format_base64(self.key.sign(message)),
            **{name: value for name, value in changes.items() if name not in fields},
        }

    async def reserve(self, client: Client, count: int, *, clock: Clock | None = None) -> list[int]:
        """Slots handed out by the ledger."""
        path = f"/v1/issuers/{self.issuer.hex()}/slots"
        answer = await client.post(path, self.slots_request(count, clock=clock))
        assert answer.status == 200, answer
        slots: list[int] = answer.json["slots"]
        assert len(slots) == count
        return slots

    def slot(self) -> int:
        """A slot of its list that it has not used yet, in order."""
        self._next_slot += 1
        return self.list * LIST_SLOTS + self._next_slot - 1

    def issue(self, slot: int | None = None, commitment: bytes | None = None) -> bytes:
        return encode_issue(self.issuer, self.slot() if slot is None else slot, commitment or unique())

    def revoke(self, slot: int, reason: int = 0) -> bytes:
        return encode_status_event(REVOKE, self.issuer, slot, reason)

    def suspend(self, slot: int, reason: int = 0) -> bytes:
        return encode_status_event(SUSPEND, self.issuer, slot, reason)

    def reinstate(self, slot: int, reason: int = 0) -> bytes:
        return encode_status_event(REINSTATE, self.issuer, slot, reason)

    def block(
        self,
        events: Iterable[bytes],
        *,
        key: Ed25519Key | None = None,
        index: int | None = None,
        not_after: int | None = None,
        nonce: bytes | None = None,
        origin: str | None = None,
    ) -> Block:
        """A signed submission of these events."""
        return sign_submission(
            origin or self.origin,
            key or self.key,
            self.issuer,
            self.index if index is None else index,
            b"".join(events),
            now_ms() + HOUR_MS if not_after is None else not_after,
            nonce or unique()[:16],
        )

    def issues(self, count: int) -> Block:
        """A signed submission of `count` issuances in fresh slots."""
        return self.block([self.issue() for _ in range(count)])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Service:
    """A node and its HTTP application in this process."""

    def __init__(self, node: Node, store: Store, client: Client, app: web.Application, runner: web.AppRunner) -> None:
        self.node = node
        self.store = store
        self.client = client
        self.app = app
        self._runner = runner

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self.node.stop()
        await self.client.__aexit__()
        await self.store.close()


class World:
    """One log. `start` as many nodes as the test needs; `close` stops them and checks everything."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.directory = directory
        self.recorder = Recorder()
        self.signer = HeadSigner(ORIGIN, Ed25519Key.from_seed(seed("log")), MLDSA44Key.from_seed(seed("log pq")))
        self.services: list[Service] = []
        self.guard_path = directory / "guard.db"
        #: Set by a test that spoils the log: the sentence that the check must then refuse with.
        self.broken: str | None = None

    @property
    def policy(self) -> Policy:
        return policy_of(format_vkey(self.signer.verifier_keys[0]))

    async def open_guard(self) -> SqliteGuard:
        return await SqliteGuard.open(self.guard_path)

    async def make_node(self, *, guard: Guard | None = None, clock: Clock | None = None, **options: Any) -> Node:
        """A node that is not started; the caller closes its store. `witnesses`: policy, how to ask, seconds."""
        witnesses: tuple[Policy, Exchange, float] | None = options.pop("witnesses", None)
        clock = clock or TurnedClock()
        store = await Store.connect(self.dsn, min_size=1)
        signer = options.pop("signer", self.signer)
        origin = options.pop("origin", ORIGIN)
        node_options = NodeOptions(origin=origin, **{"housekeeping_s": 3600.0, **options})
        gatherer = None
        if witnesses is not None:
            policy, exchange, answer_s = witnesses
            keys = signer.verifier_keys
            gatherer = make_gatherer(policy, keys, exchange, History(store), clock, random.random, answer_s=answer_s)
        return Node(store, guard or await self.open_guard(), signer, clock, node_options, unique(), gatherer)

    async def start(
        self,
        *,
        guard: Guard | None = None,
        clock: Clock | None = None,
        fetch: Fetch | None = None,
        limits: ServiceLimits | None = None,
        public_url: str | None = None,
        prepare: Callable[[Node], None] = lambda _: None,
        **options: Any,
    ) -> Service:
        """A node and its service; `prepare` may tamper with the node before it starts."""
        node = await self.make_node(guard=guard, clock=clock, **options)
        prepare(node)
        try:
            await node.start()
        except BaseException:
            await node.stop()
            await node.store.close()
            await node.guard.close()
            raise
        app = create_app(
            node,
            operator_token=TOKEN,
            list_key=Ed25519Key.from_seed(seed("list")),
            public_url=public_url,
            fetch=fetch,
            limits=limits,
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        client = await Client(f"http://{host}:{port}", self.recorder).__aenter__()
        service = Service(node, node.store, client, app, runner)
        self.services.append(service)
        return service

    async def stop(self, service: Service) -> None:
        self.services.remove(service)
        await service.stop()
        await service.node.guard.close()

    async def close(self) -> None:
        for service in list(self.services):
            await self.stop(service)
        check_documented(self.recorder)
        await self.check_everything()

    async def check_everything(self) -> Report | None:
        """See the module's docstring. None if the test said that the log is spoilt, and it is."""
        store = await Store.connect(self.dsn, min_size=1)
        guard = await self.open_guard()
        try:
            if self.broken is not None:
                with pytest.raises(LedgerError, match=self.broken):
                    await check_store(store, guard=guard, heads=list(self.recorder.notes))
                return None
            return await check_log(store, guard, self.recorder, self.signer.verifier_keys)
        finally:
            await guard.close()
            await store.close()


def check_documented(recorder: Recorder) -> None:
    """Every status that any route ever answered is one that `/openapi.json` names."""
    routes = [
        (route.method, re.compile(re.sub(r"{path}", ".+", re.sub(r"{(?!path)\w+}", "[^/]+", route.path))), route)
        for route in ROUTES
    ]
    for method, path, status in recorder.statuses:
        for known, pattern, route in routes:
            if known == method and pattern.fullmatch(path):
                allowed = {route.status, 200, *route.problems, *([304] if route.conditional else [])}
                assert status in allowed, f"{method} {path} answered {status}, which is not documented"


def policy_of(vkey: str) -> Policy:
    """Trust in the log's own key alone."""
    return parse_policy(f"log {vkey}\nquorum none\n")


async def check_log(
    store: Store, guard: Guard, recorder: Recorder, keys: tuple[VerifierKey, VerifierKey]
) -> Report | None:
    """The final check of a log, from its store, its guard and everything that was ever said of it."""
    head = await store.head()
    if not head.size:
        assert not recorder.answers
        return None
    report = await check_store(store, guard=guard, heads=list(recorder.notes))
    entries = [entry for start in range(0, head.size, 32_768) for entry in await _entries(store, start, head.size)]
    _check_notes(recorder.notes, keys, entries)
    _check_answers(recorder, entries, head.published_size)
    if recorder.answers:
        await _check_receipts(store, recorder, keys)
    return report


async def _entries(store: Store, start: int, size: int) -> list[bytes]:
    return await store.read_entries(start, min(size, start + 32_768))


def _check_notes(notes: Iterable[bytes], keys: tuple[VerifierKey, VerifierKey], entries: list[bytes]) -> None:
    """No size is ever signed with two roots or two times; times grow with sizes; none is before its status_root."""
    signed: dict[int, tuple[bytes, int]] = {}
    for data in notes:
        checkpoint, note = open_checkpoint(data, keys[0])
        ((key, line),) = find_lines(note, [keys[1]])
        what = (checkpoint.root, verify_cosignature(checkpoint, key, line))
        assert signed.setdefault(checkpoint.size, what) == what, f"the head of size {checkpoint.size} was signed twice"
    times = [signed[size][1] for size in sorted(signed)]
    assert times == sorted(times)
    for size, (_, time_s) in signed.items():
        last = decode(entries[size - 1])
        assert isinstance(last, StatusRoot)
        assert time_s >= last.time // 1000


def _check_answers(recorder: Recorder, entries: list[bytes], published: int) -> None:
    """Every answered submission stands where the answer said, byte for byte, and every one sent at most once."""
    logged: Counter[bytes] = Counter()
    for data in entries:
        if data[1] == 4:
            entry = decode(data)
            assert isinstance(entry, Submission)
            logged[idempotency_key(entry)] += 1
    twice = [key for key in recorder.sent if logged[key] > 1]
    assert not twice, f"{len(twice)} submissions were logged more than once"
    for key, (first, count, time_ms) in recorder.answers.items():
        block = recorder.sent[key]
        assert logged[key] == 1, "an answered submission is not in the log"
        assert first + count < published, "an answer went out before its head was published"
        assert entries[first] == encode(block.with_time(time_ms).submission)
        assert entries[first + 1 : first + 1 + count] == block.entries()


async def _check_receipts(store: Store, recorder: Recorder, keys: tuple[VerifierKey, VerifierKey]) -> None:
    """Receipts of answered events verify: first, last and one between of each submission, 400 at the most."""
    prover, head = await offline_prover(store, keys[0].name)
    policy = policy_of(format_vkey(keys[0]))
    wanted: list[tuple[int, bytes]] = []
    for key, (first, _, _) in recorder.answers.items():
        block = recorder.sent[key]
        issues = [k for k, kind in enumerate(block.kinds) if kind == ISSUE]
        picked = {issues[0], issues[-1], issues[len(issues) // 2]} if issues else set()
        wanted += [(first + 1 + k, block.entry(k)) for k in picked]
    for number, (index, entry) in enumerate(wanted[:: max(1, len(wanted) // 400)]):
        receipt = await prover.receipt(index, head, full=number % 2 == 0, all_signatures=number % 3 == 0)
        proven = prove(receipt, policy)
        assert receipt.issue == entry
        assert proven.checkpoint.size == head.size


def prove(receipt: Receipt, policy: Policy) -> Proven:
    """What the receipt proves now; in a test that turned its clock, at the time of its head."""
    now_s = max(now_ms(), receipt.status_root_entry().time) // 1000
    return verify_receipt(receipt, policy=policy, now_s=now_s, max_age_s=None)


async def offline_prover(store: Store, origin: str) -> tuple[Prover, PublishedHead]:
    """A prover of nobody's node, under the published head."""
    head = await store.head()
    lookup = Lookup(store, await store.lookup_filled_to())
    state = await LogState(store, lookup, origin).past_state(head.published_size)
    return Prover(store, lookup), PublishedHead(
        size=head.published_size,
        root=head.published_root,
        time_s=head.published_time_s,
        note=head.published_note,
        status_root=state.status_root,
        status_root_entry=state.entry,
        status=state.status,
    )


# Real processes -------------------------------------------------------------------------------------------------------

_SERVE = """
import json, sys
from pathlib import Path
from api.serve import ServeOptions, run
options = json.loads(sys.argv[1])
for name in ("data", "guard", "policy"):
    if name in options:
        options[name] = Path(options[name])
def ready(started):
    print(json.dumps({"url": started.url, "keys": started.verifier_keys}), flush=True)
run(ServeOptions(**options), ready=ready)
"""


class Process:
    """`badge-ledger serve` in a process of its own, on a data directory, on any free port."""

    def __init__(self, data: Path, *, name: str = "", **options: Any) -> None:
        """`name` tells apart the logs of two processes on one directory."""
        self.data = data
        self.name = name
        self.options = options
        self.url = ""
        self.keys: tuple[str, str] = ("", "")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, deadline_s: float = 60, **options: Any) -> None:
        """Start it and wait for its ready line. AssertionError with the end of its log if it ends instead."""
        chosen = {"data": str(self.data), "listen": "127.0.0.1:0", "origin": ORIGIN, **self.options, **options}
        with open(self.log_path, "ab") as log:  # noqa: ASYNC230 - a few microseconds
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _SERVE,
                json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), deadline_s)
        except TimeoutError:
            raise AssertionError(f"the service was not ready within {deadline_s} s: {self.log()[-2000:]}") from None
        if not line:
            await self._process.wait()
            raise AssertionError(f"the service did not start: {self.log()[-2000:]}")
        started = json.loads(line)
        self.url, self.keys = started["url"], tuple(started["keys"])

    @property
    def log_path(self) -> Path:
        return self.data.parent / f"{self.data.name}{self.name}.log"

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    @property
    def token(self) -> str:
        return (self.data / "operator.token").read_text().strip()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def postgres_pid(self) -> int:
        """Process id of the postmaster; 0 if there is none at this moment."""
        try:
            return int((self.data / "postgres/postgres/postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def wait(self, *, deadline_s: float = 30) -> int:
        """Its exit status once it has ended."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), deadline_s)

    async def kill(self) -> None:
        """kill -9."""
        if self.running:
            self.signal(signal.SIGKILL)
            await self.wait()

    async def stop(self) -> None:
        """In order; kill -9 if that takes longer than 20 s."""
        if self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                await self.wait(deadline_s=20)
            except TimeoutError:
                await self.kill()
                raise AssertionError(f"the service did not stop: {self.log()[-2000:]}") from None

    @contextlib.asynccontextmanager
    async def client(self, recorder: Recorder) -> AsyncIterator[Client]:
        async with Client(self.url, recorder, self.token) as client:
            yield client
