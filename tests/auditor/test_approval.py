"""An auditing witness approves only what passed its audit, and waits neither for ever nor for nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from ledger.auditor.approval import AuditedLog, Audits
from ledger.auditor.session import Session
from ledger.auditor.source import FolderSource
from ledger.checkpoint import Checkpoint
from ledger.errors import InputError, NotFound, Unavailable, VerificationError
from ledger.tiles import Tile
from tests.auditor.liar import Liar, log_policy
from tests.auditor.test_lies import LIES, Lie
from tests.builders import LogBuilder, demo_log
from tests.fakes import FakeClock


class Patient(FakeClock):
    """A clock whose pauses end when time is let run out."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.out = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.out.wait()


class Gated(FolderSource):
    """A folder that answers once the gate is open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate = asyncio.Event()
        self.gate.set()

    async def tile(self, tile: Tile) -> bytes:
        await self.gate.wait()
        return await super().tile(tile)


class Scene:
    """A log in a folder, its audit, and the heads that a witness would be asked to cosign."""

    def __init__(self, tmp_path: Path, log: LogBuilder) -> None:
        self.log = log
        self.folder = tmp_path / "log"
        self.clock = Patient(log.time)
        self.source = Gated(self.folder)
        session = Session(
            [self.source],
            log_policy(),
            log.origin,
            clock=self.clock,
            state=tmp_path / "state",
            evidence=tmp_path / "evidence",
        )
        self.audited = AuditedLog(session, self.clock)

    async def ask(self, liar: Liar, size: int | None = None) -> None:
        size = liar.size if size is None else size
        await self.audited.approve(Checkpoint(self.log.origin, size, liar.root(size)), liar.note(size))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, demo_log())


async def test_what_passed_is_approved(scene: Scene) -> None:
    """Head after head, and the same head again; an older one is a prefix, and told to come with the newest."""
    liar = Liar(scene.log)
    sizes = [k + 1 for k, entry in enumerate(liar.entries) if entry[1] == 9]
    for size in sizes:
        liar.publish(scene.folder, size=size)
        await scene.ask(liar, size)
        await scene.ask(liar, size)
        assert scene.audited.size == size
    with pytest.raises(Unavailable, match="a newer head is needed"):
        await scene.ask(liar, sizes[2])


@pytest.mark.parametrize("lie", LIES)
async def test_no_lie_is_approved(lie: Lie, scene: Scene) -> None:
    """Every lie of the kit: refused, and so is every head after it, honest ones too."""
    honest = Liar(scene.log)
    honest.publish(scene.folder)
    await scene.ask(honest)
    liar = Liar(scene.log)
    lie(liar)
    liar.publish(scene.folder)
    scene.clock.wall_ms = scene.log.time
    for _ in range(2):
        with pytest.raises(VerificationError):
            await scene.ask(liar)
    with pytest.raises(VerificationError):
        await scene.ask(honest)


async def test_a_fork_of_what_passed(scene: Scene) -> None:
    """Another head of the same size, and an older head with another past."""
    liar = Liar(scene.log)
    liar.publish(scene.folder)
    await scene.ask(liar)
    other = Liar(scene.log)
    other.entries[-1] = other.entries[-1][:-1] + b"\0"
    with pytest.raises(VerificationError):
        await scene.ask(other)


async def test_a_slow_audit_goes_on_by_itself(scene: Scene) -> None:
    """Whoever asks is told to come again, ever with a newer head; once the audit is done the newest is approved."""
    liar = Liar(scene.log)
    liar.publish(scene.folder)
    scene.source.gate.clear()
    asked = asyncio.create_task(scene.ask(liar))
    await asyncio.sleep(0.01)
    scene.clock.out.set()
    with pytest.raises(Unavailable, match="reached 0 entries"):
        await asked
    issuer = scene.log.issuers[1]
    scene.log.issue(issuer, [issuer.slot(9)])
    scene.log.seal()
    newer = Liar(scene.log)
    newer.publish(scene.folder)
    with pytest.raises(Unavailable):
        await scene.ask(newer)
    scene.clock.out.clear()
    scene.source.gate.set()
    await scene.ask(newer)
    assert scene.audited.size == newer.size


async def test_many_ask_at_once(scene: Scene) -> None:
    """One audit runs for all of them."""
    liar = Liar(scene.log)
    liar.publish(scene.folder)
    sizes = [k + 1 for k, entry in enumerate(liar.entries) if entry[1] == 9]
    asked = [*sizes, *sizes]
    answers = await asyncio.gather(*(scene.ask(liar, size) for size in asked), return_exceptions=True)
    assert [isinstance(answer, Unavailable) for answer in answers] == [size < liar.size for size in asked]
    assert scene.audited.size == liar.size


async def test_what_cannot_be_read_is_asked_for_again(scene: Scene) -> None:
    """A log that does not serve its head yet, or serves something else, gets 503 and not a conviction."""
    liar = Liar(scene.log)
    with pytest.raises(Unavailable):
        await scene.ask(liar)
    liar.publish(scene.folder)
    bundle = scene.folder / "tile" / "entries" / "000"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
    with pytest.raises(Unavailable):
        await scene.ask(liar)
    bundle.write_bytes(whole)
    await scene.ask(liar)


async def test_an_older_head_than_what_was_read(scene: Scene) -> None:
    """After a round that broke off, a head before the place where it did cannot be told apart: 503, not a loop."""
    log = scene.log
    issuer = log.issuers[1]
    for k in range(4):
        log.issue(issuer, [issuer.slot(1000 * k + i) for i in range(300)])
        log.seal()
    liar = Liar(log)
    liar.publish(scene.folder)
    bundle = sorted((scene.folder / "tile" / "entries").glob("00*"))[-1]
    hidden = bundle.rename(bundle.with_name("hidden"))
    scene.clock.wall_ms = log.time
    with pytest.raises(Unavailable):
        await scene.ask(liar)
    hidden.rename(bundle)
    small = [k + 1 for k, entry in enumerate(liar.entries) if entry[1] == 9][4]
    with pytest.raises(Unavailable):
        await scene.ask(liar, small)
    await scene.ask(liar)


@pytest.mark.parametrize("skew_ms", [600_001, -600_001])
async def test_a_head_of_another_time(skew_ms: int, scene: Scene) -> None:
    """Ten minutes from this machine's clock, either way, nothing is cosigned."""
    liar = Liar(scene.log)
    liar.publish(scene.folder)
    scene.clock.wall_ms = scene.log.time + skew_ms
    with pytest.raises(Unavailable, match="from this machine's clock"):
        await scene.ask(liar)
    scene.clock.wall_ms = scene.log.time + skew_ms - (1 if skew_ms > 0 else -1)
    await scene.ask(liar)


