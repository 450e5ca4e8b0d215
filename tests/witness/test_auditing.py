"""`badge-ledger witness --audit`: real processes; it cosigns what it has replayed, and nothing else."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.serve import load_signer
from ledger.auditor.convict import check_file
from ledger.checkpoint import open_checkpoint
from ledger.merkle import build, leaf_hashes, plan_consistency, tree_levels
from ledger.note import VerifierKey, format_vkey
from ledger.policy import evaluate, parse_policy
from ledger.tlogwitness import AddCheckpoint, format_add_checkpoint
from ledger.witness import WitnessedLog
from tests.auditor.liar import Liar, signer
from tests.auditor.test_lies import (
    Lie,
    dropped_revocation,
    forged_submission,
    slot_issued_twice,
    unsealed_head,
)
from tests.builders import demo_log
from tests.interop.programs import free_port
from tests.service.harness import ORIGIN, Party, Recorder, until
from tests.service.harness import Process as Ledger
from tests.witness.logs import ED_KEY, PQ_KEY
from tests.witness.process import Process

pytestmark = pytest.mark.slow


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's own directory: it is too deep for the database's socket.
    directory = Path(tempfile.mkdtemp(prefix="bla-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


class Audited:
    """A ledger whose policy demands an auditing witness that reads it over HTTP, each on a port of its own."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o711)
        (directory / "data").mkdir(mode=0o711)
        (directory / "data/keys").mkdir(mode=0o711)
        (directory / "witness").mkdir()
        self.keys: tuple[VerifierKey, ...] = load_signer(directory / "data/keys", ORIGIN, create=True).verifier_keys
        port, self.witness_port = free_port(), free_port()
        self.witness = Process(
            directory / "witness",
            WitnessedLog(ORIGIN, self.keys, 86_400 * 1000),
            options=("--audit", f"{ORIGIN}=http://127.0.0.1:{port}/"),
        )
        url = f"http://127.0.0.1:{self.witness_port}"
        lines = [f"log {format_vkey(key)}" for key in self.keys]
        lines += [f"witness w {format_vkey(ED_KEY.verifier_key())} {url}"]
        lines += [f"witness q {format_vkey(PQ_KEY.verifier_key())} {url}"]
        lines += ["group auditors all w q", "quorum auditors"]
        self.policy = directory / "witnesses.policy"
        self.policy.write_text("".join(line + "\n" for line in lines))
        self.ledger = Ledger(
            directory / "data",
            policy=self.policy,
            listen=f"127.0.0.1:{port}",
            heartbeat_s=86_400.0,
            answer_timeout_s=5.0,
        )

    def cosigned(self, note: bytes) -> tuple[str, ...]:
        """Who audited the head of this note."""
        checkpoint, opened = open_checkpoint(note, self.keys[0])
        policy = parse_policy(self.policy.read_bytes())
        return evaluate(policy, checkpoint, opened, now_s=int(time.time()), max_age_s=60).audited_by


async def test_a_ledger_under_an_auditing_witness(directory: Path) -> None:
    """From the first head on, every published head has been replayed; an audit that was killed goes on by itself."""
    scene = Audited(directory)
    await scene.witness.start(port=scene.witness_port)
    await scene.ledger.start()
    try:
        party = Party("alice")
        async with scene.ledger.client(Recorder()) as client:
            await party.register(client)
            for count in (1, 700, 1):
                await client.submit(party.issues(count))
                assert scene.cosigned((await client.get("/checkpoint")).body) == ("w", "q")
            slot = party.slot()
            await client.submit(party.block([party.issue(slot)]))
            await client.submit(party.block([party.revoke(slot)]))
            await scene.witness.kill()
            block = party.issues(1)
            assert (await client.send(block)).status == 503
            await scene.witness.start(port=scene.witness_port)

            async def answered() -> bool:
                return bool((await client.send(block)).status == 200)

            await until(answered, "the ledger finds its witness again")
            assert scene.cosigned((await client.get("/checkpoint")).body) == ("w", "q")
    finally:
        await scene.ledger.kill()
        await scene.witness.kill()


async def add(witness: Process, liar: Liar, old: int) -> int:
    """Send the liar's newest head with the proof that it extends the first `old` entries. The status."""
    levels = tree_levels(leaf_hashes(liar.entries))
    nodes = {(height, k): node for height, level in enumerate(levels) for k, node in enumerate(level)}
    proof = build(plan_consistency(old, liar.size), nodes)
    answer = await witness.add_checkpoint(format_add_checkpoint(AddCheckpoint(old, tuple(proof), liar.note())))
    assert answer is not None
    return answer.status


@pytest.mark.parametrize("lie", [dropped_revocation, forged_submission, slot_issued_twice, unsealed_head])
async def test_a_lie_is_not_cosigned(lie: Lie, directory: Path) -> None:
    """The honest part is; the lie is refused, also after a restart, and a file in the witness's folder says why."""
    folder = directory / "log"
    log = demo_log(time.time_ns() // 1_000_000 - 200_000)
    liar = Liar(log)
    liar.publish(folder)
    (directory / "witness").mkdir()
    witness = Process(
        directory / "witness",
        WitnessedLog(log.origin, signer().verifier_keys, 86_400 * 1000),
        options=("--audit", f"{log.origin}={folder}"),
    )
    await witness.start()
    try:
        assert await add(witness, liar, 0) == 200
        honest = liar.size
        rule, _, _ = lie(liar)
        liar.publish(folder)
        assert await add(witness, liar, honest) == 422
        await witness.kill()
        await witness.start()
        assert await add(witness, liar, honest) == 422
        standing = await witness.checkpoint(log.origin)
        assert standing.body.split(b"\n")[1] == str(honest).encode()
        (file,) = (directory / "witness" / "audits").glob("*.evidence")
        assert check_file(file, signer().verifier_keys).rule == rule
    finally:
        await witness.kill()


async def test_every_log_is_audited_or_none(directory: Path) -> None:
    """A log without a place, a place without a log, a place that is none: refused at the start, in a sentence."""
    listed = WitnessedLog("ledger.example/test", signer().verifier_keys, 1000)
    cases: tuple[tuple[tuple[str, ...], str], ...] = (
        (("--audit", "other.example=http://127.0.0.1:1/"), "not on the list"),
        (("--audit", "ledger.example/test"), "write ORIGIN=URL"),
        (("--audit", f"ledger.example/test={directory}/absent"), "neither a URL nor a folder"),
        (2 * ("--audit", "ledger.example/test=http://127.0.0.1:1/"), "twice"),
    )
    for number, (options, said) in enumerate(cases):
        folder = directory / str(number)
        folder.mkdir()
        witness = Process(folder, listed, options=options)
        with pytest.raises(AssertionError):
            await witness.start()
        assert await witness.wait() == 2
        assert said in witness.log()
