"""Rounds of one audit: what is kept between them, what is told besides, and how the daemon goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from api.audit_serve import AuditDaemon
from ledger.auditor.audit import Auditor, Mismatch
from ledger.auditor.convict import Convicted
from ledger.auditor.follow import Follower
from ledger.auditor.session import Round, Session
from ledger.auditor.source import FolderSource
from ledger.auditor.state import State, load_state
from ledger.auditor.watch import Bindings, Watch
from ledger.entry import BINDING_PUBLISHED
from ledger.errors import NotFound, Unavailable
from ledger.tiles import ENTRIES_LEVEL, Tile
from tests.auditor.liar import Liar, log_policy
from tests.builders import LogBuilder, demo_log, seeded_key
from tests.fakes import FakeClock


class Flaky(FolderSource):
    """A folder that stops answering after so many tiles, and counts the bundles that were asked for."""

    def __init__(self, folder: Path, answers: int = 1 << 30) -> None:
        super().__init__(folder)
        self.answers = answers
        self.bundles: list[int] = []

    async def tile(self, tile: Tile) -> bytes:
        self.answers -= 1
        if self.answers < 0:
            raise Unavailable("gone for lunch")
        if tile.level == ENTRIES_LEVEL:
            self.bundles.append(tile.index)
        return await super().tile(tile)


def long_log(commits: int = 12, each: int = 150) -> LogBuilder:
    """Some bundles long, a status_root after every submission."""
    log = LogBuilder()
    issuer = log.issuer("https://school.example/", lists=1)
    log.seal()
    for k in range(commits):
        log.issue(issuer, [issuer.slot(k * each + i) for i in range(each)])
        log.seal()
    return log


def session(source: FolderSource, folder: Path, log: LogBuilder, **changes: object) -> Session:
    made = {"clock": FakeClock(log.time), "state": folder / "audit.state", "evidence": folder / "evidence", **changes}
    return Session([source], log_policy(), log.origin, **made)  # type: ignore[arg-type]


async def test_a_round_that_broke_off_goes_on(tmp_path: Path) -> None:
    """Wherever the source fails, the next round reads from the last whole unit, and the same head passes."""
    log = long_log()
    liar = Liar(log)
    folder = liar.publish(tmp_path / "log")
    for answers in range(0, 14, 3):
        source = Flaky(folder, answers)
        audit = session(source, tmp_path / str(answers), log)
        (tmp_path / str(answers)).mkdir()
        with pytest.raises(Unavailable):
            await audit.round()
        source.answers = 1 << 30
        source.bundles = []
        found = await audit.round()
        assert (found.audited.size, found.audited.root) == (liar.size, liar.root())


async def test_a_long_round_is_kept_on_the_way(tmp_path: Path) -> None:
    """A process that dies in the middle has written how far it was; the next one begins there and not at entry 0."""
    log = long_log()
    liar = Liar(log)
    folder = liar.publish(tmp_path / "log")
    states: list[State] = []
    auditor = Auditor(
        [FolderSource(folder)],
        log_policy(),
        Follower(log.origin),
        clock=FakeClock(log.time),
        evidence=tmp_path,
        save=states.append,
        save_every=300,
    )
    await auditor.run()
    assert len(states) > 4
    for state in states[:-1]:
        assert (state.proven_size, state.note) == (0, b"")
        source = Flaky(folder)
        again = Auditor(
            [source],
            log_policy(),
            Follower.resume(state),
            clock=FakeClock(log.time),
            evidence=tmp_path,
        )
        audited = await again.run()
        assert (audited.size, audited.root, audited.entries) == (liar.size, liar.root(), liar.size - state.size)
        assert min(source.bundles, default=state.size // 256) == state.size // 256


async def test_what_nobody_signed_is_thrown_away(tmp_path: Path) -> None:
    """A part that was read from a server with wrong entries does not outlive the mismatch."""
    log = long_log()
    liar = Liar(log)
    folder = liar.publish(tmp_path / "log")
    audit = session(FolderSource(folder), tmp_path, log)
    wrong = Liar(log)
    wrong.seal()
    wrong.publish(folder)
    bundle = next(p for p in (folder / "tile" / "entries").rglob("*") if p.is_file() and p.name != "000")
    data = bundle.read_bytes()
    bundle.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    with pytest.raises(Mismatch):
        await audit.round()
    assert not (tmp_path / "audit.state.part").exists()
    assert load_state(tmp_path / "audit.state") is None
    bundle.write_bytes(data)
    assert (await audit.round()).audited.size == wrong.size


async def test_watched_issuers(tmp_path: Path) -> None:
    """Every key, list and submission of the identifier, and nothing of others; each told once."""
    log = demo_log()
    folder = Liar(log).publish(tmp_path / "log")
    audit = session(FolderSource(folder), tmp_path, log, watch=Watch(["https://school.example/badges"]))
    found = await audit.round()
    whats = [notice.what for notice in found.notices]
    assert [what.split()[0] for what in whats] == ["the", "status", "status", "the", "a", "a", "a", "a", "the"]
    assert whats[4].endswith("300 issue")
    assert whats[6].endswith("1 revoke, 2 suspend")
    assert [notice.index for notice in found.notices] == sorted(notice.index for notice in found.notices)
    audit.keep()
    assert (await audit.round()).notices == ()
    again = session(FolderSource(folder), tmp_path, log, watch=Watch(["https://school.example/badges"]))
    assert (await again.round()).notices == ()


async def test_what_was_not_told_is_told_by_the_next_run(tmp_path: Path) -> None:
    """A process that ended between finding and telling has kept nothing: once too often is better than never."""
    log = demo_log()
    folder = Liar(log).publish(tmp_path / "log")
    watch = ["https://school.example/badges"]
    first = await session(FolderSource(folder), tmp_path, log, watch=Watch(watch)).round()
    second = await session(FolderSource(folder), tmp_path, log, watch=Watch(watch)).round()
    assert first.notices == second.notices
    assert len(first.notices) == 9


async def test_a_tile_that_failed_once_is_compared_all_the_same(tmp_path: Path) -> None:
    """A lie in a higher tile, whose first reading broke off: the next round reads again, and finds it."""
    log = long_log()
    folder = Liar(log).publish(tmp_path / "log")
    upper = next((folder / "tile" / "1").rglob("*[0-9]"))
    whole = upper.read_bytes()
    upper.unlink()
    audit = session(FolderSource(folder), tmp_path, log)
    with pytest.raises(NotFound):
        await audit.round()
    upper.write_bytes(bytes(32) + whole[32:])
    with pytest.raises(Mismatch):
        await audit.round()


async def test_every_published_key_is_asked_for(tmp_path: Path) -> None:
    """More of them than one round asks for: the next rounds go on, until each was asked once."""
    log = LogBuilder()
    for k in range(250):
        log.issuer(f"https://s{k}.example/", binding=BINDING_PUBLISHED)
    log.seal()
    hosts = Hosts()
    bindings = Bindings(hosts)
    audit = session(FolderSource(Liar(log).publish(tmp_path / "log")), tmp_path, log, bindings=bindings)
    alarms = [len((await audit.round()).alarms) for _ in range(4)]
    assert alarms == [100, 100, 50, 0]
    assert len(set(hosts.asked)) == len(hosts.asked) == 250


class Hosts:
    """Documents by URL."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.documents:
            raise NotFound("nothing there")
        return self.documents[url]


