"""`badge-ledger audit --follow`: round after round, with metrics and health for the operator of an audit.

A round that fails because the log could not be read, or because something else was served than was signed, is logged
and tried again. A conviction ends it: there is nothing left to follow.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.serve import configure_logs, parse_listen
from ledger.auditor.convict import Convicted
from ledger.auditor.session import Round, Session
from ledger.auditor.watch import Bindings
from ledger.clock import Clock
from ledger.errors import LedgerError, OperationError

#: How often published keys are asked for again.
BINDINGS_EVERY_S = 86_400


class AuditMetrics:
    """The figures of one audit."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.size = Gauge("badge_ledger_audit_tree_size", "Leaves of the newest head that passed", registry=r)
        self.passed = Gauge(
            "badge_ledger_audit_passed_timestamp_seconds",
            "When a round passed last, 0 before the first",
            registry=r,
        )
        self.head = Gauge(
            "badge_ledger_audit_head_timestamp_seconds", "The log's time of the newest head that passed", registry=r
        )
        self.entries = Counter("badge_ledger_audit_entries_total", "Entries that passed", registry=r)
        self.rounds = Counter("badge_ledger_audit_rounds_total", "Rounds by outcome", ["outcome"], registry=r)
        self.alarms = Counter("badge_ledger_audit_alarms_total", "Alarms by kind", ["kind"], registry=r)
        self.notices = Counter("badge_ledger_audit_notices_total", "Entries of watched issuers", registry=r)
        self.convicted = Gauge("badge_ledger_audit_convicted", "1 once the log has been convicted", registry=r)

    def passes(self, found: Round, now_s: float) -> None:
        """A round passed."""
        self.size.set(found.audited.size)
        self.head.set(found.audited.time_ms / 1000)
        self.passed.set(now_s)
        self.entries.inc(found.audited.entries)
        self.rounds.labels("passed").inc()
        self.notices.inc(len(found.notices))
        for alarm in found.alarms:
            self.alarms.labels(alarm.kind).inc()


class AuditDaemon:
    """Runs rounds; `stop` ends it after the one that runs, `status` is its exit status."""

    def __init__(
        self,
        session: Session,
        *,
        clock: Clock,
        interval_s: float,
        show: Callable[[Round], None],
        bindings: Bindings | None = None,
    ) -> None:
        self.metrics = AuditMetrics()
        self._session = session
        self._clock = clock
        self._interval_s = interval_s
        self._show = show
        self._bindings = bindings
        self._log = structlog.get_logger("audit")
        self._stop = asyncio.Event()
        self._passed_at: float | None = None
        self._why = "no round has passed yet"

    def stop(self) -> None:
        """Make no further round."""
        self._stop.set()

    async def run(self) -> int:
        """Rounds until `stop`: 0. A conviction raises Convicted."""
        asked_at = self._clock.monotonic()
        while not self._stop.is_set():
            if self._bindings is not None and self._clock.monotonic() - asked_at > BINDINGS_EVERY_S:
                asked_at = self._clock.monotonic()
                self._bindings.forget()
            await self._round()
            pause = asyncio.ensure_future(self._clock.sleep(self._interval_s))
            stopped = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait((pause, stopped), return_when=asyncio.FIRST_COMPLETED)
            for task in (pause, stopped):
                task.cancel()
            await asyncio.gather(pause, stopped, return_exceptions=True)
        return 0

    async def _round(self) -> None:
        try:
            found = await self._session.round()
        except Convicted as error:
            self.metrics.convicted.set(1)
            self.metrics.rounds.labels("convicted").inc()
            self._log.error("audit.convicted", detail=error.detail, **error.members)
            raise
        except LedgerError as error:
            self._why = error.detail
            self.metrics.rounds.labels("failed").inc()
            self._log.warning("audit.failed", type=error.type, detail=error.detail)
            return
        self._passed_at = self._clock.monotonic()
        self.metrics.passes(found, self._clock.now_ms() / 1000)
        for alarm in found.alarms:
            self._log.warning("audit.alarm", kind=alarm.kind, detail=alarm.text)
        for notice in found.notices:
            self._log.info("audit.notice", index=notice.index, identifier=notice.identifier, what=notice.what)
        if found.audited.entries or found.notices or found.alarms:
            self._show(found)
        self._session.keep()

    async def healthz(self, _: web.Request) -> web.Response:
        """200 while rounds pass; 503 with the reason where none has passed for three intervals and a minute."""
        late_s = 3 * self._interval_s + 60
        if self._passed_at is not None and self._clock.monotonic() - self._passed_at <= late_s:
            return web.json_response({"status": "ok", "tree_size": self._session.size})
        return web.json_response({"status": "failing", "detail": self._why}, status=503)

    async def metrics_text(self, _: web.Request) -> web.Response:
        """Prometheus text exposition."""
        return web.Response(body=generate_latest(self.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def app(self) -> web.Application:
        """`/healthz` and `/metrics`."""
        app = web.Application()
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/metrics", self.metrics_text)
        return app


async def follow(
    session: Session,
    *,
    clock: Clock,
    interval_s: float,
    listen: str | None,
    show: Callable[[Round], None],
    bindings: Bindings | None,
) -> int:
    """The daemon until SIGTERM or Ctrl-C. Raises Convicted, and MalformedInput for an address."""
    configure_logs()
    daemon = AuditDaemon(session, clock=clock, interval_s=interval_s, show=show, bindings=bindings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)
    runner = None
    if listen is not None:
        host, port = parse_listen(listen)
        runner = web.AppRunner(daemon.app(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise OperationError(f"cannot listen on {listen}: {error.strerror}") from error
    try:
        return await daemon.run()
    finally:
        if runner is not None:
            await runner.cleanup()
