"""The publisher: from an integrated head to a signed, released one. One at a time; safety is the guard's.

    mark     name the candidate in the database, so that a crash from here on is seen
    prove    a consistency proof, from stored tiles, from the guard's head to the candidate
    guard    compare-and-swap the register outside the database to (size, root, time): from here on this head may exist
    sign     with exactly that time
    gather   where a policy names witnesses: their cosignatures, until its quorum holds
    publish  mark it published, and only then answer anybody

Whoever crashes between two of these lines is recovered by the same path: the next publisher finds the guard ahead of
the published head and signs the guard's own head, size, root and time, before anything newer. Sizes in the guard only
grow, so a process that was stopped and wakes up cannot sign an old head with a fresh time. A head whose proof fails, or
a guard that the database does not reach, stops the ledger: it never signs what could contradict a released head.

A head that does not get its quorum is signed, in the guard and not published. It stays the one to be cosigned until it
is overdue; then the newest integrated head takes its place by the same steps, proven to extend it. It is not published
any more, and whatever witnesses cosigned of it is part of what they cosign next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import structlog

from ledger import faults
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.clock import Clock
from ledger.cosignature import cosign
from ledger.errors import ForkDetected, GuardAhead, LedgerError, NotFound, ProofInvalid, WitnessAhead
from ledger.gather import Gatherer
from ledger.gather_peer import SignedHead
from ledger.guard import Guard, GuardConflict, GuardHead, swap_or_confirm
from ledger.history import AHEAD_REMEDIES, History
from ledger.merkle import verify_consistency
from ledger.note import Note, VerifierKey, find_lines, format_note, parse_note, sign_note
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.store import Head, PublisherSession, Store

T = TypeVar("T")


class HeadSigner:
    """The log's two keys: the Ed25519 note signature (0x01) and the timestamped ML-DSA-44 cosignature (0x06)."""

    def __init__(self, origin: str, ed25519: Ed25519Key, mldsa44: MLDSA44Key) -> None:
        self.origin = origin
        self._ed25519 = ed25519
        self._mldsa44 = mldsa44
        self.verifier_keys = (
            VerifierKey(origin, 0x01, ed25519.public_key),
            VerifierKey(origin, 0x06, mldsa44.public_key),
        )

    def sign(self, size: int, root: bytes, time_s: int) -> bytes:
        """The checkpoint of this head as a signed note."""
        checkpoint = Checkpoint(self.origin, size, root)
        text = format_checkpoint(checkpoint)
        lines = (
            sign_note(text, self.origin, self._ed25519),
            cosign(checkpoint, self.origin, self._mldsa44, time_s),
        )
        return format_note(Note(text, lines))


