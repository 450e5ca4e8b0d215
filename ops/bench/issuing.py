"""A whole class: badges on disk to receipts on disk, with the command itself, and where the time goes.

The limit is what the machine does at the least for that: read each badge, SHA-256 it, write a file of a receipt's size
and rename it, in as many processes, with one sync at the end; measured in the same run, on the same file system.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from ledger.cli.writing import sync_folder
from ledger.entry import did_key
from ledger.keyfile import save_issuer_key, save_salt_key
from ops.bench.service import Service, Shares
from ops.demo_badges import BadgeIssuer, ob3_json

_START = "import sys; from ledger.cli import main; main()"
#: Badges of some 2 kB, every other one without a proof, so that it is salted.
_PADDING = "What was shown, where, and before whom. " * 12


def make_badges(folder: Path, issuer: BadgeIssuer, count: int) -> int:
    """Write `count` badges as files; their mean size in bytes. The proofs are another badge's: nobody checks them."""
    badge = json.loads(ob3_json(issuer, 1))
    badge["credentialSubject"]["achievement"]["description"] = _PADDING
    proof = badge.pop("proof")
    folder.mkdir(parents=True)
    written = 0
    for number in range(count):
        signed = {"proof": proof} if number % 2 else {}
        data = json.dumps(badge | {"id": f"urn:uuid:{uuid.uuid4()}"} | signed, indent=1).encode()
        (folder / f"badge-{number:06}.json").write_bytes(data)
        written += len(data)
    return written // count


def _copy(names: list[str], source: str, target: str, size: int) -> None:
    data = bytes(size)
    for name in names:
        file = os.open(f"{source}/{name}", os.O_RDONLY)
        hashlib.sha256(os.read(file, 1 << 16)).digest()
        os.close(file)
        file = os.open(f"{target}/.{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(file, data)
        os.close(file)
        os.rename(f"{target}/.{name}", f"{target}/{name}")


def files_per_s(source: Path, target: Path, size: int) -> float:
    """Files a second that are read, hashed, written and renamed, on all cores, synced at the end."""
    names = sorted(os.listdir(source))
    processes = os.cpu_count() or 1
    target.mkdir()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(abs, range(processes))  # until all have started
        started = time.perf_counter()
        pool.starmap(_copy, [(names[k::processes], str(source), str(target), size) for k in range(processes)])
        sync_folder(target)
        return len(names) / (time.perf_counter() - started)


def issuing(service: Service, count: int) -> dict[str, Any]:
    """`badge-ledger issue` on a folder of badges, as an issuer types it; then the same command again."""
    with tempfile.TemporaryDirectory(prefix="badge-ledger-bench-") as directory:
        folder = Path(directory)
        key = folder / "issuer.key"
        identifier = did_key(service.key.public_key)
        save_issuer_key(key, service.key, issuer=identifier, key_index=service.key_index)
        save_salt_key(folder / "issuer.key.salt", secrets.token_bytes(32))
        size = make_badges(folder / "badges", BadgeIssuer(service.key.seed), count)
        command = [sys.executable, "-c", _START, "issue", str(folder / "badges"), "--out", str(folder / "receipts")]
        command += ["--key", str(key), "--url", f"http://127.0.0.1:{service.port}/", "--json"]
        command += ["--no-check-signatures"]  # as by default in runs of more than 500
        os.sync()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with Shares(service.process.pid) as shares:
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        answer = json.loads(done.stdout)
        if answer["totals"]["issued"] != count:
            raise SystemExit(f"not all were issued: {answer['totals']}")
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        again = time.perf_counter() - started
        receipt = sum(entry.stat().st_size for entry in os.scandir(folder / "receipts")) // count
        limit = files_per_s(folder / "badges", folder / "copies", receipt)
    rate = count / shares.seconds
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    services = (shares.cores["service"] + shares.cores["postgres"]) * shares.seconds
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in answer["seconds"].items())
    return {
        "what": f"issuing: {count:,} badges of {size:,} bytes on disk to receipts of {receipt:,} bytes on disk",
        "figure": f"{rate:,.0f} badges/s ({shares.seconds:.1f} s: {stages}); the same command again: {again:.1f} s",
        "ratio": f"{rate / limit:.2f} of the {limit:,.0f} files/s that are read, hashed, written and renamed",
        "shares": (
            f"processor time a badge: client {cpu / count * 1e6:.0f} us, service and postgres "
            f"{services / count * 1e6:.0f} us; largest process of the client {after.ru_maxrss // 1024} MiB"
        ),
        "value": rate,
    }
