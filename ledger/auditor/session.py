"""Audits of one log, round after round: the record between them, and what else is worth telling.

    STATE              the newest head that passed, and everything that the next round needs
    STATE.part         further on, in a long round: read and checked, but not yet known to be under a signed head
    STATE.convicted    the path of the file that convicts the log: nothing passes any more, in this run or a later one

A round that ends in a mismatch throws the part away, since nobody signed what was read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from ledger.auditor.audit import Alarm, Audited, Auditor, Mismatch, log_keys
from ledger.auditor.convict import Convicted, check_file
from ledger.auditor.follow import Follower
from ledger.auditor.source import Source
from ledger.auditor.state import State, load_state, save_state
from ledger.auditor.watch import Bindings, Notice, Watch
from ledger.clock import Clock
from ledger.errors import InputError, LedgerError, UnknownEntry
from ledger.policy import Policy

_T = TypeVar("_T")


class Round(msgspec.Struct, frozen=True):
    """What one round came to: it passed, and `alarms` and `notices` say what people should look at."""

    audited: Audited
    notices: tuple[Notice, ...]
    alarms: tuple[Alarm, ...]


class Session:
    """The audit of one log with its record. Not to be used by two tasks or processes at once."""

    def __init__(
        self,
        sources: Sequence[Source],
        policy: Policy,
        origin: str,
        *,
        clock: Clock,
        state: Path,
        evidence: Path,
        max_age_s: int | None = None,
        watch: Watch | None = None,
        bindings: Bindings | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Raises InputError for a record that is damaged or of another log."""
        self._sources = sources
        self._policy = policy
        self._origin = origin
        self._clock = clock
        self._state = state
        self._part = state.with_name(state.name + ".part")
        self._evidence = evidence
        self._max_age_s = max_age_s
        self._watch = watch or Watch(())
        self._bindings = bindings
        self._progress = progress
        self._verdict = state.with_name(state.name + ".convicted")
        self._convicted = self._load_conviction()
        self._auditor = self._make()

    @property
    def size(self) -> int:
        """Entries of the newest head that passed."""
        return self._auditor.follower.proven.size

    @property
    def time_ms(self) -> int:
        """The log's time of the newest head that passed, milliseconds."""
        return self._auditor.follower.replay.time

    async def round(self) -> Round:
        """Audit up to the newest head. Raises as `Auditor.run`; another round may follow but after Convicted.

        The round counts once the caller has told of it, and called `keep`: what was not told is found again.
        """
        audited = await self._guarded(self._auditor.run())
        alarms = list(audited.alarms)
        if self._bindings is not None:
            alarms += [Alarm("binding", text) for text in await self._bindings.check(self._auditor.follower.replay)]
        return Round(audited, tuple(self._watch.take()), tuple(alarms))

    async def audit_head(self, note: bytes) -> None:
        """Audit exactly this signed head, from the first source, and keep it: what an auditing witness does before it
        cosigns. Raises as `Auditor.audit_head`."""
        before = self.size
        await self._guarded(self._auditor.audit_head(note))
        if self.size > before:
            self.keep()

    def keep(self) -> None:
        """Record the newest head that passed. Raises OperationError."""
        save_state(self._state, self._auditor.follower.state())
        with suppress(FileNotFoundError):
            self._part.unlink()

    async def _guarded(self, work: Awaitable[_T]) -> _T:
        """Do it, and after an error forget whatever was read past the newest head that passed."""
        if self._convicted is not None:
            if isinstance(work, Coroutine):
                work.close()
            raise Convicted(self._convicted.conviction, self._convicted.path)
        try:
            return await work
        except Convicted as error:
            self._convicted = error
            self._verdict.write_text(f"{error.path.resolve()}\n", encoding="utf-8")
            raise
        except BaseException as error:
            follower = self._auditor.follower
            if isinstance(error, Mismatch | UnknownEntry):
                with suppress(FileNotFoundError):
                    self._part.unlink()
            if isinstance(error, Mismatch | UnknownEntry) or follower.size != follower.proven.size:
                self._watch.take()
                self._auditor = self._make()
            raise

    def _load_conviction(self) -> Convicted | None:
        """What an earlier run found. Raises InputError where its proof is gone."""
        try:
            path = Path(self._verdict.read_text(encoding="utf-8").strip())
        except FileNotFoundError:
            return None
        try:
            return Convicted(check_file(path, log_keys(self._policy, self._origin)), path)
        except LedgerError as error:
            raise InputError(
                f"the log was convicted by an earlier audit, and its proof cannot be used ({error.detail}): bring it "
                f"back, or remove {self._verdict} to audit the log anew"
            ) from error

    def _make(self) -> Auditor:
        found = load_state(self._state)
        part = None if self._watch else load_state(self._part)
        # A record that was left behind by an older audit is no further than what passed since.
        if part is not None and (found is None or (part.size > found.size and part.note == found.note)):
            found = part
        if found is not None and found.origin != self._origin:
            raise InputError(f"{self._state}: the audit of another log, {found.origin!r}")
        return Auditor(
            self._sources,
            self._policy,
            Follower(self._origin) if found is None else Follower.resume(found),
            clock=self._clock,
            evidence=self._evidence,
            max_age_s=self._max_age_s,
            save=self._save_part,
            on_unit=self._watch,
            progress=self._progress,
        )

    def _save_part(self, state: State) -> None:
        # With somebody to tell, the next run has to see every entry that was not told yet.
        if not self._watch:
            save_state(self._part, state)
