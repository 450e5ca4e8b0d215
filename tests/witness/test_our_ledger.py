"""`badge-ledger serve --policy` with `badge-ledger witness`: both real processes, neither of which trusts the other."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.serve import load_signer
from ledger.checkpoint import open_checkpoint
from ledger.note import VerifierKey, format_vkey, parse_note
from ledger.policy import evaluate, parse_policy
from ledger.witness import WitnessedLog
from tests.service.harness import ORIGIN, Party, Recorder, until
from tests.service.harness import Process as Ledger
from tests.witness.logs import ED_KEY, PQ_KEY
from tests.witness.process import Process

pytestmark = pytest.mark.slow


class Pair:
    """A ledger whose policy demands both keys of a witness."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o711)
        (directory / "data").mkdir(mode=0o711)
        (directory / "data/keys").mkdir(mode=0o711)
        (directory / "witness").mkdir()
        self.directory = directory
        self.keys: tuple[VerifierKey, ...] = load_signer(directory / "data/keys", ORIGIN, create=True).verifier_keys
        self.witness = Process(directory / "witness", WitnessedLog(ORIGIN, self.keys, 86_400 * 1000))
        self.policy = directory / "witnesses.policy"

    async def start(self) -> Ledger:
        """Start the witness, and write the policy with its address; a ledger that is not started."""
        await self.witness.start()
        url = f"http://127.0.0.1:{self.witness.port}"
        lines = [f"log {format_vkey(key)}" for key in self.keys]
        lines += [f"witness w {format_vkey(ED_KEY.verifier_key())} {url}"]
        lines += [f"witness q {format_vkey(PQ_KEY.verifier_key())} {url}", "group both all w q", "quorum both"]
        self.policy.write_text("".join(line + "\n" for line in lines))
        data = self.directory / "data"
        return Ledger(data, policy=self.policy, heartbeat_s=86_400.0, answer_timeout_s=3.0)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    # Not pytest's own directory: it is too deep for the database's socket.
    directory = Path(tempfile.mkdtemp(prefix="blp-"))
    pair = Pair(directory)
    yield pair
    await pair.witness.kill()
    shutil.rmtree(directory, ignore_errors=True)


async def test_our_ledger_under_our_witness(pair: Pair) -> None:
    """Every head is cosigned by both keys before it is published; without the witness nothing is; it is killed and
    comes back, and the ledger goes on by itself."""
    ledger = await pair.start()
    await ledger.start()
    try:
        party = Party("alice")
        async with ledger.client(Recorder()) as client:
            await party.register(client)
            for count in (1, 300, 1):
                await client.submit(party.issues(count))
                note = (await client.get("/checkpoint")).body
                checkpoint, opened = open_checkpoint(note, pair.keys[0])
                policy = parse_policy(pair.policy.read_bytes())
                found = evaluate(policy, checkpoint, opened, now_s=int(time.time()), max_age_s=60)
                assert set(found.witnesses) == {"w", "q"}
                shown = (await pair.witness.checkpoint(ORIGIN)).body
                assert parse_note(shown).text == opened.text
            await pair.witness.kill()
            block = party.issues(1)
            assert (await client.send(block)).status == 503
            port = pair.witness.port
            await pair.witness.start(port=port)

            async def answered() -> bool:
                return bool((await client.send(block)).status == 200)

            # The ledger asks a witness that was gone with growing pauses.
            await until(answered, "the ledger finds its witness again")
    finally:
        await ledger.kill()


async def test_a_ledger_that_was_rolled_back_meets_its_own_head(pair: Pair) -> None:
    """Database and guard are put back together, which nothing on that machine can notice: our witness shows the head
    that it cosigned, and the ledger refuses to start on what contradicts it."""
    ledger = await pair.start()
    await ledger.start()
    party = Party("alice")
    async with ledger.client(Recorder()) as client:
        await party.register(client)
        await client.submit(party.issues(5))
    await ledger.stop()
    snapshot = pair.directory / "snapshot"
    await asyncio.to_thread(subprocess.run, ["cp", "-a", str(ledger.data), str(snapshot)], check=True)
    await ledger.start()
    async with ledger.client(Recorder()) as client:
        await client.submit(party.issues(5))
    await ledger.stop()
    shutil.rmtree(ledger.data)
    snapshot.rename(ledger.data)
    try:
        with pytest.raises(AssertionError, match="did not start"):
            await ledger.start()
        assert "WitnessAhead" in ledger.log() or "witness-ahead" in ledger.log()
    finally:
        await ledger.kill()
