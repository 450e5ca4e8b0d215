"""Witnesses for tests: honest ones as c2sp.org/tlog-witness has them, and every way of going wrong.

    FakeWitness   its state and its answers; `mood` is how it behaves from now on
    Wire          an Exchange in this process to any number of them, by host
    served        the same over HTTP
    HandClock     time that stands still until the test turns it

An honest one checks what the specification says, in its order, so a request that it cosigns was right.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Literal
from urllib.parse import urlsplit

from aiohttp import web

from ledger.checkpoint import Checkpoint, format_checkpoint, open_checkpoint
from ledger.cosignature import cosign
from ledger.errors import LedgerError, ProofInvalid, Unavailable
from ledger.gather_peer import Answer
from ledger.merkle import EMPTY_ROOT, verify_consistency
from ledger.note import (
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    Note,
    SignatureLine,
    VerifierKey,
    format_note,
    format_vkey,
    parse_note,
)
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.tlogwitness import (
    SIZE_TYPE,
    AddCheckpoint,
    checkpoint_path,
    format_cosignatures,
    format_size,
    parse_add_checkpoint,
)

#: How a witness behaves. `slow`: waits for `wake`, then answers honestly.
Mood = Literal[
    "honest",
    "dead",
    "slow",
    "garbage",
    "empty",
    "huge",
    "redirect",
    "500",
    "503",
    "wrong-signature",
    "half-wrong",
    "other-head",
    "other-key",
    "future",
    "past",
    "no-time",
    "flapping",
    "lies-ahead",
    "lies-around",
    "repeats",
    "422",
]


def seed(name: str) -> bytes:
    """32 bytes for a name."""
    return hashlib.sha256(name.encode()).digest()


class FakeWitness:
    """One witness with an Ed25519 key and, if `pq`, an ML-DSA-44 key too. `shows`: it has a monitoring endpoint."""

    def __init__(
        self, name: str, log_key: VerifierKey, now_s: Callable[[], int], *, pq: bool = False, shows: bool = True
    ) -> None:
        self.name = f"{name}.example/witness"
        self.host = f"{name}.example"
        self._log_key = log_key
        self._now_s = now_s
        self._signers: list[Ed25519Key | MLDSA44Key] = [Ed25519Key.from_seed(seed(name))]
        if pq:
            self._signers.append(MLDSA44Key.from_seed(seed(name)))
        self.keys = [
            VerifierKey(
                self.name,
                ED25519_COSIGNATURE if isinstance(signer, Ed25519Key) else MLDSA44_COSIGNATURE,
                signer.public_key,
            )
            for signer in self._signers
        ]
        self.shows = shows
        self.mood: Mood = "honest"
        self.wake = asyncio.Event()
        self.size, self.root = 0, EMPTY_ROOT
        self.note = b""
        #: Every head that it cosigned, with its lines.
        self.notes: list[bytes] = []
        #: Requests as they came, and how many are under way at once at the most.
        self.requests: list[AddCheckpoint] = []
        self.at_once = self.most_at_once = 0
        self._flaps = 0

    def policy_lines(self, url: str) -> str:
        """`witness` lines for its keys, by names like w1 and w1-pq."""
        short = self.host.partition(".")[0]
        names = [short, f"{short}-pq"]
        return "".join(f"witness {n} {format_vkey(k)} {url}\n" for n, k in zip(names, self.keys, strict=False))

    async def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to a request, as its mood has it."""
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            request = parse_add_checkpoint(body)
            self.requests.append(request)
            if self.mood == "slow":
                await self.wake.wait()
            return self._in_its_mood(request)
        finally:
            self.at_once -= 1

    def checkpoint(self) -> Answer:
        """The answer of its monitoring endpoint."""
        return Answer(200, self.note) if self.shows and self.note else Answer(404, b"")

    def adopt(self, note: bytes) -> None:
        """Stand at this head of the log, whatever came before: it has cosigned it some time."""
        checkpoint, opened = open_checkpoint(note, self._log_key)
        self._adopt(checkpoint, opened, self._lines(checkpoint, self._now_s()))

    def _in_its_mood(self, request: AddCheckpoint) -> Answer:
        checkpoint, note = open_checkpoint(request.note, self._log_key)
        now_s = self._now_s()
        match self.mood:
            case "dead":
                raise Unavailable("it cannot be asked (Test)")
            case "garbage":
                return Answer(200, b"\x00\xff<html>it works</html>\n")
            case "empty":
                return Answer(200, b"")
            case "huge":
                return Answer(200, "— huge.example AAAAAAA=\n".encode() * 100_000)
            case "redirect":
                return Answer(302, b"")
            case "500":
                return Answer(500, b"")
            case "503":
                return Answer(503, b"the audit is not done\n")
            case "422":
                return Answer(422, b"")
            case "lies-ahead":
                return Answer(409, format_size(checkpoint.size + 1_000_000))
            case "lies-around":
                return Answer(409, format_size(request.old_size + 1 if request.old_size + 1 < checkpoint.size else 1))
            case "repeats":
                return Answer(409, format_size(request.old_size))
            case "wrong-signature" | "half-wrong":
                lines = self._lines(checkpoint, now_s)
                spoilt = lines[-1]
                flipped = spoilt.signature[:-1] + bytes([spoilt.signature[-1] ^ 1])
                lines[-1] = SignatureLine(spoilt.name, spoilt.key_id, flipped)
                return Answer(200, format_cosignatures(tuple(lines)))
            case "other-head":
                other = Checkpoint(checkpoint.origin, checkpoint.size, bytes(32))
                return Answer(200, format_cosignatures(tuple(self._lines(other, now_s))))
            case "other-key":
                line = cosign(checkpoint, self.name, Ed25519Key.from_seed(seed("a stranger")), now_s)
                return Answer(200, format_cosignatures((line,)))
            case "future" | "past" | "no-time":
                time_s = {"future": now_s + 3600, "past": now_s - 3600, "no-time": 0}[self.mood]
                return Answer(200, format_cosignatures(tuple(self._lines(checkpoint, time_s))))
            case "flapping":
                self._flaps += 1
                if self._flaps % 2:
                    return Answer(503, b"")
        return self._honest(request, checkpoint, note)

    def _honest(self, request: AddCheckpoint, checkpoint: Checkpoint, note: Note) -> Answer:
        if request.old_size > checkpoint.size:
            return Answer(400, b"")
        if request.old_size != self.size:
            return Answer(409, format_size(self.size))
        if self.size == 0 and request.proof:
            return Answer(422, b"")
        if self.size:
            try:
                verify_consistency(self.size, checkpoint.size, self.root, checkpoint.root, request.proof)
            except ProofInvalid:
                return Answer(422, b"")
        lines = self._lines(checkpoint, self._now_s())
        self._adopt(checkpoint, note, lines)
        return Answer(200, format_cosignatures(tuple(lines)))

    def _adopt(self, checkpoint: Checkpoint, note: Note, lines: list[SignatureLine]) -> None:
        self.size, self.root = checkpoint.size, checkpoint.root
        self.note = format_note(Note(format_checkpoint(checkpoint), (*note.signatures, *lines)))
        self.notes.append(self.note)

    def _lines(self, checkpoint: Checkpoint, time_s: int) -> list[SignatureLine]:
        return [cosign(checkpoint, self.name, signer, time_s) for signer in self._signers]