class Publisher:
    """One node's publisher. `run` takes the publisher's lock whenever it is free and publishes until cancelled."""

    def __init__(
        self,
        store: Store,
        guard: Guard,
        signer: HeadSigner,
        clock: Clock,
        gatherer: Gatherer | None = None,
        *,
        min_interval_s: float = 0.01,
        lock_timeout_s: float = 10.0,
        on_published: Callable[[], Awaitable[None]],
        on_stop: Callable[[LedgerError], None],
        on_tick: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._guard = guard
        self._signer = signer
        self._clock = clock
        self._history = History(store)
        self._gatherer = gatherer
        self._min_interval_s = min_interval_s
        self._lock_timeout_s = lock_timeout_s
        #: How often an idle publisher shows the server that it lives: well within that timeout.
        self._idle_s = min(2.0, lock_timeout_s / 3)
        self._on_published = on_published
        self._on_stop = on_stop
        self._on_tick = on_tick
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("publisher")
        #: The witnesses have been asked since this node last did not publish.
        self._surveyed = False
        self._below_quorum = False
        self.is_publisher = False
        self.publications = 0

    def wake(self) -> None:
        """Something was integrated."""
        self._wake.set()

    async def run(self) -> None:
        """Publish for ever. Faults of database and guard are retried with growing pauses; contradictions stop it."""
        pause_s = 0.1
        while True:
            before = self.publications
            try:
                async with self._store.publisher(idle_session_timeout_ms=int(self._lock_timeout_s * 1000)) as session:
                    if await session.acquire():
                        self.is_publisher = True
                        self._log.info("publisher.elected")
                        if not self._surveyed:
                            await self._alive(session, self.survey())
                        self._surveyed = False
                        await self._publish_until_lost(session)
                    else:
                        self._surveyed = False
                        if self._gatherer is not None:
                            self._gatherer.rest()
            except (GuardAhead, WitnessAhead, ForkDetected) as error:
                self._log.error("publisher.stopped", reason=error.detail)
                self._on_stop(error)
                return
            except LedgerError as error:
                self._log.warning("publisher.retry", reason=error.detail)
            finally:
                self.is_publisher = False
            # What was elected and published nothing is no better off than what was not elected.
            longest_s = 15.0 if self._gatherer is not None and self._gatherer.blocked else 2.0
            pause_s = 0.1 if self.publications > before else min(longest_s, pause_s * 2)
            await self._clock.sleep(pause_s)

    async def _publish_until_lost(self, session: PublisherSession) -> None:
        last = self._clock.monotonic() - self._min_interval_s
        while True:
            self._wake.clear()
            wait_s = self._min_interval_s - (self._clock.monotonic() - last)
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            if await self.publish_once(session):
                last = self._clock.monotonic()
                continue
            try:
                async with asyncio.timeout(self._idle_s):
                    await self._wake.wait()
            except TimeoutError:
                await session.ping()
                await self._on_tick()

    async def publish_once(self, session: PublisherSession) -> bool:
        """Publish the newest integrated head if it is not published; whether there was one."""
        # The guard first: whatever it names was in the database before, unless the database lost it since.
        standing = await self._guard.read()
        head = await self._store.head()
        if standing.size > head.size:
            raise guard_ahead(standing, head)
        if standing.size > head.published_size:
            # Somebody moved the guard and did not get to the end: that very head first, with its own time.
            await self._check_stored(standing)
            if await self._release(session, standing):
                return True
            head = await self._store.head()
        elif standing.size < head.published_size:
            if (await self._guard.read()).size >= head.published_size:
                return True  # another publisher moved both between our two readings
            raise guard_behind(standing, head)
        elif standing.size and standing.root != head.published_root:
            raise ForkDetected(f"guard and database name different roots for the head of size {standing.size}")
        if head.size == standing.size:
            return False
        faults.reach("publisher.before-mark")
        await session.mark(head.size, head.root)
        faults.reach("publisher.after-mark")
        await self._prove(standing, head)
        faults.reach("publisher.after-proof")
        now_s = self._clock.now_ms() // 1000
        candidate = GuardHead(head.size, head.root, max(now_s, head.time_ms // 1000, standing.time_s))
        try:
            await swap_or_confirm(self._guard, standing, candidate)
        except GuardConflict:
            self._log.info("publisher.overtaken", size=head.size)
            return True
        faults.reach("publisher.after-guard")
        await self._release(session, candidate)
        return True

    async def survey(self) -> None:
        """Ask the witnesses where they stand, before anything is signed: see `Gatherer.survey` for what it raises."""
        if self._gatherer is None:
            return
        head = await self._store.head()
        published = None
        if head.published_note:
            note = parse_note(head.published_note)
            own = Note(note.text, tuple(line for _, line in find_lines(note, self._signer.verifier_keys)))
            checkpoint = Checkpoint(self._signer.origin, head.published_size, head.published_root)
            published = SignedHead(checkpoint, format_note(own), head.published_time_s)
        await self._gatherer.survey(published)
        self._surveyed = True

    async def _release(self, session: PublisherSession, head: GuardHead) -> bool:
        """Sign, gather, publish. False if the head is overdue and a newer one is there to take its place."""
        note = self._signer.sign(head.size, head.root, head.time_s)
        faults.reach("publisher.after-sign")
        if self._gatherer is not None:
            gathered = await self._gather(session, self._gatherer, head, note)
            if gathered is None:
                return False
            note = gathered
        faults.reach("publisher.after-gather")
        await session.publish(head.size, head.root, head.time_s, note)
        faults.reach("publisher.after-publish")
        self.publications += 1
        await self._on_published()
        return True

    async def _gather(
        self, session: PublisherSession, gatherer: Gatherer, head: GuardHead, note: bytes
    ) -> bytes | None:
        """The note with cosignatures that are a quorum; None as `_release` says."""
        signed = SignedHead(Checkpoint(self._signer.origin, head.size, head.root), note, head.time_s)

        async def is_replaced() -> bool:
            if not gatherer.overdue(signed):
                return False
            if not self._below_quorum and (lacking := gatherer.lacking()) is not None:
                self._below_quorum = True
                self._log.warning("publisher.below-quorum", size=head.size, reason=lacking.detail)
            return (await self._store.head()).size > head.size

        lines = await self._alive(session, gatherer.gather(signed), until=is_replaced)
        if lines is None:
            return None
        if self._below_quorum:
            self._below_quorum = False
            self._log.info("publisher.quorum-restored", size=head.size)
        own = parse_note(note)
        return format_note(Note(own.text, own.signatures + lines))

    async def _alive(
        self,
        session: PublisherSession,
        work: Coroutine[None, None, T],
        until: Callable[[], Awaitable[bool]] | None = None,
    ) -> T | None:
        """Wait for work that may take long, and show the server meanwhile that this session lives.

        None if `until` became true before the work was done.
        """
        task = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=self._idle_s)
                if done:
                    return task.result()
                await session.ping()
                await self._on_tick()
                if until is not None and await until():
                    return None
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, LedgerError):
                await task

    async def _prove(self, standing: GuardHead, head: Head) -> None:
        if standing.size == 0:
            return
        try:
            proof = await self._history.consistency(standing.size, head.size)
            verify_consistency(standing.size, head.size, standing.root, head.root, proof)
        except (ProofInvalid, NotFound) as error:
            raise ForkDetected(
                f"the head of size {head.size} does not extend the released head of size {standing.size} "
                f"({error.detail}): nothing was signed; run `badge-ledger check`"
            ) from error

    async def _check_stored(self, standing: GuardHead) -> None:
        """The guard's head must be a head of this database, root and all."""
        if not await self._history.holds(standing.size, standing.root):
            raise ForkDetected(
                f"the guard released a head of size {standing.size} that this database does not hold: "
                "another history was signed; nothing more is signed here"
            )


def guard_ahead(standing: GuardHead, head: Head) -> GuardAhead:
    """The refusal of a database that lost entries which a released head may cover."""
    return GuardAhead(
        f"the database ends at size {head.size}, but a head of size {standing.size} was released: {AHEAD_REMEDIES}",
        database_size=head.size,
        guard_size=standing.size,
    )


def guard_behind(standing: GuardHead, head: Head) -> ForkDetected:
    """The refusal of a guard that did not release what is published: an old copy of the one that did."""
    return ForkDetected(
        f"the published head ({head.published_size}) is ahead of the guard ({standing.size}): "
        "this guard did not release it; find the guard that did"
    )
