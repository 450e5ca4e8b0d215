"""kill -9 around the gathering of cosignatures, under load, with witnesses that come and go.

The service is the real process with `--policy`; the witnesses (tests/fake_witness.py) live in the test and remember
every head that they cosigned. After each restart the service is there by itself. At the end the log is checked whole:
no size was ever signed with two roots or two times, not even among the heads that only a witness saw, and what was
published holds a quorum.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.serve import load_signer
from ledger.checkpoint import open_checkpoint
from ledger.note import VerifierKey, format_vkey, parse_note
from ledger.policy import Policy, evaluate, parse_policy
from tests.fake_witness import FakeWitness, Mood, served
from tests.faults.conftest import check_process
from tests.faults.load import Load
from tests.service.harness import ORIGIN, Process, now_ms, until

#: Where a process can die from the moment its head may exist until callers are answered.
AROUND = ("publisher.after-guard", "publisher.after-sign", "publisher.after-gather", "publisher.after-publish")


class Ring:
    """Three witnesses, two of them a quorum, and the policy file that names them."""

    def __init__(self, witnesses: list[FakeWitness], policy: Policy, keys: tuple[VerifierKey, VerifierKey]) -> None:
        self.witnesses = witnesses
        self.policy = policy
        self.keys = keys

    def moods(self, *moods: Mood) -> None:
        for witness, mood in zip(self.witnesses, moods, strict=True):
            witness.mood = mood

    async def check(self, process: Process, load: Load) -> None:
        """Every head that was published holds a quorum; every head that a witness saw is one of the log."""
        for note in load.recorder.notes:
            checkpoint, opened = open_checkpoint(note, self.keys[0])
            evaluate(self.policy, checkpoint, opened, now_s=now_ms() // 1000, max_age_s=None, future_s=60)
        seen = [note for witness in self.witnesses for note in witness.notes]
        assert seen
        for note in seen:
            load.recorder.saw(note)
        assert max(witness.most_at_once for witness in self.witnesses) <= 2  # one is of a process that was killed
        for bad in ("node.bug", "publisher.stopped", "sequencer.fork"):
            assert f'"event": "{bad}"' not in process.log()
        await check_process(process, load.recorder)


@pytest.fixture
async def ring(process: Process) -> AsyncIterator[Ring]:
    process.data.mkdir(mode=0o711)
    (process.data / "keys").mkdir(mode=0o711)
    keys = load_signer(process.data / "keys", ORIGIN, create=True).verifier_keys
    witnesses = [FakeWitness(f"w{k}", keys[0], lambda: now_ms() // 1000, pq=k == 2, shows=k != 3) for k in (1, 2, 3)]
    async with contextlib.AsyncExitStack() as stack:
        text = "".join(f"log {format_vkey(key)}\n" for key in keys)
        for witness in witnesses:
            text += witness.policy_lines(await stack.enter_async_context(served(witness)))
        text += "group g 2 w1 w2 w3\nquorum g\n"
        file = Path(process.data.parent / "witnesses.policy")
        file.write_text(text)  # noqa: ASYNC240 - a few microseconds
        process.options |= {"policy": file, "witness_timeout_s": 0.5, "answer_timeout_s": 2.0}
        yield Ring(witnesses, parse_policy(text), keys)
        await process.kill()


async def started(process: Process, load: Load, fault: str = "") -> None:
    await process.start(fault=fault)
    client = await load.target.set(process.url, process.token)
    if load.workers[0].party.index < 0:
        await load.register(client)


@pytest.mark.slow
async def test_a_kill_at_every_point_around_gathering(process: Process, load: Load, ring: Ring) -> None:
    """With all witnesses well, with one that flaps, and with one dead."""
    rng = random.Random(24)
    await started(process, load)
    load.start()
    moods: list[tuple[Mood, Mood, Mood]] = [
        ("honest", "honest", "honest"),
        ("honest", "honest", "flapping"),
        ("honest", "dead", "honest"),
    ]
    for moody in moods:
        for point in AROUND:
            ring.moods(*moody)
            await load.progress(2)
            await process.kill()
            await load.target.unset()
            await process.start(fault=f"{point}:{rng.randint(2, 6)}")
            await load.target.set(process.url, process.token)
            assert await process.wait(deadline_s=60) == -signal.SIGKILL, (point, process.log()[-2000:])
            await load.target.unset()
            await started(process, load)
            await load.progress(2)
    ring.moods("honest", "honest", "honest")
    await load.stop()
    await process.stop()
    await ring.check(process, load)


@pytest.mark.slow
async def test_kills_at_random_while_witnesses_come_and_go(process: Process, load: Load, ring: Ring) -> None:
    """Now and then there is no quorum: nobody is answered, nothing is lost, and it goes on by itself."""
    rng = random.Random(7)
    await started(process, load)
    load.start()
    await load.progress(5)
    choices: list[Mood] = ["honest", "honest", "dead", "503", "flapping", "garbage", "lies-around"]
    for _ in range(15):
        ring.moods(*[rng.choice(choices) for _ in ring.witnesses])
        await asyncio.sleep(rng.random() * 0.5)  # the moment of the kill, not a wait for anything
        await process.kill()
        await load.target.unset()
        if rng.random() < 0.5:
            ring.moods("honest", "dead", "honest")
        await started(process, load)
        ring.moods("honest", "honest", rng.choice(choices))
        await load.progress(2 * len(load.workers) + 1)
    await load.stop()
    await process.stop()
    assert sum(worker.repeated for worker in load.workers) > 0
    await ring.check(process, load)


@pytest.mark.slow
async def test_a_head_below_its_quorum_outlives_a_kill(process: Process, load: Load, ring: Ring) -> None:
    """One witness cosigned it, the process was killed and started again below the quorum: that head, or one that
    extends it, is published as soon as there is a quorum."""
    await started(process, load)
    load.start()
    await load.progress(3)
    ring.moods("honest", "dead", "dead")
    alone = ring.witnesses[0]

    async def waits() -> bool:
        async with process.client(load.recorder) as client:
            lines = (await client.get("/metrics")).body.decode().splitlines()
        return any(
            line.startswith("badge_ledger_quorum_waiting_seconds") and float(line.split()[1]) > 0.5 for line in lines
        )

    # What was under way when the two went has its quorum by then, or waits.
    await until(waits, "a head lacks its quorum")
    standing = alone.size
    await process.kill()
    await load.target.unset()
    await process.start()
    await load.target.set(process.url, process.token)
    await until(lambda: alone.requests[-1].old_size >= standing, "the same witness is asked again")
    assert load.largest < standing
    ring.moods("honest", "dead", "honest")
    await load.progress(5)
    assert load.largest >= standing
    await load.stop()
    await process.stop()
    notes = [note for note in alone.notes if open_checkpoint(note, ring.keys[0])[0].size == standing]
    assert notes
    assert parse_note(notes[0]).text == parse_note(notes[-1]).text
    await ring.check(process, load)


@pytest.mark.slow
async def test_a_new_log_waits_for_its_first_quorum(process: Process, load: Load, ring: Ring) -> None:
    """The first start with dead witnesses: it does not end, says what it waits for, and is ready once they are there.
    SIGTERM meanwhile ends it in order."""
    ring.moods("honest", "dead", "dead")
    process.options["answer_timeout_s"] = 0.3
    for then in ("stop", "mend"):
        starting = asyncio.create_task(process.start())
        await until(lambda: process.log_path.exists() and '"serve.waiting"' in process.log(), "it says that it waits")
        assert "missing w2, w3" in process.log()
        if then == "stop":
            process.signal(signal.SIGTERM)
            with pytest.raises(AssertionError, match="did not start"):
                await starting
            assert await process.wait() == 0
            process.log_path.unlink()
            continue
        ring.moods("honest", "honest", "dead")
        await starting
    await load.target.set(process.url, process.token)
    await load.register(await load.target.client())
    load.start()
    await load.progress(3)
    await load.stop()
    await process.stop()
    await ring.check(process, load)


@pytest.mark.slow
async def test_a_policy_that_cannot_be_followed_keeps_it_from_starting(process: Process, ring: Ring) -> None:
    """Not there, not a policy, another log's, or one whose quorum nobody can be asked for: it says so, and
    nothing was signed."""
    good = Path(process.options["policy"]).read_text()  # noqa: ASYNC240 - a few microseconds
    stranger = ring.witnesses[0].keys[0]
    another = format_vkey(VerifierKey("other.example/log", 1, stranger.public_key))
    texts = {
        "cannot read the policy": None,
        "line 2 of the policy": good.replace("log ", "lag ").replace("lag ", "log ", 1),
        "does not name the log": f"log {another}\n" + "".join(good.splitlines(keepends=True)[2:]),
        "the URL of witness w1": good.replace("http://", "gopher://"),
    }
    texts["that have a URL are no quorum"] = "".join(
        " ".join(line.split()[:3]) + "\n" if line.startswith("witness") else line + "\n" for line in good.splitlines()
    )
    for number, (sentence, text) in enumerate(texts.items()):
        file = process.data.parent / f"{number}.policy"
        if text is not None:
            file.write_text(text)
        with pytest.raises(AssertionError, match="did not start"):
            await process.start(policy=file)
        assert sentence in process.log()
        process.log_path.write_text("")
    assert not any(witness.requests for witness in ring.witnesses)
