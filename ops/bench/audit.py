"""How fast a log is audited, and in how much memory: `badge-ledger audit` as a process of its own, a peer beside it.

    python -m ops.bench.audit [--entries N] [--each M] [--fsck PATH] [--json]

A log of N events in submissions of M is made in a temporary folder, with every signature. It is audited from the folder
and over HTTP. The peer, Tessera's fsck, checks hashes only; `--fsck` names its program
(go install github.com/transparency-dev/tessera/cmd/fsck@v1.0.4). Processor seconds are what one core gives: server and
kernel are not in them, but what the kernel does for the process is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from ledger.assemble import Logged, Tip
from ledger.block import sign_submission
from ledger.entry import (
    ADD,
    ALG_ED25519,
    BINDING_SELF_CERTIFYING,
    LIST_SLOTS,
    NONE_INDEX,
    ZERO32,
    ZERO64,
    Entry,
    IssuerKey,
    LogParams,
    StatusList,
    StatusRoot,
    did_key,
    encode,
    encode_issue,
    issuer_id,
)
from ledger.merkle import leaf_hash, leaf_hashes
from ledger.message import key_message
from ledger.note import format_vkey
from ledger.publisher import HeadSigner
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.status import StatusTree
from ledger.tiles import ENTRIES_LEVEL, Edge, Tile, tile_path
from ops.bench.limits import core_events_per_s

ORIGIN = "bench.example/audit"
SIGNER = HeadSigner(ORIGIN, Ed25519Key.from_seed(bytes(32)), MLDSA44Key.from_seed(bytes(32)))
ISSUER_KEY = Ed25519Key.from_seed(b"\1" * 32)


class Maker:
    """Writes a log that keeps all rules, a submission after the other with a status_root behind each."""

    def __init__(self, folder: Path, time_ms: int) -> None:
        self.folder = folder
        self.time_ms = time_ms
        self.tip = Tip(Edge())
        self.previous = NONE_INDEX
        self.lists = self.issued = 0

    def make(self, events: int, each: int) -> int:
        """The log of so many events. Returns its size."""
        identifier = did_key(ISSUER_KEY.public_key)
        issuer = issuer_id(identifier)
        self._extend([LogParams(self.time_ms, ORIGIN)])
        self._seal()
        message = key_message(ORIGIN, ADD, ZERO32, identifier, 7, ALG_ED25519, ISSUER_KEY.public_key)
        key_index = self.tip.size
        key = IssuerKey(
            time=self.time_ms,
            action=ADD,
            prev=ZERO32,
            identifier=identifier,
            roles=7,
            algorithm=ALG_ED25519,
            public_key=ISSUER_KEY.public_key,
            binding=BINDING_SELF_CERTIFYING,
            evidence=ZERO32,
            signer=NONE_INDEX,
            possession_sig=ISSUER_KEY.sign(message),
            manage_sig=ZERO64,
        )
        lists = -(-events // LIST_SLOTS)
        self._extend([key, *[StatusList(self.time_ms, number, issuer) for number in range(lists)]])
        self.lists = lists
        self._seal()
        for start in range(0, events, each):
            slots = range(start, min(events, start + each))
            data = b"".join([encode_issue(issuer, slot, slot.to_bytes(32, "big")) for slot in slots])
            nonce = start.to_bytes(16, "big")
            block = sign_submission(ORIGIN, ISSUER_KEY, issuer, key_index, data, self.time_ms, nonce)
            block = block.with_time(self.time_ms)
            head = encode(block.submission)
            self._write([Logged(self.tip.size, head, leaf_hash(head), block.submission, block)])
            self.issued += block.count
            self._seal()
        for level, data in enumerate(self.tip.edge.partials()):
            if data:
                self._file(Tile(level, self.tip.size >> 8 * (level + 1), len(data) // 32), data)
        if self.tip.size % 256:
            self._file(Tile(ENTRIES_LEVEL, self.tip.size >> 8, self.tip.size % 256), self.tip.pending)
        note = SIGNER.sign(self.tip.size, self.tip.root(), self.time_ms // 1000 + 1)
        (self.folder / "checkpoint").write_bytes(note)
        return self.tip.size

    def _seal(self) -> None:
        root = StatusTree.empty().with_lists(self.lists).root
        entry = StatusRoot(self.time_ms, self.previous, self.lists, self.issued, 0, 0, root)
        self.previous = self.tip.size
        self._extend([entry])

    def _extend(self, entries: list[Entry]) -> None:
        raw = [encode(entry) for entry in entries]
        first = self.tip.size
        self._write(
            [
                Logged(first + k, data, leaf, entry)
                for k, (entry, data, leaf) in enumerate(zip(entries, raw, leaf_hashes(raw), strict=True))
            ]
        )

    def _write(self, units: list[Logged]) -> None:
        grown = self.tip.extend(units)
        for level, index, data in grown.full_tiles:
            self._file(Tile(level, index), data)
        for index, data in grown.bundles:
            self._file(Tile(ENTRIES_LEVEL, index), data)
        self.tip = grown.tip

    def _file(self, tile: Tile, data: bytes) -> None:
        path = self.folder / tile_path(tile)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Cost(msgspec.Struct):
    """What a process took: seconds of wall clock and of processor, and its largest resident set in bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run(arguments: list[str], folder: Path, expect: str) -> Cost:
    """Run a program to its end. Raises RuntimeError unless it says `expect`."""
    started = time.perf_counter()
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    said = (folder / "out").read_text(errors="replace")
    if expect not in said:
        raise RuntimeError(f"{arguments[0]} did not say {expect!r}: {said[-400:]}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _serve(folder: str, pipe: Connection) -> None:
    async def main() -> None:
        async def get(request: web.Request) -> web.Response:
            try:
                return web.Response(body=(Path(folder) / request.path[1:]).read_bytes())
            except OSError:
                raise web.HTTPNotFound from None

        app = web.Application()
        app.router.add_get("/{path:.+}", get)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    uvloop.run(main())


def measure(events: int, each: int, fsck: str | None) -> Iterator[dict[str, object]]:
    """Make the log, and audit it from the folder and over HTTP."""
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as name:
        work = Path(name)
        log = work / "log"
        size = Maker(log, int(time.time() * 1000)).make(events, each)
        keys = [format_vkey(key) for key in SIGNER.verifier_keys]
        (work / "policy").write_text("".join(f"log {key}\n" for key in keys) + "quorum none\n")
        (work / "log.vkey").write_text(keys[0])
        program = str(Path(sys.executable).with_name("badge-ledger"))
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(str(log), theirs), daemon=True)
        server.start()
        try:
            places = {"folder": str(log), "http": f"http://127.0.0.1:{ours.recv()}/"}
            for where, place in places.items():
                command = [program, "audit", place, "--policy", "policy", "--state", f"{where}.audit"]
                yield {
                    "what": f"audit, {where}",
                    "entries": size,
                    "each": each,
                    **_figures(size, run([*command, "--no-fetch-documents"], work, "AUDITED")),
                }
                if fsck is not None:
                    url = place if where == "http" else f"file://{place}/"
                    check = [fsck, "-ui=false", "-v=1", "-storage_url", url, "-public_key", "log.vkey", "-N", "1"]
                    cost = run(check, work, "Successfully fsck'd log")
                    yield {"what": f"fsck, {where}", "entries": size, "each": each, **_figures(size, cost)}
        finally:
            server.terminate()
            server.join()


def _figures(size: int, cost: Cost) -> dict[str, object]:
    return {
        "entries_per_s": round(size / cost.wall_s),
        "entries_per_cpu_s": round(size / cost.cpu_s),
        "wall_s": round(cost.wall_s, 2),
        "cpu_s": round(cost.cpu_s, 2),
        "peak_mib": round(cost.peak_bytes / 2**20),
    }


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1_000_000, help="events in the log (default: 1,000,000)")
    parser.add_argument("--each", type=int, default=10_000, help="events in one submission (default: 10,000)")
    parser.add_argument("--fsck", metavar="PATH", help="Tessera's fsck, for comparison")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}", file=sys.stderr)
    slots = range(min(10_000, options.entries))
    data = b"".join([encode_issue(bytes(32), slot, bytes(32)) for slot in slots])
    limit = core_events_per_s(sign_submission(ORIGIN, ISSUER_KEY, bytes(32), 0, data, 0, bytes(16)))
    for line in measure(options.entries, options.each, options.fsck):
        if options.json:
            print(json.dumps(line), flush=True)
            continue
        rate = line["entries_per_cpu_s"]
        assert isinstance(rate, int)
        print(
            f"{line['what']}: {line['entries']:,} entries in submissions of {line['each']:,}\n"
            f"    {line['entries_per_s']:,} entries/s, {rate:,} a processor second, {line['peak_mib']} MiB\n"
            f"    {rate / limit:.2f} of the {limit:,.0f} entries/s that one core reads and hashes",
            flush=True,
        )


if __name__ == "__main__":
    main()
