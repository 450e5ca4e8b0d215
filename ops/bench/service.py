"""A service of its own for a benchmark, in a process of its own, and what each process used of the processors."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from ledger.block import Block, sign_submission
from ledger.entry import did_key, encode_issue
from ledger.message import key_message, slots_message
from ledger.signing import Ed25519Key

_START = "import sys; from ledger.cli import main; main()"
_TICKS = os.sysconf("SC_CLK_TCK")
HOUR_MS = 3_600_000


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, its ended children not included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


class Shares:
    """Processor time by process between two moments: `with Shares(...) as s: ...; s.text(seconds)`."""

    def __init__(self, service: int, client: int | None = None) -> None:
        self._service = service
        self._client = client or os.getpid()

    def _read(self) -> dict[str, float]:
        usage = {"service": cpu_seconds(self._service), "client": cpu_seconds(self._client), "postgres": 0.0}
        for pid in children(self._service):
            try:
                usage["postgres"] += cpu_seconds(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
        return usage

    def __enter__(self) -> Shares:
        self._before, self._at = self._read(), time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.seconds = time.perf_counter() - self._at
        after = self._read()
        self.cores = {name: (after[name] - self._before[name]) / self.seconds for name in after}

    def __str__(self) -> str:
        return ", ".join(f"{name} {cores:.2f}" for name, cores in sorted(self.cores.items())) + " cores"


class Service:
    """`badge-ledger serve` on an empty directory and a free port; one issuer is registered."""

    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="badge-ledger-bench-"))
        self.directory.chmod(0o755)
        self._log = (self.directory / "service.log").open("wb")
        command = [sys.executable, "-c", _START, "serve", "--data", str(self.directory / "data")]
        self.process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", *options], stdout=self._log, stderr=self._log
        )
        self.port = self._wait()
        info = self.get("/v1/log")
        self.origin: str = info["origin"]
        self.key = Ed25519Key.from_seed(secrets.token_bytes(32))
        self._register()

    def _wait(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in (self.directory / "service.log").read_text().splitlines():
                if line.startswith("{") and (event := json.loads(line))["event"] == "serve.ready":
                    return int(event["url"].rpartition(":")[2])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.close()
        raise SystemExit("the service did not start")

    def close(self) -> None:
        """Stop the service and remove everything it wrote."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def get(self, path: str) -> Any:
        """A JSON answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        """A JSON answer to a JSON body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **headers},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    def _register(self) -> None:
        identifier = did_key(self.key.public_key)
        message = key_message(self.origin, 1, bytes(32), identifier, 7, 1, self.key.public_key)
        token = (self.directory / "data" / "operator.token").read_text().strip()
        answer = self.post(
            "/v1/issuers",
            {
                "identifier": identifier,
                "public_key": self.key.public_key.hex(),
                "roles": 7,
                "possession_sig": base64.b64encode(self.key.sign(message)).decode(),
            },
            Authorization=f"Bearer {token}",
        )
        self.issuer = bytes.fromhex(answer["issuer"])
        self.key_index: int = answer["keys"][0]["index"]

    def slots(self, count: int) -> list[int]:
        """Unused slots."""
        found: list[int] = []
        while len(found) < count:
            take = min(100_000, count - len(found))
            not_after, nonce = int(time.time() * 1000) + HOUR_MS, secrets.token_bytes(16)
            message = slots_message(self.origin, self.issuer, self.key_index, not_after, nonce, take)
            found += self.post(
                f"/v1/issuers/{self.issuer.hex()}/slots",
                {
                    "key": self.key_index,
                    "not_after": not_after,
                    "nonce": nonce.hex(),
                    "count": take,
                    "signature": base64.b64encode(self.key.sign(message)).decode(),
                },
            )["slots"]
        return found

    def submission(self, slots: list[int]) -> Block:
        """A signed submission that issues these slots, with random commitments."""
        random = secrets.token_bytes(32 * len(slots))
        events = b"".join(
            [encode_issue(self.issuer, slot, random[32 * k : 32 * k + 32]) for k, slot in enumerate(slots)]
        )
        not_after = int(time.time() * 1000) + HOUR_MS
        return sign_submission(
            self.origin, self.key, self.issuer, self.key_index, events, not_after, secrets.token_bytes(16)
        )
