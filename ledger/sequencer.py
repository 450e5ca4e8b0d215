"""Group commit: requests that arrive together become one transaction, one run of leaves and one `status_root`.

Any node may sequence. Under the lock of the head row a node first applies what others committed (its `replay` state is
a cache), validates the group into a draft, appends, and commits. After COMMIT the draft is merged. If the database does
not say whether it committed, the node forgets everything it believed and rereads: the byte-identical request then finds
its answer by its idempotency key, or is logged now.

What a crash means: before COMMIT nothing happened; after it the entries are in the log, integrated but not yet
published, and any node's publisher goes on from there. Nothing is answered from here: callers wait for publication.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from ledger import faults
from ledger.assemble import Grown, Logged
from ledger.block import Block
from ledger.clock import Clock
from ledger.duplicates import Duplicates
from ledger.entry import IssuerKey, LogParams, StatusList, StatusRoot, encode
from ledger.errors import (
    ClockUnsafe,
    ForkDetected,
    InputError,
    LedgerError,
    LedgerStopped,
    OutcomeUnknown,
    Overloaded,
    RuleViolation,
    Stopping,
)
from ledger.lookup import Lookup
from ledger.merkle import leaf_hash
from ledger.message import idempotency_key
from ledger.replay import Draft, Replay
from ledger.sequencer_state import HeadState, LogState, tile_levels
from ledger.store import Append, Commit, Store

#: How far the wall clock may be from the database's or move against the monotonic clock, milliseconds.
CLOCK_TOLERANCE_MS = 5_000
#: Idempotency keys are kept this long past not_after, milliseconds (24 hours).
_KEEP_KEYS_MS = 86_400_000


#: What the ledger writes as a single entry.
Single = LogParams | IssuerKey | StatusList | StatusRoot


class Outcome(msgspec.Struct, frozen=True):
    """Where a request's entries stand. `size` is the least tree size that covers them."""

    first_index: int
    count: int
    size: int
    repeated: bool = False
    #: The ledger's time of the entries, milliseconds; 0 where the answer repeats an earlier one.
    time_ms: int = 0


class Work(Protocol):
    """Something that appends entries to the log."""

    def append_to(self, draft: Draft, time_ms: int) -> list[Logged]:
        """Append to the draft, atomically. Raises RuleViolation, and then the draft is as before."""


class SubmissionWork:
    """A decoded submission whose events root has been checked; its signature too, usually."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.key = idempotency_key(block.submission)

    def append_to(self, draft: Draft, time_ms: int, *, veto: LedgerError | None = None) -> list[Logged]:
        """`veto`: refuse with this where the log's own rules would not."""
        block = self.block.with_time(time_ms)
        index = draft.size
        draft.append(block, veto=veto)
        data = encode(block.submission)
        return [Logged(index, data, leaf_hash(data), block.submission, block)]


class EntryWork:
    """Entries that the ledger writes itself: `make` gets the draft and the time and returns the entry."""

    def __init__(self, make: Callable[[Draft, int], Single]) -> None:
        self._make = make

    def append_to(self, draft: Draft, time_ms: int) -> list[Logged]:
        entry = self._make(draft, time_ms)
        data = encode(entry)
        index, leaf = draft.size, leaf_hash(data)
        draft.append(entry, leaf=leaf)
        return [Logged(index, data, leaf, entry)]


class _Queued:
    __slots__ = ("future", "work")

    def __init__(self, work: Work | None) -> None:
        self.work = work
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()


