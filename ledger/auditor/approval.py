"""The conscience of an auditing witness: a head is approved once everything up to it has passed the audit.

    approve(note)    waits for the audit, PATIENCE_S at the most
        passed       returns: the witness may cosign. Only the newest head that passed is approved
        not yet      Unavailable (503): the audit goes on by itself, and the log comes back with its newest head
        convicted    VerificationError (422), now and for ever: there is a file that says why
        mismatch     Unavailable: what the log hands out is not what it signed; nobody can say yet whose fault it is
        clock        Unavailable: the head's time is more than ten minutes from this machine's clock

One audit of a log runs at a time, for as long as it takes, whoever waits for it or gives up waiting.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from ledger.auditor.convict import Convicted
from ledger.auditor.session import Session
from ledger.checkpoint import Checkpoint
from ledger.clock import Clock
from ledger.errors import LedgerError, NotFound, Unavailable, VerificationError

#: Seconds that `approve` waits. Less than a ledger waits for a witness.
PATIENCE_S: Final = 3.0
#: How far the time of a head may be from this machine's clock, milliseconds.
MAX_SKEW_MS: Final = 600_000
_RETRY_AFTER_S: Final = 2

_log = structlog.get_logger("audit")


class AuditedLog:
    """The audit of one log, as a witness asks for it. Not for several threads."""

    def __init__(self, session: Session, clock: Clock, *, patience_s: float = PATIENCE_S) -> None:
        self._session = session
        self._clock = clock
        self._patience_s = patience_s
        self._lock = asyncio.Lock()
        self._audit: asyncio.Task[None] | None = None
        #: The newest head that was asked for: its size and note.
        self._wanted: tuple[int, bytes] = (0, b"")
        self._convicted: Convicted | None = None

    @property
    def size(self) -> int:
        """Of the newest head that passed."""
        return self._session.size

    async def approve(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Return if the head of this signed note passed. Raises Unavailable, VerificationError."""
        if self._convicted is not None:
            raise _refusal(self._convicted)
        if checkpoint.size > self._wanted[0]:
            self._wanted = (checkpoint.size, note)
        end = self._clock.monotonic() + self._patience_s
        while checkpoint.size > self._session.size:
            if self._audit is None:
                self._audit = asyncio.create_task(self._run(), name="audit")
            await self._wait(self._audit, end)
        # What was asked about has been read; that it is this very head, and no fork of it, is yet to be compared.
        compare = asyncio.create_task(self._compare(note), name="compare")
        try:
            await self._wait(compare, end)
        finally:
            # Whoever repeats a head while a long audit runs must not leave a task behind each time.
            compare.cancel()
            await asyncio.gather(compare, return_exceptions=True)
        self._check_clock(checkpoint)

    async def close(self) -> None:
        """End what is under way; the next start goes on from the last head that passed."""
        if self._audit is not None:
            self._audit.cancel()
            await asyncio.gather(self._audit, return_exceptions=True)

    async def _wait(self, work: asyncio.Task[None], end: float) -> None:
        """Until the work is done. Raises what it raised, or Unavailable once time is up, while it goes on."""
        sleep = asyncio.ensure_future(self._clock.sleep(max(0.0, end - self._clock.monotonic())))
        try:
            await asyncio.wait((work, sleep), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            await asyncio.gather(sleep, return_exceptions=True)
        if not work.done():
            raise Unavailable(
                f"the audit has reached {self._session.size} entries; nothing was cosigned",
                retry_after_s=_RETRY_AFTER_S,
            )
        if self._audit is work:
            self._audit = None
        try:
            work.result()
        except Convicted as error:
            raise _refusal(error) from error
        except Unavailable:
            raise
        except LedgerError as error:
            raise Unavailable(f"the audit did not pass: {error.detail}", retry_after_s=_RETRY_AFTER_S) from error

    async def _run(self) -> None:
        """Audit up to the newest head that is wanted."""
        try:
            while self._wanted[0] > self._session.size:
                await self._compare(self._wanted[1])
        except BaseException:
            # That head may never become readable, if the log lost it: the next one that is asked for is tried then.
            self._wanted = (0, b"")
            raise

    async def _compare(self, note: bytes) -> None:
        """Audit up to this head, or compare it with what passed. One at a time: there is one record."""
        async with self._lock:
            try:
                await self._session.audit_head(note)
            except Convicted as error:
                self._convicted = error
                _log.error("audit.convicted", detail=error.detail, **error.members)
                raise
            except LedgerError as error:
                _log.warning("audit.failed", type=error.type, detail=error.detail)
                raise

    def _check_clock(self, checkpoint: Checkpoint) -> None:
        if checkpoint.size != self._session.size:
            raise Unavailable("the audit has gone on to a newer head meanwhile", retry_after_s=_RETRY_AFTER_S)
        skew_ms = self._session.time_ms - self._clock.now_ms()
        if abs(skew_ms) > MAX_SKEW_MS:
            raise Unavailable(
                f"the head's time is {skew_ms // 1000} s from this machine's clock; nothing was cosigned",
                retry_after_s=_RETRY_AFTER_S,
            )


class Audits:
    """The audits of all logs of a witness: its `approve` hook."""

    def __init__(self, logs: dict[str, AuditedLog]) -> None:
        """By origin."""
        self._logs = logs

    async def __call__(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Return if the head passed. Raises as `AuditedLog.approve`, and NotFound for a log that is not audited."""
        log = self._logs.get(checkpoint.origin)
        if log is None:
            raise NotFound("this witness does not audit that log, and cosigns only what it audited")
        await log.approve(checkpoint, note)

    async def close(self) -> None:
        """End all audits."""
        for log in self._logs.values():
            await log.close()


def _refusal(error: Convicted) -> VerificationError:
    return VerificationError(f"the log is convicted: {error.conviction.sentence}", rule=error.conviction.rule)
