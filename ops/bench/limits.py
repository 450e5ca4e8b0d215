"""What the machine can do at the most, measured in the same run: the other side of every ratio."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from aiohttp import web

from ledger.assemble import Logged, Tip
from ledger.block import Block, decode_body, encode_body
from ledger.entry import encode
from ledger.merkle import leaf_hash
from ledger.signing import Ed25519Key, verify_ed25519
from ledger.tiles import Edge
from ops.bench.rawclient import load, post


def ed25519_per_s() -> float:
    """Signature checks a second on one core."""
    key = Ed25519Key.from_seed(secrets.token_bytes(32))
    message = secrets.token_bytes(200)
    signature = key.sign(message)
    started = time.perf_counter()
    for _ in range(3000):
        verify_ed25519(key.public_key, message, signature)
    return 3000 / (time.perf_counter() - started)


def core_events_per_s(block: Block) -> float:
    """Events a second of what a bulk submission needs at the least: read, both trees, bundles. No network, no disk."""
    body = encode_body(block)
    tip = Tip(Edge())
    started = time.perf_counter()
    rounds = 10
    for _ in range(rounds):
        read = decode_body(body)
        read.check_events_root()
        data = encode(read.submission)
        tip = tip.extend([Logged(tip.size, data, leaf_hash(data), read.submission, read)]).tip
    return rounds * block.count / (time.perf_counter() - started)


def fsyncs_per_s() -> float:
    """Small appends with fsync a second, where the temporary directory is."""
    with tempfile.TemporaryDirectory() as directory:
        file = os.open(Path(directory) / "f", os.O_WRONLY | os.O_CREAT)
        started = time.perf_counter()
        for _ in range(200):
            os.write(file, bytes(4096))
            os.fsync(file)
        seconds = time.perf_counter() - started
        os.close(file)
    return 200 / seconds


def _serve_nothing(pipe: Connection) -> None:
    async def main() -> None:
        async def answer(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(body=b"{}", content_type="application/json")

        app = web.Application()
        app.router.add_post("/v1/submissions", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    uvloop.run(main())


def empty_posts_per_s(connections: int, body_bytes: int) -> float:
    """Requests a second that this HTTP server answers when the handler does nothing, by the same client."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve_nothing, args=(theirs,), daemon=True)
    process.start()
    try:
        port: int = ours.recv()
        request = post("/v1/submissions", bytes(body_bytes))
        load(port, [request] * 2000, connections)
        started = time.perf_counter()
        load(port, [request] * 20_000, connections)
        return 20_000 / (time.perf_counter() - started)
    finally:
        process.terminate()
        process.join()