class Sequencer:
    """One node's sequencer. `start` before use; `on_integrated` is called after every commit of this node."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lookup: Lookup,
        *,
        origin: str,
        max_queued_events: int = 1_000_000,
        max_duplicate_check_events: int = 1_000,
        max_group_events: int = 100_000,
        on_integrated: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lookup = lookup
        self._origin = origin
        self._max_queued_events = max_queued_events
        self._max_duplicate_check_events = max_duplicate_check_events
        self._max_group_events = max_group_events
        self._on_integrated = on_integrated
        self._queue: deque[_Queued] = deque()
        self._queued_events = 0
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stopped: LedgerError | None = None
        self._anchor_ms: float | None = None
        self._clock_fault: str | None = None
        self._log = structlog.get_logger("sequencer")
        self._state = LogState(store, lookup, origin)
        self.commits = 0
        self.committed_events = 0

    @property
    def replay(self) -> Replay:
        """The log's state as this node knows it, under the rules. Another object after a rereading."""
        return self._state.replay

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the state of the log from the store, open the log if it is empty, begin to take work."""
        await self.check_clock()
        await self.refresh()
        if self.replay.size == 0:
            await self._commit([])
        self._task = asyncio.create_task(self._run(), name="sequencer")

    async def stop(self) -> None:
        """Take no more work, finish what is queued, end."""
        self._stopped = self._stopped or Stopping("the service is stopping; nothing changed", retry_after_s=2)
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None

    def halt(self, error: LedgerError) -> None:
        """Stop writing for good: going on could contradict a released head."""
        self._stopped = LedgerStopped(error.detail, cause=error.type)
        self._wake.set()

    # -- work -----------------------------------------------------------------------------------------------------

    async def submit(self, work: Work | None) -> Outcome:
        """Append `work` (None: a bare status_root, the heartbeat) and return where it stands once integrated.

        Raises RuleViolation (nothing changed), Overloaded, Stopping, LedgerStopped, ClockUnsafe, DatabaseError
        (nothing changed) or OutcomeUnknown.
        """
        if self._stopped is not None:
            raise self._refusal(self._stopped)
        weight = work.block.submission.count if isinstance(work, SubmissionWork) else 1
        if self._queue and self._queued_events + weight > self._max_queued_events:
            raise Overloaded("too many events are queued; nothing changed", retry_after_s=1)
        queued = _Queued(work)
        self._queue.append(queued)
        self._queued_events += weight
        self._wake.set()
        return await queued.future

    async def refresh(self) -> None:
        """Learn what other nodes committed, without the lock of the head row."""
        async with self._lock:
            head = await self._store.head()
            if not self._state.stands_at(head.size, head.root):
                await self._state.catch_up(head.size, head.root)

    async def state_at(self, size: int) -> HeadState:
        """The state at the head of `size` leaves: from memory, which drops what is older, or read back."""
        return self._state.head_state(size) or await self._state.past_state(size)

    async def snapshot(self) -> tuple[int, bytes]:
        """The replay state as it is now: (size, bytes)."""
        async with self._lock:
            return self.replay.size, self.replay.snapshot()

    async def restore(self, units: list[Logged]) -> None:
        """Append units as they stood in the log, up to a status_root: for `ledger.restore`, where no service runs.

        All rules and signatures are checked. Raises RuleViolation and then nothing was written; OutcomeUnknown.
        """
        async with self._lock:
            try:
                async with self._store.append() as append:
                    if not self._state.stands_at(append.head.size, append.head.root):
                        await self._state.catch_up(append.head.size, append.head.root)
                    draft = self.replay.draft()
                    for unit in units:
                        draft.append(unit.unit, leaf=unit.leaf)
                    grown = self._state.tip.extend(units)
                    await append.write(self._to_commit(draft, units, grown))
            except OutcomeUnknown:
                self._state.doubt()
                raise
            self._state.integrate(draft, units, grown)

    async def check_clock(self) -> None:
        """Compare this machine's clock with the database's. Raises ClockUnsafe past 5 s."""
        before = self._clock.now_ms()
        database = await self._store.database_now_ms()
        after = self._clock.now_ms()
        if not before - CLOCK_TOLERANCE_MS <= database <= after + CLOCK_TOLERANCE_MS:
            # Remembered, so that nothing is written until a later check finds the two together again.
            self._clock_fault = (
                f"this machine's clock is {abs(database - after) / 1000:.1f} s from the database's; set it right"
            )
            raise ClockUnsafe(self._clock_fault, retry_after_s=30)
        self._clock_fault = None
        if self._anchor_ms is None:
            self._anchor_ms = after - self._clock.monotonic() * 1000

    # -- the loop -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._stopped is not None:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            group = self._take_group()
            try:
                if isinstance(self._stopped, LedgerStopped):
                    raise self._refusal(self._stopped)
                await self._commit(group)
            except LedgerError as error:
                if isinstance(error, ForkDetected):
                    self._log.error("sequencer.fork", reason=error.detail)
                self._fail(group, error)
            except Exception as error:
                self._log.exception("sequencer.bug")
                what = type(error).__name__
                self._fail(group, OutcomeUnknown(f"internal error ({what}); repeat the identical request"))
                self._state.doubt()

    def _take_group(self) -> list[_Queued]:
        group: list[_Queued] = []
        events = 0
        while self._queue:
            work = self._queue[0].work
            weight = work.block.submission.count if isinstance(work, SubmissionWork) else 1
            if group and events + weight > self._max_group_events:
                break
            group.append(self._queue.popleft())
            events += weight
        self._queued_events -= events
        return group

    @staticmethod
    def _refusal(error: LedgerError) -> LedgerError:
        """Another one like it: each raising of one and the same object would add to its traceback for ever."""
        return type(error)(error.detail, retry_after_s=error.retry_after_s, **error.members)

    @staticmethod
    def _fail(group: Sequence[_Queued], error: LedgerError) -> None:
        for queued in group:
            if not queued.future.done():
                queued.future.set_exception(error)

    async def _commit(self, group: list[_Queued]) -> None:
        async with self._lock:
            if self._state.doubtful:
                # Reading the log anew takes seconds, in which nobody else should wait for the head row.
                head = await self._store.head()
                await self._state.catch_up(head.size, head.root)
            try:
                async with self._store.append() as append:
                    faults.reach("sequencer.locked")
                    if not self._state.stands_at(append.head.size, append.head.root):
                        await self._state.catch_up(append.head.size, append.head.root)
                    draft, units, answers = await self._validate(append, group)
                    grown = None
                    if units:
                        grown = self._state.tip.extend(units)
                        await append.write(self._to_commit(draft, units, grown))
                        faults.reach("sequencer.before-commit")
            except OutcomeUnknown:
                self._state.doubt()
                raise
            if grown is not None:
                faults.reach("sequencer.after-commit")
                self._state.integrate(draft, units, grown)
                self.commits += 1
                self.committed_events += sum(unit.count - 1 for unit in units)
        # Refusals too are told only now: what made them refusals may have been in this very transaction.
        for queued, answer in answers:
            if queued.future.done():
                continue
            if isinstance(answer, Outcome):
                queued.future.set_result(answer)
            else:
                queued.future.set_exception(answer)
        if grown is not None:
            self._on_integrated()

    async def _validate(
        self, append: Append, group: list[_Queued]
    ) -> tuple[Draft, list[Logged], list[tuple[_Queued, Outcome | LedgerError]]]:
        submissions = [q.work for q in group if isinstance(q.work, SubmissionWork)]
        known: dict[bytes, tuple[int, int]] = {}
        if submissions:
            known = await append.find_submissions([work.key for work in submissions])
        duplicates = Duplicates(self._lookup, self._entry, limit=self._max_duplicate_check_events)
        await duplicates.prepare((work.block for work in submissions if work.key not in known), append.find_prefixes)
        draft = self.replay.draft()
        units: list[Logged] = []
        answers: list[tuple[_Queued, Outcome | LedgerError]] = []
        beats: list[_Queued] = []
        time_ms, unsafe = self._time_ms()
        if draft.size == 0:
            if unsafe is not None:
                raise unsafe
            units += EntryWork(lambda _, now: LogParams(now, self._origin)).append_to(draft, time_ms)
        for queued in group:
            work = queued.work
            if isinstance(work, SubmissionWork) and (first := known.get(work.key)) is not None:
                answers.append((queued, Outcome(first[0], first[1], first[0] + first[1] + 1, repeated=True)))
                continue
            if unsafe is not None:
                answers.append((queued, unsafe))
                continue
            if work is None:
                beats.append(queued)
                continue
            try:
                if isinstance(work, SubmissionWork):
                    logged = work.append_to(draft, time_ms, veto=await duplicates.find(work.block))
                else:
                    logged = work.append_to(draft, time_ms)
            except (RuleViolation, InputError) as error:
                answers.append((queued, error))
                continue
            unit = logged[0]
            units += logged
            count = unit.count - 1 if unit.block else 1
            answers.append((queued, Outcome(unit.index, count, unit.index + unit.count, time_ms=time_ms)))
            if isinstance(work, SubmissionWork):
                known[work.key] = (unit.index, work.block.submission.count)
                duplicates.accept(work.block)
        if units or beats:
            index = draft.size
            units += EntryWork(lambda d, now: d.status_root(now)).append_to(draft, time_ms)
            answers += [(queued, Outcome(index, 1, index + 1)) for queued in beats]
        return draft, units, answers

    async def _entry(self, index: int) -> bytes:
        return (await self._store.read_entries(index, index + 1))[0]

    def _to_commit(self, draft: Draft, units: list[Logged], grown: Grown) -> Commit:
        first, size = units[0].index, grown.tip.size
        levels = range(1, tile_levels(size))
        return Commit(
            first_index=first,
            tree_size=size,
            time_ms=draft.time,
            root=grown.tip.root(),
            edge={
                level: grown.tip.edge.partial(level)
                for level in levels
                if first >> 8 * level != size >> 8 * level  # a partial tile of this level changed
            },
            tail_first=grown.tail_first,
            tail_entries=grown.tail_entries,
            tail_hashes=grown.tail_hashes,
            full_tiles=grown.full_tiles,
            bundles=grown.bundles,
            submission_offsets=grown.submission_offsets,
            event_nodes=grown.event_nodes,
            submissions=[
                (
                    idempotency_key(unit.block.submission),
                    unit.index,
                    unit.block.submission.count,
                    unit.block.submission.not_after + _KEEP_KEYS_MS,
                )
                for unit in units
                if unit.block is not None
            ],
            status_nodes=draft.changed_nodes,
            status_chunks=draft.changed_chunks,
            slot_lists=[(unit.entry.list, unit.entry.issuer) for unit in units if isinstance(unit.entry, StatusList)],
        )

    def _time_ms(self) -> tuple[int, ClockUnsafe | None]:
        """The time of what is appended now, or why there is none; repetitions are answered without one."""
        if self._clock_fault is not None:
            return 0, ClockUnsafe(self._clock_fault, retry_after_s=30)
        now, monotonic = self._clock.now_ms(), self._clock.monotonic() * 1000
        if self._anchor_ms is not None and abs(now - monotonic - self._anchor_ms) > CLOCK_TOLERANCE_MS:
            return 0, ClockUnsafe("this machine's clock jumped; set it right and restart the service", retry_after_s=30)
        if self.replay.time > now + CLOCK_TOLERANCE_MS:
            behind_s = (self.replay.time - now) / 1000
            return 0, ClockUnsafe(
                f"this machine's clock is {behind_s:.1f} s behind the log; set it right", retry_after_s=30
            )
        return max(now, self.replay.time), None


__all__ = ["EntryWork", "HeadState", "Outcome", "Sequencer", "SubmissionWork", "Work"]
