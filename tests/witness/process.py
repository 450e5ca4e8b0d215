"""`badge-ledger witness` in a process of its own, as operators run it, and a client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import sys
from contextlib import closing
from pathlib import Path

from ledger.keyfile import PrivateKey, create_key
from ledger.note import format_vkey
from ledger.tlogwitness import checkpoint_path
from ledger.witness import Answer, WitnessedLog
from tests.witness.logs import ED_KEY, PQ_KEY

COMMAND = Path(sys.executable).with_name("badge-ledger")


class Process:
    """The process, on a folder with its keys, its list and its state."""

    def __init__(
        self,
        folder: Path,
        *logs: WitnessedLog,
        keys: tuple[PrivateKey, ...] = (ED_KEY, PQ_KEY),
        options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.options = options
        self.state = folder / "witness.db"
        self.port = 0
        self.verifier_keys: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._keys = []
        for number, key in enumerate(keys):
            self._keys.append(folder / f"{number}.key")
            create_key(self._keys[-1], key)
        self._list = folder / "logs.txt"
        self._list.write_text(
            "logs/v0\n"
            + "".join(
                f"vkey {format_vkey(key)}\norigin {log.origin}\nqpd {log.qpd}\ncontact test\n"
                for log in logs
                for key in log.keys
            )
        )

    async def start(self, *, fault: str = "", port: int = 0) -> None:
        """Start it and wait for its ready line; a new state if there is none."""
        arguments: list[str | Path] = [
            "witness",
            "--json",
            "--listen",
            f"127.0.0.1:{port}",
            "--logs",
            self._list,
            "--state",
            self.state,
        ]
        arguments += self.options
        for key in self._keys:
            arguments += ["--witness-key", key]
        if not self.state.exists():
            arguments.append("--new-state")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BADGE_LEDGER_")}
        with open(self.log_path, "ab") as log:  # noqa: ASYNC230 - a few microseconds
            self._process = await asyncio.create_subprocess_exec(
                COMMAND,
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                env=environment | {"BADGE_LEDGER_FAULT": fault, "XDG_CONFIG_HOME": str(self.folder)},
            )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line, f"the witness did not start: {self.log()[-2000:]}"
        started = json.loads(line)
        assert "url" in started, started
        self.port = int(started["url"].rpartition(":")[2])
        self.verifier_keys = started["verifier_keys"]

    @property
    def log_path(self) -> Path:
        return self.folder / "witness.log"

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def wait(self, deadline_s: float = 30) -> int:
        """Its exit status once it has ended."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), deadline_s)

    async def kill(self) -> None:
        """kill -9."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            await self.wait()

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return await self.wait()

    async def add_checkpoint(self, body: bytes) -> Answer | None:
        """The answer; None if the process died of it."""
        return await asyncio.to_thread(self._request, "POST", "/add-checkpoint", body)

    async def get(self, path: str) -> Answer:
        """A GET."""
        answer = await asyncio.to_thread(self._request, "GET", path, None)
        assert answer is not None
        return answer

    async def checkpoint(self, origin: str) -> Answer:
        """What the monitoring endpoint serves."""
        return await self.get("/" + checkpoint_path(origin))

    def _request(self, method: str, path: str, body: bytes | None) -> Answer | None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            try:
                connection.request(method, path, body)
                response = connection.getresponse()
                retry_after = response.getheader("Retry-After")
                return Answer(
                    response.status,
                    response.read(),
                    response.getheader("Content-Type", ""),
                    None if retry_after is None else int(retry_after),
                )
            except (ConnectionError, http.client.HTTPException):
                return None
