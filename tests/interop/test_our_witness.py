"""`badge-ledger witness` for logs of others: Tessera's, with Tessera's own client and with the heads of its server.

Tessera's posix-oneshot submits its heads itself and publishes none that the witness did not cosign. The heads of its
POSIX server are submitted by a feeder of a few lines, with proofs from the log's own tiles. Go verifies our lines:
transparency-dev/formats those of algorithm 4 and 6, filippo.io/mldsa those of subtrees (tests/interop/go/note).
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.cosignature import verify_cosignature
from ledger.merkle import build, plan_consistency, tree_hash, tree_levels
from ledger.note import Note, VerifierKey, format_note, format_vkey, parse_note
from ledger.signing import Ed25519Key
from ledger.tiles import split_hashes, tile_path, tiles_for_size
from ledger.tlogwitness import (
    AddCheckpoint,
    SignSubtree,
    format_add_checkpoint,
    format_sign_subtree,
    parse_cosignatures,
)
from ledger.witness import Answer, WitnessedLog
from tests.interop.programs import BUILD_S, ONESHOT, POSIX, free_port, install, listens, running
from tests.interop.programs import build as build_program
from tests.witness.logs import ED_KEY, PQ_KEY, seed, subtree_proof
from tests.witness.process import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * BUILD_S)]

SOURCE = Path(__file__).parent / "go" / "note"
ORIGIN = "tessera.example/log"
LOG = Ed25519Key.from_seed(seed("tessera"))
LOG_KEY = VerifierKey(ORIGIN, 1, LOG.public_key)
ED, PQ = ED_KEY.verifier_key(), PQ_KEY.verifier_key()
Ask = Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Our Go program, built; called with requests it gives as many answers."""
    program = build_program(SOURCE, tmp_path_factory.mktemp("go") / "note")

    def run(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        lines = "".join(json.dumps(request, default=_encode) + "\n" for request in requests)
        done = subprocess.run([program], input=lines, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def _encode(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Process]:
    """Our witness, which knows Tessera's log."""
    process = Process(tmp_path, WitnessedLog(ORIGIN, (LOG_KEY,), 2**31 - 1))
    await process.start()
    yield process
    await process.kill()


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="blt-"))
    secret = _encode(b"\x01" + LOG.seed)
    (path / "log.skey").write_text(f"PRIVATE+KEY+{ORIGIN}+{LOG_KEY.key_id.hex()}+{secret}")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def check_in_go(ask: Ask, note: bytes, *keys: VerifierKey) -> None:
    """The note is signed by each of these keys, as Go sees it."""
    requests = []
    for key in keys:
        operation = "open" if key.algorithm == 1 else "open-cosigned"
        requests.append({"op": operation, "note": note, "keys": [format_vkey(key)]})
    assert [answer["error"] for answer in ask(requests)] == [""] * len(keys)


class Oneshot:
    """Tessera's one-shot log, whose policy demands our witness's Ed25519 key."""

    def __init__(self, folder: Path, witness: Process) -> None:
        self.folder = folder
        self.storage = folder / "log"
        self._policy = folder / "witness.policy"
        self._policy.write_text(f"witness ours {format_vkey(ED)} http://127.0.0.1:{witness.port}/\nquorum ours\n")
        self._number = 0

    def start(self, count: int) -> subprocess.Popen[str]:
        """Add so many new entries; it ends when a head that covers them is published."""
        entries = self.folder / f"entries{self._number}"
        entries.mkdir()
        for k in range(count):
            (entries / f"{k}").write_text(f"entry {k} of {self._number} in {self.storage.name}")
        self._number += 1
        command: list[str | Path] = [install(ONESHOT), "-storage_dir", self.storage]
        command += ["-private_key", self.folder / "log.skey"]
        command += ["-entries", entries / "*", "-witness_policy_file", self._policy]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def add(self, count: int) -> None:
        process = self.start(count)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said

    def published(self) -> bytes:
        return (self.storage / "checkpoint").read_bytes()


async def test_tessera_has_its_heads_cosigned(witness: Process, folder: Path, ask: Ask) -> None:
    """From its first head on, by its own client, over heads of many sizes; each run is a new process that does not
    know where the witness stands. What the witness serves is the same head with both cosignatures."""
    log = Oneshot(folder, witness)
    size = 0
    for count in (1, 2, 5, 300, 1, 700):
        await asyncio.to_thread(log.add, count)
        size += count
        note = log.published()
        checkpoint, _ = open_checkpoint(note, LOG_KEY)
        assert checkpoint.size == size
        check_in_go(ask, note, LOG_KEY, ED)
        shown = await witness.checkpoint(ORIGIN)
        assert open_checkpoint(shown.body, LOG_KEY)[0] == checkpoint
        check_in_go(ask, shown.body, LOG_KEY, ED, PQ)


