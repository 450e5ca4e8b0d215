"""One head after the other: is it signed, does it extend what was audited, and do its entries keep the rules?

    1  the newest checkpoint of every source: signed by the log, and by the policy's quorum
    2  of one size, they are one; the largest is followed, from the source that has it
    3  entries from where the audit stood up to it, in order; each full hash tile that they complete, and each partial
       one at the end, is the one that is served; the root is the one that is signed
    4  every entry under the rules of the log, every status root recomputed (`follow`)
    5  the smaller heads of the other sources are prefixes of it

What the log has signed and cannot be true is a *conviction*, with a file that proves it (`convict`). What only shows
that a server hands out something else than its head promises is a *mismatch*: nobody has signed it. What may have
innocent reasons is an *alarm*. All three stop nothing by themselves; the caller decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.assemble import Logged
from ledger.auditor.convict import convict_entries, convict_fork, convict_heads
from ledger.auditor.follow import Follower
from ledger.auditor.source import Source, read_ahead, read_nodes
from ledger.auditor.state import State
from ledger.checkpoint import Checkpoint
from ledger.clock import Clock
from ledger.cosignature import open_by_log
from ledger.errors import (
    LedgerError,
    MalformedEntry,
    RuleViolation,
    Unavailable,
    UnknownEntry,
    VerificationError,
)
from ledger.evidence import own_times
from ledger.merkle import plan_consistency, verify_consistency
from ledger.note import VerifierKey, parse_note
from ledger.policy import Policy, evaluate
from ledger.tiles import TILE_WIDTH, Tile, bundles_for_range, decode_bundle

#: How far ahead of the auditor's clock the newest entry may be, milliseconds.
MAX_AHEAD_MS: Final = 600_000


class Mismatch(VerificationError):
    """A source hands out something that is not what its signed head promises. Nobody has signed it."""

    slug, title = "audit-mismatch", "What is served is not what was signed"


class Alarm(msgspec.Struct, frozen=True):
    """Something that people should look at: `kind` is stable, `text` one sentence."""

    kind: str
    text: str


class Audited(msgspec.Struct, frozen=True):
    """The newest head that passed. `entries` were new in this round; `cosigned_by` are the policy's witnesses."""

    origin: str
    size: int
    root: bytes
    note: bytes
    time_ms: int
    entries: int
    issuers: int
    issued: int
    revoked: int
    suspended: int
    cosigned_by: tuple[str, ...]
    alarms: tuple[Alarm, ...]


class Head(msgspec.Struct, frozen=True):
    """A signed head as one source showed it."""

    source: Any
    checkpoint: Checkpoint
    note: bytes


