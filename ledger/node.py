"""One node of the ledger: store, guard, sequencer, publisher and prover put together, with their background tasks.

Nodes are equal and share nothing but the database and the guard. A node refuses to start on a guard that is not the
database's, on keys or an origin that are not the log's, and on a database that is behind the guard.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from ledger.block import Block
from ledger.clock import Clock
from ledger.errors import ForkDetected, GuardMismatch, LedgerError, OperationError, Unavailable
from ledger.gather import Gatherer
from ledger.guard import Guard
from ledger.lookup import Lookup
from ledger.note import format_vkey
from ledger.prover import Prover
from ledger.publication import Publication, PublishedHead
from ledger.publisher import HeadSigner, Publisher, guard_ahead, guard_behind
from ledger.sequencer import Outcome, Sequencer, SubmissionWork, Work
from ledger.store import Store

#: Entries between two stored snapshots of the replay state: what a start has to read at the most.
SNAPSHOT_ENTRIES = 1_000_000


class NodeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set. Seconds unless the name says otherwise."""

    origin: str
    publish_interval_s: float = 0.005
    heartbeat_s: float = 300.0
    answer_timeout_s: float = 20.0
    housekeeping_s: float = 30.0
    max_queued_events: int = 1_000_000
    #: Submissions of more events are not looked up in the stored index for badges issued before.
    max_duplicate_check_events: int = 1_000
    max_lists_per_issuer: int = 256
    lock_timeout_s: float = 10.0


class Node:
    """One node. `start` raises what the operator must mend; afterwards the tasks mend themselves or stop the ledger."""

    def __init__(
        self,
        store: Store,
        guard: Guard,
        signer: HeadSigner,
        clock: Clock,
        options: NodeOptions,
        slot_key: bytes,
        gatherer: Gatherer | None = None,
    ) -> None:
        self.store = store
        self.guard = guard
        self.signer = signer
        self.clock = clock
        self.options = options
        self.slot_key = slot_key
        self.gatherer = gatherer
        self.publication = Publication() if gatherer is None else Publication(gatherer.lacking)
        self.lookup = Lookup(store)
        self.prover = Prover(store, self.lookup)
        self.sequencer = Sequencer(
            store,
            clock,
            self.lookup,
            origin=options.origin,
            max_queued_events=options.max_queued_events,
            max_duplicate_check_events=options.max_duplicate_check_events,
            on_integrated=self._on_integrated,
        )
        self.publisher = Publisher(
            store,
            guard,
            signer,
            clock,
            gatherer,
            min_interval_s=options.publish_interval_s,
            lock_timeout_s=options.lock_timeout_s,
            on_published=self.learn_published,
            on_stop=self._on_stop,
            on_tick=self._heartbeat,
        )
        self.stopped: LedgerError | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._learning = asyncio.Lock()
        self._filling = asyncio.Lock()
        self._run_full = asyncio.Event()
        self._news = asyncio.Event()
        self._last_snapshot = 0
        self._log = structlog.get_logger("node")

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Check that everything belongs together, load the log's state, begin to work."""
        await self._check_identity()
        self.lookup.filled_to = await self.store.lookup_filled_to()
        await self.sequencer.start()
        await self.learn_published()
        # A witness that claims much and proves nothing keeps nobody from starting: the publisher asks again.
        with contextlib.suppress(Unavailable):
            await self.publisher.survey()
        if self.gatherer is not None:
            self._spawn(self.gatherer.run, "witnesses")
        self._spawn(self.publisher.run, "publisher")
        self._spawn(self._listen, "listener")
        self._spawn(self._follow, "follower")
        self._spawn(self._housekeep, "housekeeper")
        self._spawn(self._keep_lookup, "lookup")
        self.publisher.wake()

    async def stop(self) -> None:
        """Finish what is queued, then end every task."""
        await self.sequencer.stop()
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            # Again and again: libraries are known to swallow a cancellation now and then.
            _, pending = await asyncio.wait(pending, timeout=1.0)
        self._tasks.clear()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        async def keep_going() -> None:
            # A task that a bug ended unseen would leave a node that takes writes and answers none of them.
            while True:
                try:
                    await work()
                except LedgerError as error:
                    self._log.warning("node.retry", task=name, reason=error.detail)
                except Exception:
                    self._log.exception("node.bug", task=name)
                else:
                    return
                await self.clock.sleep(1.0)

        self._tasks.append(asyncio.create_task(keep_going(), name=name))

    async def _check_identity(self) -> None:
        """Database, guard, origin and keys must be those of one log; an empty database takes on what it is given."""
        standing = await self.guard.read()
        head = await self.store.head()
        meta = await self.store.meta()
        identity = self.guard.identity.encode()
        # Another log's guard says nothing of this database, so whose it is comes before where it stands.
        if standing.size > head.size and meta.get("guard", identity) == identity:
            raise guard_ahead(standing, head)
        if standing.size < head.published_size and meta.get("guard", identity) == identity:
            # Asked again, because another node may have published between the two readings.
            standing = await self.guard.read()
            if standing.size < head.published_size:
                raise guard_behind(standing, head)
        if "guard" not in meta and head.size:
            raise GuardMismatch(
                "this guard or this database has been used with another one: start with the pair that belongs together"
            )
        await self.take_on_identity()

    async def take_on_identity(self) -> None:
        """Record whose database this is; one that is recorded already has to be this log's. Raises OperationError."""
        identity = self.guard.identity.encode()
        if await self.store.set_meta_if_absent("guard", identity) != identity:
            raise GuardMismatch(
                "the database records another guard than this one: start with the guard it was created with"
            )
        origin = self.options.origin.encode()
        if (known := await self.store.set_meta_if_absent("origin", origin)) != origin:
            raise OperationError(f"the log's origin is {known.decode()!r}, not {self.options.origin!r}")
        vkeys = "\n".join(self.verifier_keys).encode()
        if await self.store.set_meta_if_absent("verifier_keys", vkeys) != vkeys:
            raise OperationError("these are not the keys that the log was created with")
        self.slot_key = await self.store.set_meta_if_absent("slot_key", self.slot_key)

    @property
    def verifier_keys(self) -> tuple[str, str]:
        """The log's Ed25519 (0x01) and ML-DSA-44 (0x06) keys as vkeys."""
        note_key, cosignature_key = self.signer.verifier_keys
        return format_vkey(note_key), format_vkey(cosignature_key)

    # -- work -----------------------------------------------------------------------------------------------------

    async def append(self, work: Work) -> tuple[Outcome, PublishedHead]:
        """Append, wait until it is in a published head, and say where it stands."""
        outcome = await self.sequencer.submit(work)
        try:
            head = await self.publication.wait_for(outcome.size, self.options.answer_timeout_s)
        except LedgerError as error:
            error.members.setdefault("first_index", outcome.first_index)
            error.members.setdefault("count", outcome.count)
            raise
        return outcome, head

    async def submit(self, block: Block) -> tuple[Outcome, PublishedHead]:
        """Append a submission whose signature and events root have been checked."""
        return await self.append(SubmissionWork(block))

    async def published(self) -> PublishedHead:
        """The newest published head; waits for the first one of a new log."""
        return self.publication.head or await self.publication.wait_for(1, self.options.answer_timeout_s)

    async def settle(self) -> PublishedHead:
        """A published head that covers everything this node has integrated up to now."""
        return await self.publication.wait_for(self.sequencer.replay.size, self.options.answer_timeout_s)

    # -- tasks ----------------------------------------------------------------------------------------------------

    def _on_integrated(self) -> None:
        self.publisher.wake()

    def _on_stop(self, error: LedgerError) -> None:
        self.stopped = error
        self.sequencer.halt(error)
        self.publication.fail(error)

    async def learn_published(self) -> None:
        """Read the newest published head and release it to this node's callers."""
        async with self._learning:
            head = await self.store.head()
            known = self.publication.head
            if not head.published_note or (known is not None and head.published_size <= known.size):
                return
            if self.sequencer.replay.size < head.published_size:
                await self.sequencer.refresh()
            state = await self.sequencer.state_at(head.published_size)
            self.publication.release(
                PublishedHead(
                    size=head.published_size,
                    root=head.published_root,
                    time_s=head.published_time_s,
                    note=head.published_note,
                    status_root=state.status_root,
                    status_root_entry=state.entry,
                    status=state.status,
                )
            )
            if self.lookup.has_whole_run:
                self._run_full.set()

    async def _listen(self) -> None:
        def on_news(_: str) -> None:
            self._news.set()
            self.publisher.wake()

        async with self.store.listen(on_news):
            await asyncio.Event().wait()

    async def _follow(self) -> None:
        """Learn what other nodes integrated and published, on their notification and now and then without one."""
        while True:
            # Not `asyncio.wait_for`: before Python 3.12 it swallows a cancellation that comes together with the news.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._news.wait()
            self._news.clear()
            try:
                await self.learn_published()
            except ForkDetected as error:
                self._log.error("node.stopped", reason=error.detail)
                self._on_stop(error)
                return
            except LedgerError as error:
                self._log.warning("node.retry", reason=error.detail)
                await self.clock.sleep(0.5)

    async def _heartbeat(self) -> None:
        """Keep an idle head fresh: a bare status_root, which is a new head to sign. The publisher's node does it."""
        if self.clock.now_ms() - self.sequencer.replay.time >= self.options.heartbeat_s * 1000:
            with contextlib.suppress(LedgerError):
                await self.sequencer.submit(None)

    async def _housekeep(self) -> None:
        while True:
            await self.clock.sleep(self.options.housekeeping_s)
            try:
                await self.housekeep()
            except LedgerError as error:
                self._log.warning("housekeeping.retry", reason=error.detail)

    async def _keep_lookup(self) -> None:
        """Write whole runs of the lookup index as they come: at full load memory would not last for `_housekeep`."""
        while True:
            await self._run_full.wait()
            self._run_full.clear()
            head = self.publication.head
            if head is not None:
                await self._fill_lookup(head.size, whole_runs=True)

    async def _fill_lookup(self, size: int, *, whole_runs: bool = False) -> None:
        async with self._filling:
            rows = await self.lookup.fill(size, whole_runs=whole_runs)
        if rows:
            self._log.info("lookup.filled", rows=rows, size=self.lookup.filled_to)

    async def housekeep(self) -> None:
        """Check the clock, forget expired idempotency keys, store a snapshot."""
        await self.sequencer.check_clock()
        await self.store.purge_submissions(self.clock.now_ms())
        head = self.publication.head
        if head is None:
            return
        due = self.sequencer.replay.size - self._last_snapshot >= SNAPSHOT_ENTRIES
        if due:
            size, data = await self.sequencer.snapshot()
            head = await self.publication.wait_for(size, self.options.answer_timeout_s)
        if due:
            # A snapshot is of use only where the index holds all before it: what lies behind is read to be found.
            await self._fill_lookup(head.size)
            await self.store.save_snapshot(size, data)
            self._last_snapshot = size
            self._log.info("snapshot.saved", size=size, bytes=len(data))