async def test_a_smaller_head_that_breaks_a_rule_is_not_approved(scene: Scene) -> None:
    """A head inside what passed that ends in the midst of a submission: it was never looked at as a head."""
    liar = Liar(scene.log)
    liar.publish(scene.folder)
    await scene.ask(liar)
    unsealed = next(k for k, entry in enumerate(liar.entries) if entry[1] == 4) + 2
    with pytest.raises(Unavailable, match="a newer head is needed"):
        await scene.ask(liar, unsealed)


async def test_a_conviction_outlives_a_restart(scene: Scene, tmp_path: Path) -> None:
    """The next process, with the same record, approves nothing of that log, not even another story."""
    liar = Liar(scene.log)
    liar.publish(scene.folder)
    await scene.ask(liar)
    other = Liar(scene.log)
    liar.seal(root=bytes(32))
    liar.publish(scene.folder)
    with pytest.raises(VerificationError):
        await scene.ask(liar)
    again = Scene(tmp_path, scene.log)
    other.seal()
    other.publish(scene.folder)
    with pytest.raises(VerificationError, match="convicted"):
        await again.ask(other)
    (proof,) = (tmp_path / "evidence").iterdir()
    proof.unlink()
    with pytest.raises(InputError, match="its proof cannot be used"):
        Scene(tmp_path, scene.log)


async def test_repetitions_leave_nothing_behind(scene: Scene) -> None:
    """While a long audit runs anybody may send the standing head again and again: no task outlives its answer."""
    liar = Liar(scene.log)
    liar.publish(scene.folder)
    await scene.ask(liar)
    issuer = scene.log.issuers[1]
    scene.log.issue(issuer, [issuer.slot(9)])
    scene.log.seal()
    newer = Liar(scene.log)
    newer.publish(scene.folder)
    scene.source.gate.clear()
    long = asyncio.create_task(scene.ask(newer))
    await asyncio.sleep(0.01)
    scene.clock.out.set()
    for _ in range(20):
        with pytest.raises(Unavailable):
            await scene.ask(liar)
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "compare"]) == 0
    scene.source.gate.set()
    await asyncio.gather(long, return_exceptions=True)
    await scene.audited.close()


async def test_a_log_that_is_not_audited(scene: Scene) -> None:
    liar = Liar(scene.log)
    audits = Audits({scene.log.origin: scene.audited})
    liar.publish(scene.folder)
    checkpoint = Checkpoint(scene.log.origin, liar.size, liar.root())
    await audits(checkpoint, liar.note())
    with pytest.raises(NotFound):
        await audits(msgspec.structs.replace(checkpoint, origin="other.example"), liar.note())
    await audits.close()