class Auditor:
    """The audit of one log. Not to be used by two tasks at once. After any error it is made anew from what was kept:
    the follower may hold entries whose tiles were not compared yet, or that are not of the log."""

    def __init__(
        self,
        sources: Sequence[Source],
        policy: Policy,
        follower: Follower,
        *,
        clock: Clock,
        evidence: Path,
        max_age_s: int | None = None,
        depth: int = 16,
        save: Callable[[State], None] = lambda state: None,
        save_every: int = 2_000_000,
        on_unit: Callable[[Logged], None] = lambda logged: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """`evidence`: folder for a file that convicts. `max_age_s`: an older newest entry is an alarm; None never.
        `depth`: bundles asked for at once. `save` is handed the state on the way, every `save_every` entries;
        whoever calls keeps that of the head. `progress` is told how many entries were read and how many there are."""
        if not sources:
            raise ValueError("an audit needs a source")
        self.follower = follower
        self._sources = tuple(sources)
        self._policy = policy
        self._clock = clock
        self._evidence = evidence
        self._max_age_s = max_age_s
        self._depth = depth
        self._save = save
        self._save_every = save_every
        self._on_unit = on_unit
        self._progress = progress
        self._keys = log_keys(policy, follower.origin)
        self._alarms: list[Alarm] = []
        #: Index behind the last entry that was fed.
        self._fed = 0

    async def run(self) -> Audited:
        """Bring the audit to the newest head of its sources.

        Raises Convicted with the evidence's path, Mismatch, UnknownEntry (entries that this version does not know),
        SignatureInvalid, and what reading raises.
        """
        self._alarms = []
        before = self.follower.size
        heads = await self._heads()
        newest = max(heads, key=lambda head: head.checkpoint.size)
        for head in heads:
            if head.checkpoint.size == newest.checkpoint.size and head.checkpoint.root != newest.checkpoint.root:
                raise await convict_heads(self._evidence, "fork", head.note, newest.note, self._keys)
        await self._rollbacks(heads)
        await self._advance(newest)
        for head in heads:
            await self._check_prefix(head)
        cosigned = self._check_quorum(newest)
        self._check_clock()
        replay = self.follower.replay
        return Audited(
            origin=self.follower.origin,
            size=self.follower.proven.size,
            root=self.follower.proven.root,
            note=self.follower.proven_note,
            time_ms=replay.time,
            entries=self.follower.size - before,
            issuers=len(replay.issuers),
            issued=replay.issued,
            revoked=replay.revoked,
            suspended=replay.suspended,
            cosigned_by=cosigned,
            alarms=tuple(self._alarms),
        )

    async def audit_head(self, note: bytes) -> None:
        """Audit exactly the head of this signed note, from the first source: what an auditing witness does. Raises as
        `run`; a head that is older than what was audited is compared with it, and then Unavailable: whether it ends in
        a status_root, and was signed in time, is known of the newest head only."""
        self._alarms = []
        head = self._open(self._sources[0], note)
        await self._rollbacks([head])
        await self._advance(head)
        if head.checkpoint.size > self.follower.proven.size:
            raise Unavailable(
                f"more was read than the {head.checkpoint.size} entries of this head: a newer one is needed"
            )
        await self._check_prefix(head)
        if head.checkpoint.size < self.follower.proven.size:
            raise Unavailable(f"{self.follower.proven.size} entries are audited already: a newer head is needed")

    # Heads ------------------------------------------------------------------------------------------------------------

    async def _heads(self) -> list[Head]:
        """The newest head of each source; a source other than the first may fail, which is an alarm."""
        answers = await asyncio.gather(*(self._head(source) for source in self._sources), return_exceptions=True)
        heads = []
        for source, answer in zip(self._sources, answers, strict=True):
            if isinstance(answer, Head):
                heads.append(answer)
            elif isinstance(answer, LedgerError) and source is not self._sources[0]:
                self._alarm("source", f"{source.name}: {answer.detail}")
            else:
                raise answer
        return heads

    async def _head(self, source: Source) -> Head:
        return self._open(source, await source.checkpoint())

    def _open(self, source: Source, note: bytes) -> Head:
        checkpoint, _ = open_by_log(note, self._keys)
        return Head(source, checkpoint, note)

    async def _rollbacks(self, heads: Sequence[Head]) -> None:
        """A smaller head that the log signed later than the newest audited one."""
        known = self.follower.proven
        times = own_times(self.follower.proven_note, self._keys) if self.follower.proven_note else {}
        for head in heads:
            if head.checkpoint.size >= known.size:
                continue
            for key, time_s in own_times(head.note, self._keys).items():
                if time_s > times.get(key, time_s):
                    note = self.follower.proven_note
                    raise await convict_heads(self._evidence, "rollback", head.note, note, self._keys)
            self._alarm(
                "behind", f"{head.source.name} shows a head of {head.checkpoint.size} entries; {known.size} were seen"
            )

    def _check_quorum(self, newest: Head) -> tuple[str, ...]:
        checkpoint, note = newest.checkpoint, parse_note(newest.note)
        now_s = self._clock.now_ms() // 1000
        try:
            evaluation = evaluate(self._policy, checkpoint, note, now_s=now_s, max_age_s=None)
        except VerificationError as error:
            # A line that does not verify, too: whoever hands out the note can have put it there.
            self._alarm("quorum", f"{newest.source.name}: {error.detail}")
            return ()
        return tuple(evaluation.witnesses)

    def _check_clock(self) -> None:
        skew_ms = self.follower.replay.time - self._clock.now_ms()
        if skew_ms > MAX_AHEAD_MS:
            self._alarm("clock", f"the log's newest entry is {skew_ms // 1000} s ahead of this machine's clock")
        elif self._max_age_s is not None and -skew_ms > self._max_age_s * 1000:
            self._alarm("stale", f"the log's newest entry is {-skew_ms // 1000} s old")

    # Entries ----------------------------------------------------------------------------------------------------------

    async def _advance(self, head: Head) -> None:
        """Read up to the head, and prove it."""
        follower, checkpoint = self.follower, head.checkpoint
        if checkpoint.size == follower.proven.size and checkpoint.root != follower.proven.root:
            raise await convict_heads(self._evidence, "fork", head.note, follower.proven_note, self._keys)
        if checkpoint.size <= follower.proven.size:
            return
        if checkpoint.size < follower.size:
            self._alarm("behind", f"{head.source.name} shows a head of {checkpoint.size} entries; more were read")
            return
        follower.drop_incomplete()
        try:
            await self._read(head.source, checkpoint.size)
            follower.check_sealed()
            await self._compare_partials(head.source)
            if follower.root() != checkpoint.root:
                raise Mismatch(f"the entries of {head.source.name} do not lead to the root of its head")
            self._check_own_time(head)
        except UnknownEntry:
            raise
        except (RuleViolation, MalformedEntry, Mismatch) as error:
            # A log that forked shows entries that fit its other past: the fork is what has to be proven then.
            await self._convict_fork(head)
            if isinstance(error, Mismatch):
                raise
            raise await self._convict_entries(head, error) from error
        follower.prove(checkpoint, head.note)

    async def _read(self, source: Source, size: int) -> None:
        """Feed the entries up to `size`, and compare the full tiles that they complete."""
        follower = self.follower
        start = follower.size
        bundles = bundles_for_range(start, size, size)
        groups = ((bundle, Tile(0, bundle.index, bundle.width)) for bundle in bundles)
        #: Tiles that came with their bundle, while a submission that goes on behind it is incomplete.
        served: dict[Tile, bytes] = {}
        saved = start
        async for (bundle, tile), (bundle_data, tile_data) in read_ahead(source, groups, self._depth):
            first = bundle.index * TILE_WIDTH
            entries = decode_bundle(bundle_data, bundle.width)[max(0, start - first) :]
            self._fed = first + bundle.width
            if tile.width == TILE_WIDTH:
                served[tile] = tile_data
            for completed, data in follower.feed(entries, self._on_unit):
                await self._compare(source, completed, data, served.pop(completed, None))
            if follower.size - saved >= self._save_every:
                saved = follower.size
                self._save(follower.state())
            self._progress(self._fed, size)

    async def _compare(self, source: Source, tile: Tile, data: bytes, served: bytes | None) -> None:
        if served is None:
            served = await source.tile(tile)
        if served != data:
            where = f"level {tile.level}, number {tile.index}"
            raise Mismatch(f"the hash tile at {where} of {source.name} does not hold the hashes of its entries")

    async def _compare_partials(self, source: Source) -> None:
        for tile, data in self.follower.partial_tiles():
            await self._compare(source, tile, data, None)

    def _check_own_time(self, head: Head) -> None:
        """The log's own signature is no older than the last entry under it. Raises RuleViolation (head-time)."""
        for time_s in own_times(head.note, self._keys).values():
            if time_s < self.follower.replay.time // 1000:
                raise RuleViolation(
                    "the log signed its head before the time of its last entry",
                    rule="head-time",
                    index=head.checkpoint.size - 1,
                )

    async def _check_prefix(self, head: Head) -> None:
        """A head that is smaller than the newest audited one is a prefix of it."""
        known, small = self.follower.proven, head.checkpoint
        if not 0 < small.size < known.size:
            return
        plan = plan_consistency(small.size, known.size)
        for source in (head.source, *self._sources):
            try:
                proof = await read_nodes(source, plan, known.size)
                verify_consistency(small.size, known.size, small.root, known.root, proof)
            except LedgerError:
                continue
            return
        await self._convict_fork_between(head.note, small)
        raise Mismatch(
            f"{head.source.name} shows a head of {small.size} entries, {known.size} are audited, and no source has the "
            "tiles that show whether it is an older one of this log: give one with the whole log beside it"
        )

    # What is wrong ----------------------------------------------------------------------------------------------------

    async def _convict_fork(self, head: Head) -> None:
        """Raises Convicted if the head has another past than the audited one, and the source's tiles show it."""
        known = self.follower.proven
        if 0 < known.size < head.checkpoint.size:
            convicted = await convict_fork(
                self._evidence,
                head.source,
                (known, self.follower.proven_note),
                (head.checkpoint, head.note),
                self._keys,
            )
            if convicted is not None:
                raise convicted

    async def _convict_fork_between(self, note: bytes, small: Checkpoint) -> None:
        """Raises Convicted if tiles of any source show that the audited head has another past than the smaller one."""
        large = (self.follower.proven, self.follower.proven_note)
        for source in self._sources:
            convicted = await convict_fork(self._evidence, source, (small, note), large, self._keys)
            if convicted is not None:
                raise convicted

    async def _convict_entries(self, head: Head, error: RuleViolation | MalformedEntry) -> LedgerError:
        convicted = await convict_entries(
            self._evidence, head.source, (head.checkpoint, head.note), error, self._fed, self._keys
        )
        if convicted is not None:
            return convicted
        return Mismatch(f"{head.source.name} hands out entries that are not under its head: {error.detail}")

    def _alarm(self, kind: str, text: str) -> None:
        self._alarms.append(Alarm(kind, text))


def log_keys(policy: Policy, origin: str) -> tuple[VerifierKey, ...]:
    """The keys of the log of this origin that the policy names."""
    return tuple(rule.vkey for rule in policy.logs if rule.vkey.name == origin)
