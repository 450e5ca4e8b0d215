"""Audits of one log, round after round: the record between them, and what else is worth telling.

    STATE         the newest head that passed, and everything that the next round needs
    STATE.part    further on, in a long round: read and checked, but not yet known to be under a signed head

A round that ends in a mismatch throws the second away, since nobody signed what was read. A conviction ends the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ledger.auditor.audit import Alarm, Audited, Auditor, Mismatch
from ledger.auditor.follow import Follower
from ledger.auditor.source import Source
from ledger.auditor.state import State, load_state, save_state
from ledger.auditor.watch import Bindings, Notice, Watch
from ledger.clock import Clock
from ledger.errors import InputError, UnknownEntry
from ledger.policy import Policy


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
        self._auditor = self._make(with_part=True)

    @property
    def size(self) -> int:
        """Entries of the newest head that passed."""
        return self._auditor.follower.proven.size

    async def round(self) -> Round:
        """Audit up to the newest head. Raises as `Auditor.run`; another round may follow but after Convicted."""
        try:
            audited = await self._auditor.run()
        except (Mismatch, UnknownEntry):
            self._start_again()
            raise
        alarms = list(audited.alarms)
        if self._bindings is not None:
            alarms += [Alarm("binding", text) for text in await self._bindings.check(self._auditor.follower.replay)]
        return Round(audited, tuple(self._watch.take()), tuple(alarms))

    async def audit_head(self, note: bytes) -> None:
        """Audit exactly this signed head, from the first source: what an auditing witness does before it cosigns.

        Raises as `round`. A head that is no newer than what passed is compared with it.
        """
        try:
            await self._auditor.audit_head(note)
        except (Mismatch, UnknownEntry):
            self._start_again()
            raise

    @property
    def time_ms(self) -> int:
        """The log's time of the newest head that passed, milliseconds."""
        return self._auditor.follower.replay.time

    def _start_again(self) -> None:
        """Nobody signed what was read last: go back to the newest head that passed."""
        with suppress(FileNotFoundError):
            self._part.unlink()
        self._watch.take()
        self._auditor = self._make(with_part=False)

    def _make(self, *, with_part: bool) -> Auditor:
        found = load_state(self._state)
        part = load_state(self._part) if with_part else None
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
            save=self._save,
            on_unit=self._watch,
            progress=self._progress,
        )

    def _save(self, state: State) -> None:
        if state.size == state.proven_size:
            save_state(self._state, state)
            with suppress(FileNotFoundError):
                self._part.unlink()
        else:
            save_state(self._part, state)
