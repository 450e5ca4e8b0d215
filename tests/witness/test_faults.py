"""kill -9 between any two steps, a full disk, a second process: two contradicting cosignatures never leave a witness.

The log lies: it has two histories that part after 4 entries, and sends heads of both, at the same time and after every
restart. Whatever was answered is collected; in the end all of it must be one history, with times that never fall.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger.checkpoint import Checkpoint
from ledger.cosignature import verify_cosignature
from ledger.faults import WITNESS_POINTS
from ledger.merkle import verify_consistency
from ledger.note import parse_note
from ledger.tlogwitness import parse_cosignatures
from ledger.witness.rules import read_text
from tests.faults.test_disks import small_disk
from tests.witness.logs import ED_KEY, PQ_KEY, Log
from tests.witness.process import Process

FORK = 4
BRANCHES = [Log(size=200, branch=name, fork=FORK) for name in ("main", "other")]
ORIGIN = BRANCHES[0].origin
KEYS = (ED_KEY.verifier_key(), PQ_KEY.verifier_key())


class Witnessed:
    """Every cosignature that left the witness: (time, size, root), and the branch of each root."""

    def __init__(self) -> None:
        self.heads: set[tuple[int, int, bytes]] = set()

    def add(self, head: Checkpoint, lines: bytes) -> None:
        for line in parse_cosignatures(lines):
            (key,) = (key for key in KEYS if line.is_by(key))
            self.heads.add((verify_cosignature(head, key, line), head.size, head.root))

    def check(self) -> None:
        """One history: by size there is one root, all beyond the fork are of one branch, and times do not fall."""
        assert self.heads
        ordered = sorted(self.heads, key=lambda head: (head[1], head[0]))
        assert [head[0] for head in ordered] == sorted(head[0] for head in ordered)
        roots = {size: root for _, size, root in ordered}
        assert {(size, root) for _, size, root in ordered} == set(roots.items())
        branches = [
            branch for branch in BRANCHES if all(branch.head(size).root == root for size, root in roots.items() if size)
        ]
        assert branches, "cosigned heads of two histories"
        sizes = sorted(roots)
        for old, new in itertools.pairwise(sizes):
            proof = branches[0].consistency(old, new)
            if old:
                verify_consistency(old, new, roots[old], roots[new], proof)


async def step(process: Process, seen: Witnessed, rng: random.Random) -> int:
    """Ask where the witness stands, then send it larger heads of both branches at once. How many it cosigned."""
    ask = await process.add_checkpoint(BRANCHES[0].submission(0, 1))
    if ask is None:
        return 0
    size = int(ask.body) if ask.status == 409 else 1
    if ask.status == 200:
        seen.add(BRANCHES[0].head(1), ask.body)
    bodies = []
    for branch in rng.sample(BRANCHES, 2):
        for new in (size, size + rng.randint(1, 3)):
            bodies.append((branch.head(new), branch.submission(size, new)))
    answers = await asyncio.gather(*(process.add_checkpoint(body) for _, body in bodies))
    cosigned = 0
    for (head, _), answer in zip(bodies, answers, strict=True):
        if answer is not None and answer.status == 200:
            seen.add(head, answer.body)
            cosigned += 1
        assert answer is None or answer.status in (200, 409, 422, 500, 503), answer
    return cosigned


async def served(process: Process, seen: Witnessed) -> None:
    """What the monitoring endpoint shows was cosigned too, whether or not its caller lived to see it."""
    shown = await process.checkpoint(ORIGIN)
    if shown.status == 200:
        note = parse_note(shown.body)
        lines = shown.body.partition(b"\n\n")[2].split(b"\n", 1)[1]
        assert len(note.signatures) == 3
        seen.add(read_text(note.text), lines)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process(tmp_path, BRANCHES[0].listed())
    yield process
    await process.kill()


@pytest.mark.slow
async def test_a_kill_at_every_fault_point(process: Process) -> None:
    """At the first request after a start and at later ones."""
    seen, rng = Witnessed(), random.Random(1)
    for point in WITNESS_POINTS:
        for nth in (1, 2, 5):
            await process.start(fault=f"{point}:{nth}")
            for _ in range(20):
                if not process.running:
                    break
                await step(process, seen, rng)
            assert await process.wait() == -signal.SIGKILL, point
            await process.start()
            await served(process, seen)
            assert await step(process, seen, rng) > 0
            await served(process, seen)
            assert await process.stop() == 0
    seen.check()


@pytest.mark.slow
async def test_kills_at_any_moment(process: Process) -> None:
    """Twenty, under load."""
    seen, rng = Witnessed(), random.Random(2)
    for _ in range(20):
        await process.start()
        await served(process, seen)
        steps = asyncio.gather(*(step(process, seen, random.Random(rng.random())) for _ in range(4)))
        await asyncio.sleep(rng.random() * 0.03)  # the moment of the kill, not a wait for anything
        await process.kill()
        await steps
    await process.start()
    await served(process, seen)
    seen.check()


@pytest.mark.slow
async def test_a_stop_finishes_what_is_under_way(process: Process) -> None:
    """SIGTERM under load: exit status 0, and what was answered is in the state."""
    seen, rng = Witnessed(), random.Random(3)
    for _ in range(5):
        await process.start()
        steps = asyncio.gather(*(step(process, seen, random.Random(rng.random())) for _ in range(8)))
        await asyncio.sleep(rng.random() * 0.03)
        assert await process.stop() == 0
        await steps
    await process.start()
    shown = await process.checkpoint(ORIGIN)
    assert read_text(parse_note(shown.body).text).size >= max(size for _, size, _ in seen.heads)
    seen.check()


@pytest.mark.slow
async def test_a_second_process_is_refused(process: Process, tmp_path: Path) -> None:
    """On the same state, with a sentence; the first goes on. After kill -9 nothing has to be cleaned up."""
    await process.start()
    (tmp_path / "second").mkdir()
    second = Process(tmp_path / "second", BRANCHES[0].listed())
    second.state = process.state
    with pytest.raises(AssertionError):
        await second.start()
    assert await second.wait() == 2
    assert f"another process uses the witness state {process.state}" in second.log()
    seen = Witnessed()
    assert await step(process, seen, random.Random(4)) > 0
    await process.kill()
    await second.start()
    await second.kill()


@pytest.mark.slow
async def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing is cosigned that could not be written; where there is room again it goes on by itself."""
    with small_disk(tmp_path / "disk", 1) as disk:
        process = Process(tmp_path, BRANCHES[0].listed())
        process.state = disk.path / "witness.db"
        await process.start()
        try:
            seen, rng = Witnessed(), random.Random(5)
            assert await step(process, seen, rng) > 0
            size = max(size for _, size, _ in seen.heads)
            disk.fill()
            assert await grow_until_refused(process, seen) == 500
            assert process.running
            # The next to come is judged by what is on the disk, whichever branch it is of.
            disk.free()
            assert await step(process, seen, rng) > 0
            assert max(size for _, size, _ in seen.heads) > size
            await process.kill()
            await process.start()
            await served(process, seen)
            seen.check()
        finally:
            await process.kill()


async def grow_until_refused(process: Process, seen: Witnessed) -> int:
    """Room that the log file has already is used first. The status of the first refusal."""
    size = max(size for _, size, _ in seen.heads)
    roots = {root for _, known, root in seen.heads if known == size}
    branch = next(branch for branch in BRANCHES if branch.head(size).root in roots)
    for new in range(size + 1, 200):
        answer = await process.add_checkpoint(branch.submission(new - 1, new))
        assert answer is not None
        if answer.status != 200:
            return answer.status
        seen.add(branch.head(new), answer.body)
    raise AssertionError("the disk did not fill up")