class Wire:
    """An Exchange in this process. A host that nobody listens at cannot be asked."""

    def __init__(self, *witnesses: FakeWitness) -> None:
        self.witnesses = {witness.host: witness for witness in witnesses}
        self.asked: list[str] = []

    async def post(self, url: str, body: bytes, max_bytes: int) -> Answer:
        self.asked.append(url)
        witness = self._at(url)
        assert urlsplit(url).path == "/add-checkpoint"
        return _bounded(await witness.add_checkpoint(body), max_bytes)

    async def get(self, url: str, max_bytes: int) -> Answer:
        self.asked.append(url)
        witness = self._at(url)
        if witness.mood == "dead":
            raise Unavailable("it cannot be asked (Test)")
        if witness.mood == "slow":
            await witness.wake.wait()
        return _bounded(witness.checkpoint(), max_bytes)

    def _at(self, url: str) -> FakeWitness:
        witness = self.witnesses.get(urlsplit(url).hostname or "")
        if witness is None:
            raise Unavailable("it cannot be asked (Nobody)")
        return witness


def _bounded(answer: Answer, max_bytes: int) -> Answer:
    if len(answer.body) > max_bytes:
        raise Unavailable(f"its answer has more than {max_bytes} bytes")
    return answer


@contextlib.asynccontextmanager
async def served(witness: FakeWitness, *, port: int = 0) -> AsyncIterator[str]:
    """Its URL while it listens. What `dead` means here is a connection that ends without an answer."""

    async def add(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            answer = await witness.add_checkpoint(body)
        except LedgerError:
            assert request.transport is not None
            request.transport.close()
            raise web.HTTPServiceUnavailable from None
        headers = {"Content-Type": SIZE_TYPE} if answer.status == 409 else {}
        if answer.status == 302:
            headers["Location"] = "/elsewhere"
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def show(_: web.Request) -> web.Response:
        answer = witness.checkpoint()
        return web.Response(status=answer.status, body=answer.body)

    app = web.Application()
    origin_path = checkpoint_path(witness._log_key.name)
    app.add_routes([web.post("/add-checkpoint", add), web.get("/" + origin_path, show)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        witness.wake.set()
        await runner.cleanup()


def cosigned_by(note: bytes, witness: FakeWitness) -> list[SignatureLine]:
    """The lines of a note by this witness's keys."""
    return [line for line in parse_note(note).signatures if any(line.is_by(key) for key in witness.keys)]


class HandClock:
    """Both clocks stand still; `turn` moves them and wakes whose pause is over. `pauses`: all so far."""

    def __init__(self, now_s: int = 1_800_000_000) -> None:
        self.now = float(now_s)
        self.pauses: list[float] = []
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return round(self.now * 1000)

    def now_s(self) -> int:
        return int(self.now)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.now + seconds, future))
        await future

    async def turn(self, seconds: float) -> None:
        """Time passes; everybody has done what there is to do when this returns."""
        self.now += seconds
        due = [future for at, future in self._sleeping if at <= self.now]
        self._sleeping = [(at, future) for at, future in self._sleeping if at > self.now]
        for future in due:
            if not future.done():
                future.set_result(None)
        await settle()


async def settle() -> None:
    """Let every task run until it waits for something of this test."""
    for _ in range(200):
        await asyncio.sleep(0)