async def test_a_tessera_log_that_forks_is_not_cosigned(witness: Process, folder: Path) -> None:
    """Its folder is put back to an earlier state and gets other entries: its own client reports what our witness
    answered, and it publishes nothing."""
    log = Oneshot(folder, witness)
    await asyncio.to_thread(log.add, 5)
    shutil.copytree(log.storage, folder / "fork")
    await asyncio.to_thread(log.add, 4)
    honest = log.published()
    log.storage = folder / "fork"
    before = log.published()
    process = log.start(4)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 5)
    finally:
        process.kill()
        said, _ = process.communicate()
    assert "422" in said or "proof is bad" in said, said
    assert log.published() == before
    assert (await witness.checkpoint(ORIGIN)).body.startswith(honest.partition(b"\n\n")[0])
    log.storage = folder / "log"
    await asyncio.to_thread(log.add, 3)


class Server:
    """Tessera's POSIX server, and its tree as its tiles have it."""

    def __init__(self, storage: Path, port: int) -> None:
        self.storage = storage
        self.port = port

    def add(self, count: int) -> None:
        """All at once: an add is answered once its batch is integrated, and a batch waits a second for company."""

        def post(k: int) -> None:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
                connection.request("POST", "/add", f"{time.time_ns()} {k}".encode())
                response = connection.getresponse()
                assert response.status == 200, response.read()
                response.read()

        with ThreadPoolExecutor(64) as pool:
            list(pool.map(post, range(count)))

    def head(self, least: int) -> tuple[Checkpoint, bytes]:
        """The first head of at least that size."""
        deadline = time.monotonic() + 30
        while True:
            note = (self.storage / "checkpoint").read_bytes()
            checkpoint, _ = open_checkpoint(note, LOG_KEY)
            if checkpoint.size >= least:
                return checkpoint, note
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def leaves(self, head: Checkpoint) -> list[bytes]:
        """The leaf hashes under a head, from the tiles of level 0; they lead to its root."""
        tiles = [tile for tile in tiles_for_size(head.size) if tile.level == 0]
        leaves = [leaf for tile in tiles for leaf in split_hashes((self.storage / tile_path(tile)).read_bytes())]
        assert tree_hash(leaves) == head.root
        return leaves


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    port = free_port()
    command: list[str | Path] = [install(POSIX), "-storage_dir", folder / "log", "-private_key", folder / "log.skey"]
    command += ["-listen", f"127.0.0.1:{port}"]

    def ready() -> bool:
        return listens(port) and (folder / "log" / "checkpoint").exists()

    with running(command, folder / "posix.log", ready):
        yield Server(folder / "log", port)


async def test_the_growing_heads_of_tesseras_server(witness: Process, server: Server, ask: Ask) -> None:
    """Each cosigned by both keys, verified in Go and here; the same head again too."""
    size = 0
    for count in (0, 3, 200, 100):
        await asyncio.to_thread(server.add, count)
        head, note = await asyncio.to_thread(server.head, size + count)
        proof = consistency(server.leaves(head), size)
        for old, hashes in ((size, proof), (head.size, ())):
            answer = await feed(witness, AddCheckpoint(old, hashes, note))
            assert answer.status == 200, answer
            check_in_go(ask, note + answer.body, LOG_KEY, ED, PQ)
            for key, line in zip((ED, PQ), parse_cosignatures(answer.body), strict=True):
                assert abs(verify_cosignature(head, key, line) - time.time()) < 30
        size = head.size
    assert size >= 303


async def test_subtrees_of_tesseras_log(witness: Process, server: Server, ask: Ask) -> None:
    """Their ML-DSA-44 signatures verify in Go over the message that the specification writes down."""
    await asyncio.to_thread(server.add, 21)
    head, note = await asyncio.to_thread(server.head, 21)
    answer = await feed(witness, AddCheckpoint(0, (), note))
    reference = format_note(Note(parse_note(note).text, parse_cosignatures(answer.body)[1:]))
    leaves = server.leaves(head)
    requests = []
    for start, end in ((0, 21), (0, 16), (8, 13), (16, 21), (20, 21)):
        root = tree_hash(leaves[start:end])
        proof = tuple(subtree_proof(start, end, leaves))
        body = format_sign_subtree(SignSubtree(start, end, root, proof, reference))
        signed = await asyncio.to_thread(witness._request, "POST", "/sign-subtree", body)
        assert signed is not None
        assert signed.status == 200, signed
        (line,) = parse_cosignatures(signed.body)
        name, origin = PQ.name.encode(), ORIGIN.encode()
        message = b"subtree/v1\n\0" + bytes([len(name)]) + name + bytes(8) + bytes([len(origin)]) + origin
        message += start.to_bytes(8, "big") + end.to_bytes(8, "big") + root
        for text in (message, message + b"x"):
            requests.append(
                {"op": "mldsa", "public_key": PQ.public_key, "message": text, "signature": line.signature[8:]}
            )
    assert [found["ok"] for found in ask(requests)] == [True, False] * 5


def consistency(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """RFC 6962 PROOF(old, leaves)."""
    nodes = {(level, at): node for level, row in enumerate(tree_levels(leaves)) for at, node in enumerate(row)}
    return tuple(build(plan_consistency(old, len(leaves)), nodes))


async def feed(witness: Process, request: AddCheckpoint) -> Answer:
    """One add-checkpoint."""
    answer = await witness.add_checkpoint(format_add_checkpoint(request))
    assert answer is not None
    return answer
