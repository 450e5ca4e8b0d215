"""`badge-ledger serve --policy` with witnesses of others: litewitness (Ed25519) and omniwitness (Ed25519, ML-DSA-44).

Both must cosign every head, by all three keys, before it is published. The service is the real process on a data
directory of its own; receipts are verified as it serves them, under the very policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api.serve import load_signer
from ledger.checkpoint import open_checkpoint
from ledger.guard import SqliteGuard
from ledger.note import VerifierKey, format_vkey
from ledger.policy import evaluate, parse_policy
from ledger.receipt_json import parse_json
from ledger.verify import verify_receipt
from tests.interop.programs import BUILD_S
from tests.interop.witness import Witness, litewitness, omniwitness
from tests.service.harness import ORIGIN, Client, Party, Process, Recorder, unique

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * BUILD_S)]


class Ring:
    """A data directory whose log has keys, both witnesses, and the policy that demands them all."""

    def __init__(self, directory: Path, keys: tuple[VerifierKey, VerifierKey], lite: Witness, omni: Witness) -> None:
        self.directory = directory
        self.keys = keys
        log, log_pq = map(format_vkey, keys)
        names = {"lite": (lite, 0), "omni": (omni, 0), "omni-pq": (omni, 1)}
        lines = [
            f"witness {name} {format_vkey(witness.keys[k])} http://127.0.0.1:{witness.port}"
            for name, (witness, k) in names.items()
        ]
        lines += ["group both all lite omni omni-pq", "quorum both"]
        self.text = "".join(line + "\n" for line in [f"log {log}", f"log {log_pq}", *lines])
        #: What holds against a quantum computer: the log's ML-DSA-44 key, and the cosigner with one.
        self.quantum = f"log {log_pq}\n{lines[2]}\nquorum omni-pq\n"
        self.file = directory / "witnesses.policy"
        self.file.write_text(self.text)

    def process(self, *, answer_timeout_s: float = 20.0) -> Process:
        data = self.directory / "data"
        return Process(data, policy=self.file, heartbeat_s=86_400.0, answer_timeout_s=answer_timeout_s)


@pytest.fixture
def ring() -> Iterator[Ring]:
    # Not pytest's own directory: it is too deep for the database's socket.
    directory = Path(tempfile.mkdtemp(prefix="blg-"))
    directory.chmod(0o711)
    try:
        (directory / "data").mkdir(mode=0o711)
        (directory / "data/keys").mkdir(mode=0o711)
        keys = load_signer(directory / "data/keys", ORIGIN, create=True).verifier_keys
        # omniwitness reads the log by itself only where it is told to; the address is for that.
        with litewitness(keys[0]) as lite, omniwitness(keys[0], "http://127.0.0.1:9/") as omni:
            yield Ring(directory, keys, lite, omni)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def serving(process: Process) -> AsyncIterator[Client]:
    """The service while it runs, killed if it has not been stopped."""
    await process.start()
    try:
        async with process.client(Recorder()) as client:
            yield client
    finally:
        await process.kill()


def cosigned_by(ring: Ring, note: bytes) -> set[str]:
    """Whose cosignatures a published note holds, all of them fresh."""
    checkpoint, opened = open_checkpoint(note, ring.keys[0])
    policy = parse_policy(ring.text)
    return set(evaluate(policy, checkpoint, opened, now_s=int(time.time()), max_age_s=60, future_s=60).witnesses)


async def test_real_witnesses_cosign_our_heads_as_the_log_grows(ring: Ring) -> None:
    """Each answer's head holds the cosignatures of all three keys, and receipts under it verify: short and full, under
    the policy, and under one that holds against a quantum computer. A killed process goes on where it was."""
    process = ring.process()
    party = Party("alice")
    policy, quantum = parse_policy(ring.text), parse_policy(ring.quantum)
    assert quantum.is_post_quantum()
    sizes = []
    for counts in ((1, 1, 300, 3000), (1, 5000, 1)):
        async with serving(process) as client:
            if party.index < 0:
                await party.register(client)
            for count in counts:
                commitment = unique()
                events = [party.issue() for _ in range(count - 1)]
                answer = await client.submit(party.block([*events, party.issue(commitment=commitment)]))
                note = (await client.get("/checkpoint")).body
                assert cosigned_by(ring, note) == {"lite", "omni", "omni-pq"}
                sizes.append(int(note.split(b"\n")[1]))
                index = answer["first_index"] + count
                for path, under in (
                    (f"/v1/receipts/{index}?profile=short", policy),
                    (f"/v1/receipts/{index}?profile=full", policy),
                    (f"/v1/receipts/{index}?profile=full&signatures=all", quantum),
                ):
                    receipt = parse_json((await client.get(path)).body)
                    now_s = int(time.time())
                    found = verify_receipt(receipt, policy=under, now_s=now_s, max_age_s=60, commitment=commitment)
                    assert set(found.evaluation.witnesses) == set(under.witnesses)
            metrics = (await client.get("/metrics")).body.decode()
            for name in policy.witnesses:
                assert f'badge_ledger_witness_failures{{witness="{name}"}} 0.0' in metrics
                assert f'badge_ledger_witness_lag{{witness="{name}"}} 0.0' in metrics
    assert sizes == sorted(set(sizes))
    for bad in ("witness.failed", "node.bug", "publisher.stopped"):
        assert bad not in process.log()


async def test_a_ledger_whose_disk_was_rolled_back_signs_nothing(ring: Ring) -> None:
    """Database and guard are those of an hour ago, as after a snapshot of the machine was put back. Neither witness
    shows the head that it holds, so they prove nothing; but both say that they are ahead, and without them there is no
    quorum: the ledger serves what it has, says why it writes nothing, and leaves the guard where it is."""
    party = Party("alice")
    process = ring.process(answer_timeout_s=2.0)
    async with serving(process) as client:
        await party.register(client)
        await client.submit(party.issues(5))
        await process.stop()
    snapshot = ring.directory / "snapshot"
    # With its owners: as root, the cluster belongs to another user.
    copy = await asyncio.create_subprocess_exec("cp", "-a", process.data, snapshot)
    assert await copy.wait() == 0
    async with serving(process) as client:
        await client.submit(party.issues(5))
        ahead = await client.head_size()
        await process.stop()
    shutil.rmtree(process.data)
    snapshot.rename(process.data)
    async with serving(process) as client:
        before = await client.head_size()
        assert before < ahead
        answer = await client.send(party.issues(1))
        assert (answer.status, answer.type) == (503, "pending")
        assert answer.json["missing"] == ["lite", "omni", "omni-pq"]
        assert f"it says that it stands at size {ahead}, beyond {before}" in answer.json["detail"]
        assert await client.head_size() == before
        guard = await SqliteGuard.open(process.data / "guard.db", create=False)
        try:
            assert (await guard.read()).size == before
        finally:
            await guard.close()