async def test_published_keys_are_asked_for_again(tmp_path: Path) -> None:
    """A key that its host does not show any more is an alarm, and the round passes all the same."""
    log = LogBuilder()
    key = seeded_key("published")
    log.issuer("https://school.example/", binding=BINDING_PUBLISHED, key=key)
    log.issuer("https://vouched.example/")
    log.issuer()
    log.seal()
    hosts = Hosts()
    bindings = Bindings(hosts)
    audit = session(FolderSource(Liar(log).publish(tmp_path / "log")), tmp_path, log, bindings=bindings)
    url = "https://school.example/.well-known/badge-ledger.json"
    hosts.documents[url] = msgspec.json.encode(
        {"keys": [{"identifier": "https://school.example/", "public_key": key.public_key.hex()}]}
    )
    assert (await audit.round()).alarms == ()
    assert hosts.asked == [url]
    await audit.round()
    assert hosts.asked == [url]
    for gone in (b"{}", None):
        bindings.forget()
        hosts.documents = {url: gone} if gone is not None else {}
        (alarm,) = (await audit.round()).alarms
        assert alarm.kind == "binding"
        assert "https://school.example/" in alarm.text


def daemon(audit: Session, clock: FakeClock, shown: list[Round]) -> AuditDaemon:
    return AuditDaemon(audit, clock=clock, interval_s=60, show=shown.append)


