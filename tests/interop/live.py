"""A running `badge-ledger serve` with a large log, of which every event that was submitted is known."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Self

from ledger.block import Block, encode_body, sign_submission
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import REVOKE, encode_status_event
from ledger.merkle import leaf_hash
from ledger.note import Note, VerifierKey, format_note, parse_vkey
from ledger.text import parse_base64
from ops.bench.service import HOUR_MS, Service

ORIGIN = "ledger.example/interop"
COMMAND = Path(sys.executable).with_name("badge-ledger")


class LiveLedger(Service):
    """The service. By log index: `leaves`, the leaf hashes of all submitted events, and `commitments` of the badges."""

    def __init__(self, *options: str) -> None:
        # Nothing grows the log but the tests.
        super().__init__("--origin", ORIGIN, "--heartbeat", "86400", *options)
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys: tuple[VerifierKey, ...] = ()
        self.leaves: dict[int, bytes] = {}
        self.commitments: dict[int, bytes] = {}
        self._issued: list[int] = []

    def __enter__(self) -> Self:
        self.keys = tuple(map(parse_vkey, self.get("/v1/log")["verifier_keys"]))
        return self

    @property
    def log_key_file(self) -> Path:
        """Private: what a lying operator would sign with."""
        return self.directory / "data" / "keys" / "log.key"

    def grow(self, count: int) -> None:
        """Issue that many badges in one submission."""
        slots = self.slots(count)
        block = self.submission(slots)
        first = self._submit(block)
        self._issued += slots
        self.commitments |= {first + 1 + k: commitment for k, commitment in enumerate(block.commitments())}

    def revoke(self, count: int) -> None:
        """Revoke that many of them, the first ones first."""
        revoked, self._issued = self._issued[:count], self._issued[count:]
        events = b"".join(encode_status_event(REVOKE, self.issuer, slot, 0) for slot in revoked)
        not_after = int(time.time() * 1000) + HOUR_MS
        nonce = secrets.token_bytes(16)
        self._submit(sign_submission(self.origin, self.key, self.issuer, self.key_index, events, not_after, nonce))

    def _submit(self, block: Block) -> int:
        headers = {"Content-Type": "application/vnd.badge-ledger.submission"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", "/v1/submissions", encode_body(block), headers)
            response = connection.getresponse()
            body = response.read()
        assert response.status == 200, body
        first = int(json.loads(body)["first_index"])
        self.leaves |= {first + 1 + k: leaf_hash(event) for k, event in enumerate(block.entries())}
        return first

    def head(self) -> tuple[Checkpoint, bytes]:
        """The newest checkpoint, verified, and its note with the log's own signatures: what a witness is sent."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/checkpoint")
            data = connection.getresponse().read()
        checkpoint, note = open_checkpoint(data, self.keys[0])
        own = tuple(line for line in note.signatures if any(line.is_by(key) for key in self.keys))
        assert len(own) == len(self.keys)
        return checkpoint, format_note(Note(note.text, own))

    def consistency(self, first: int, second: int) -> list[bytes]:
        """A consistency proof as `/v1/log/consistency` gives it."""
        answer = self.get(f"/v1/log/consistency?first={first}&second={second}")
        return [parse_base64(text, length=32, what="a hash") for text in answer["proof"]]

    def command(self, *arguments: str | Path, cwd: Path) -> str:
        """What the command `badge-ledger` prints, run in a folder, without anybody's configuration."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BADGE_LEDGER_")}
        environment["XDG_CONFIG_HOME"] = str(cwd / "no-config")
        ran = subprocess.run(
            [COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout
