"""A client of C2SP tlog-witness for the tests, and witnesses of others to send our checkpoints to.

    old <size>                     what the witness cosigned last
    <base64 of a 32-byte hash>     the consistency proof from there, one line a hash
                                   (empty line)
    <the checkpoint, a signed note>

The answer to it is signature lines (200), or the size that the witness knows (409).
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.checkpoint import Checkpoint
from ledger.cosignature import verify_cosignature
from ledger.merkle import EMPTY_ROOT
from ledger.note import SignatureLine, VerifierKey, format_vkey, parse_note, parse_vkey
from ledger.text import format_base64
from tests.interop.programs import (
    GENERATE_KEYS,
    LITEWITNESS,
    OMNIWITNESS,
    free_port,
    install,
    listens,
    need_openssh,
    running,
)


@dataclass(frozen=True)
class Answer:
    """What a witness said."""

    status: int
    type: str
    body: bytes


@dataclass(frozen=True)
class Witness:
    """A running witness: where it listens, and the keys that it cosigns with."""

    name: str
    port: int
    keys: tuple[VerifierKey, ...]

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> Answer:
        """One request."""
        lines = [f"old {old}", *map(format_base64, proof)]
        body = "\n".join(lines).encode() + b"\n\n" + note
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", "/add-checkpoint", body)
            response = connection.getresponse()
            return Answer(response.status, response.getheader("Content-Type", ""), response.read())

    def cosign(self, size: int, note: bytes, prove: Callable[[int], Sequence[bytes]]) -> Answer:
        """Submit a checkpoint of that size without knowing what the witness saw last: it says so, `prove` leads from
        there."""
        answer = self.add_checkpoint(0, (), note)
        if answer.status != 409:
            return answer
        old = known_size(answer)
        assert 0 < old <= size
        return self.add_checkpoint(old, prove(old), note)

    def verify(self, checkpoint: Checkpoint, note: bytes, answer: Answer) -> dict[SignatureLine, int]:
        """The cosignatures in its answer, each verified, one a key, with their timestamps in seconds."""
        assert answer.status == 200, answer
        # As the specification says: joined to the checkpoint it is a note.
        own = parse_note(note).signatures
        lines = parse_note(note + answer.body).signatures[len(own) :]
        assert [[line.is_by(key) for line in lines].count(True) for key in self.keys] == [1] * len(self.keys), lines
        found: dict[SignatureLine, int] = {}
        for key in self.keys:
            (line,) = (line for line in lines if line.is_by(key))
            found[line] = verify_cosignature(checkpoint, key, line)
        return found


def known_size(answer: Answer) -> int:
    """The size in a 409 Conflict."""
    assert (answer.status, answer.type) == (409, "text/x.tlog.size"), answer
    assert re.fullmatch(rb"(0|[1-9][0-9]*)\n", answer.body), answer
    return int(answer.body)


@contextmanager
def litewitness(log_key: VerifierKey) -> Iterator[Witness]:
    """torchwood's witness, which keeps its Ed25519 key in an ssh-agent."""
    need_openssh()
    program = install(LITEWITNESS)
    # A short path of its own: the address of a socket has 107 bytes at the most.
    folder = Path(tempfile.mkdtemp(prefix="blw-"))
    try:
        agent, key, database = folder / "agent", folder / "key", folder / "witness.db"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
        listed = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], check=True, capture_output=True, text=True)
        with running(["ssh-agent", "-D", "-a", agent], folder / "agent.log", agent.exists):
            with_agent = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
            subprocess.run(["ssh-add", "-q", key], check=True, env=with_agent, capture_output=True)
            _fill(database, log_key)
            port, log = free_port(), folder / "witness.log"
            command: list[str | Path] = [program, "-name", "witness.example/lw", "-db", database, "-ssh-agent", agent]
            command += ["-key", listed.stdout.split()[1], "-listen", f"127.0.0.1:{port}"]
            with running(command, log, lambda: listens(port), cwd=folder):
                stated = re.search(r'msg="verifier key" vkey="?([^\s"]+)', log.read_text())
                assert stated is not None, log.read_text()
                yield Witness("litewitness", port, (parse_vkey(stated[1]),))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(database: Path, log_key: VerifierKey) -> None:
    """The log that it is to witness, from size 0 on; its tables as it would make them."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(
            "CREATE TABLE log(origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);"
            "CREATE TABLE key(origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));"
        )
        connection.execute("INSERT INTO log VALUES(?, 0, ?)", (log_key.name, format_base64(EMPTY_ROOT)))
        connection.execute("INSERT INTO key VALUES(?, ?)", (log_key.name, format_vkey(log_key)))


@contextmanager
def omniwitness(log_key: VerifierKey, log_url: str) -> Iterator[Witness]:
    """transparency-dev's witness with an Ed25519 and an ML-DSA-44 key."""
    program, generate = install(OMNIWITNESS), install(GENERATE_KEYS)
    folder = Path(tempfile.mkdtemp(prefix="blw-"))
    try:
        command: list[str | Path] = [program, "-logtostderr", "-metrics_listen", "", "-db_file", folder / "ow.db"]
        keys = []
        for kind, flags in (("ed25519", []), ("mldsa44", ["-mldsa"])):
            private, public = folder / f"{kind}.skey", folder / f"{kind}.vkey"
            make: list[str | Path] = [generate, "-origin", "witness.example/omni", *flags]
            make += ["-out_priv", private, "-out_pub", public]
            subprocess.run(make, check=True, capture_output=True)
            command += ["-private_key_path", private]
            keys.append(parse_vkey(public.read_text().strip()))
        logs = folder / "logs.yaml"
        logs.write_text(
            f"Logs:\n  - Origin: {log_key.name}\n    URL: {log_url}\n    PublicKey: {format_vkey(log_key)}\n"
        )
        port = free_port()
        command += ["-additional_logs", logs, "-listen", f"127.0.0.1:{port}"]
        with running(command, folder / "witness.log", lambda: listens(port), cwd=folder):
            yield Witness("omniwitness", port, tuple(keys))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