class Turning(FakeClock):
    """A clock whose pauses do something."""

    def __init__(self, now_ms: int, *steps: Callable[[], None]) -> None:
        super().__init__(now_ms)
        self.steps = list(steps)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.steps.pop(0)()
        await asyncio.sleep(0)


async def test_the_daemon(tmp_path: Path) -> None:
    """New heads are shown once, failures are told by /healthz and counted, a conviction ends it."""
    log = demo_log()
    folder = Liar(log).publish(tmp_path / "log")
    source = Flaky(folder)
    shown: list[Round] = []

    def grow() -> None:
        log.issue(log.issuers[1], [log.issuers[1].slot(9)])
        log.seal()
        Liar(log).publish(folder)

    def fail() -> None:
        grow2 = log.issuers[1]
        log.issue(grow2, [grow2.slot(10)])
        log.seal()
        Liar(log).publish(folder)
        source.answers = 0

    def mend() -> None:
        source.answers = 1 << 30

    def lie() -> None:
        liar = Liar(log)
        liar.seal(root=bytes(32))
        liar.publish(folder)

    clock = Turning(log.time, lambda: None, grow, fail, mend, lie)
    audit = session(source, tmp_path, log, clock=clock)
    running = daemon(audit, clock, shown)
    request = make_mocked_request("GET", "/healthz")
    assert (await running.healthz(request)).status == 503
    with pytest.raises(Convicted):
        await running.run()
    assert [found.audited.entries > 0 for found in shown] == [True, True, True]
    text = bytes((await running.metrics_text(request)).body or b"").decode()  # type: ignore[arg-type]
    for line in (
        'badge_ledger_audit_rounds_total{outcome="passed"} 4.0',
        'badge_ledger_audit_rounds_total{outcome="failed"} 1.0',
        'badge_ledger_audit_rounds_total{outcome="convicted"} 1.0',
        "badge_ledger_audit_convicted 1.0",
        f"badge_ledger_audit_tree_size {log.size}.0",
    ):
        assert line in text, text
    assert (await running.healthz(request)).status == 200
    clock.passed_s += 300
    late = await running.healthz(request)
    assert late.status == 503
    assert b"gone for lunch" in (late.body if isinstance(late.body, bytes) else b"")


async def test_the_daemon_stops_at_once(tmp_path: Path) -> None:
    """A stop does not wait for the end of the pause."""
    waiting = asyncio.Event()

    class Endless(FakeClock):
        async def sleep(self, seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

    log = demo_log()
    clock = Endless(log.time)
    audit = session(FolderSource(Liar(log).publish(tmp_path / "log")), tmp_path, log, clock=clock)
    shown: list[Round] = []
    running = daemon(audit, clock, shown)
    task = asyncio.create_task(running.run())
    await waiting.wait()
    running.stop()
    assert await task == 0
    assert len(shown) == 1
