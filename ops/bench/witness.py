"""Benchmark of `badge-ledger witness`: cosigned heads a second, of many logs and of one.

    python -m ops.bench.witness [--logs N] [--steps N]

Every request is a new head with its consistency proof, signed by its log with Ed25519, and every answer was synced to
disk before it was given. The state lies in the folder for temporary files (TMPDIR). Witness and client share the
machine. Figures are of this run on this machine; the last line is what one core signs, to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.keyfile import WITNESS_ED25519, WITNESS_MLDSA44, PrivateKey, create_key
from ledger.merkle import build, leaf_hash, plan_consistency, tree_hash, tree_levels
from ledger.note import ED25519, Note, VerifierKey, format_note, format_vkey, sign_note
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.tlogwitness import ADD_CHECKPOINT, AddCheckpoint, format_add_checkpoint
from ops.bench.rawclient import load, post

COMMAND = Path(sys.executable).with_name("badge-ledger")
KINDS = {"Ed25519": (WITNESS_ED25519,), "ML-DSA-44": (WITNESS_MLDSA44,), "both": (WITNESS_ED25519, WITNESS_MLDSA44)}
CONNECTIONS = 64
#: Entries that a log gets between two heads.
STEP = 3


class _Log:
    """A log's name, key and prepared requests, one after the other."""

    def __init__(self, number: int, steps: int) -> None:
        self.origin = f"log{number}.example"
        self.key = Ed25519Key.from_seed(secrets.token_bytes(32))
        leaves = [leaf_hash(b"%d %d" % (number, k)) for k in range(1 + steps * STEP)]
        nodes = {(level, at): node for level, row in enumerate(tree_levels(leaves)) for at, node in enumerate(row)}
        self.requests = []
        for old, size in [(0, 1), *((1 + k * STEP, 1 + (k + 1) * STEP) for k in range(steps - 1))]:
            text = format_checkpoint(Checkpoint(self.origin, size, tree_hash(leaves[:size])))
            note = format_note(Note(text, (sign_note(text, self.origin, self.key),)))
            proof = tuple(build(plan_consistency(old, size), nodes))
            body = format_add_checkpoint(AddCheckpoint(old, proof, note))
            self.requests.append(post(f"/{ADD_CHECKPOINT}", body, "text/plain"))

    def listed(self) -> str:
        """Its lines in the log list."""
        vkey = format_vkey(VerifierKey(self.origin, ED25519, self.key.public_key))
        return f"vkey {vkey}\nqpd 2147483647\ncontact bench\n"


def measure(kinds: Sequence[str], logs: Sequence[_Log], connections: int) -> tuple[float, list[float]]:
    """Heads a second and latencies in seconds, of all requests of these logs."""
    with tempfile.TemporaryDirectory(prefix="bl-witness-") as name:
        folder = Path(name)
        arguments: list[str | Path] = [COMMAND, "witness", "--json", "--listen", "127.0.0.1:0", "--new-state"]
        arguments += ["--logs", folder / "logs.txt", "--state", folder / "witness.db"]
        (folder / "logs.txt").write_text("logs/v0\n" + "".join(log.listed() for log in logs))
        for kind in kinds:
            create_key(folder / kind, PrivateKey(kind, secrets.token_bytes(32), name="witness.example/bench"))
            arguments += ["--witness-key", folder / kind]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder)
        try:
            assert process.stdout is not None
            port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
            # Step by step through all logs: with far more logs than connections the heads of one keep their order.
            requests = [log.requests[step] for step in range(len(logs[0].requests)) for log in logs]
            began = time.perf_counter()
            latencies = load(port, requests, connections)
            return len(requests) / (time.perf_counter() - began), latencies
        finally:
            process.terminate()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="Cosigned heads a second of a witness.")
    parser.add_argument("--logs", type=int, default=1000, help="many logs: how many")
    parser.add_argument("--steps", type=int, default=10, help="heads of each")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    many = [_Log(number, options.steps) for number in range(options.logs)]
    one = [_Log(0, options.steps * 50)]
    for name, kinds in KINDS.items():
        rate, latencies = measure(kinds, many, CONNECTIONS)
        alone, single = measure(kinds, one, 1)
        print(f"{name}: {rate:,.0f} heads/s of {options.logs} logs, {CONNECTIONS} at a time, {_percentiles(latencies)}")
        print(f"    one log, one at a time: {alone:,.0f} heads/s, {_percentiles(single)}")
    ed25519, mldsa44 = Ed25519Key.from_seed(bytes(32)), MLDSA44Key.from_seed(bytes(32))
    print(f"one core signs {_per_s(ed25519):,.0f}/s with Ed25519, {_per_s(mldsa44):,.0f}/s with ML-DSA-44")
    return 0


def _percentiles(latencies: list[float]) -> str:
    ordered = sorted(latencies)
    median, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return f"median {median * 1000:.1f} ms, 99th {p99 * 1000:.1f} ms"


def _per_s(key: Ed25519Key | MLDSA44Key) -> float:
    began, count = time.perf_counter(), 1000
    for number in range(count):
        key.sign(b"%200d" % number)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
