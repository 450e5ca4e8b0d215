"""A log as an auditor follows it: entries in, and everything that they determine recomputed.

    leaves, tiles, root     from the entries alone
    rules, status roots     by `replay`, the same code that the ledger's own sequencer runs

Pure: whoever reads the log feeds it, and compares the tiles that come out with the tiles that are served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ledger.assemble import Logged
from ledger.auditor.state import State
from ledger.checkpoint import Checkpoint
from ledger.errors import InputError, LedgerError, RuleViolation
from ledger.merkle import EMPTY_ROOT
from ledger.replay import Replay
from ledger.tiles import Edge, Tile, partial_width
from ledger.units import UnitReader

#: Told of every unit that passed.
OnUnit = Callable[[Logged], None]


class Follower:
    """The log of one origin as far as it was followed; `proven` is the newest head that it was found to lead to."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.replay = Replay(origin)
        self.proven = Checkpoint(origin, 0, EMPTY_ROOT)
        self.proven_note = b""
        self._edge = Edge()
        self._reader = UnitReader()

    @classmethod
    def resume(cls, state: State) -> Follower:
        """The follower of a saved state. Raises InputError if its parts do not add up."""
        follower = cls(state.origin)
        try:
            follower.replay = Replay.from_snapshot(state.snapshot, state.origin) if state.size else Replay(state.origin)
            follower._edge = Edge.from_tiles(state.size, state.partials)
        except (LedgerError, ValueError) as error:
            raise InputError(f"the state of the audit does not add up: {error}") from error
        if follower.replay.size != state.size or state.proven_size > state.size:
            raise InputError("the state of the audit does not add up: its sizes differ")
        follower._reader = UnitReader(state.size)
        follower.proven = Checkpoint(state.origin, state.proven_size, state.proven_root)
        follower.proven_note = state.note
        return follower

    @property
    def size(self) -> int:
        """Entries in whole units: an incomplete submission at the end of what was fed does not count yet."""
        return self._edge.size

    def state(self) -> State:
        """What `resume` takes: the last whole unit is where the next run goes on."""
        return State(
            origin=self.origin,
            note=self.proven_note,
            proven_size=self.proven.size,
            proven_root=self.proven.root,
            size=self.size,
            partials=list(self._edge.partials()),
            snapshot=self.replay.snapshot() if self.size else b"",
        )

    def feed(self, entries: Sequence[bytes], on_unit: OnUnit) -> Iterator[tuple[Tile, bytes]]:
        """The next entries: the full hash tiles that they complete, to compare with those that are served.

        Raises RuleViolation or MalformedEntry with the entry's index; the follower is of no use afterwards.
        """
        for logged in self._reader.feed(entries):
            self.replay.apply(logged.unit, leaf=logged.leaf)
            on_unit(logged)
            for level, index, data in self._edge.extend(logged.leaves()):
                yield Tile(level, index), data

    def drop_incomplete(self) -> None:
        """Forget a submission that was fed in part: what was being read broke off, and is read again."""
        self._reader = UnitReader(self.size)

    def partial_tiles(self) -> list[tuple[Tile, bytes]]:
        """The partial hash tiles at the right edge."""
        found = []
        for level in range(8):
            if width := partial_width(level, self.size):
                found.append((Tile(level, self.size >> 8 * (level + 1), width), self._edge.partial(level)))
        return found

    def root(self) -> bytes:
        """The root of what was read."""
        return self._edge.root()

    def check_sealed(self) -> None:
        """A head ends in a status_root. Raises RuleViolation (head-unsealed) at the last entry."""
        if self._reader.waiting or not self.replay.sealed:
            raise RuleViolation(
                f"the log of {self._reader.index} entries does not end in a status_root",
                rule="head-unsealed",
                index=self._reader.index - 1,
            )

    def prove(self, checkpoint: Checkpoint, note: bytes) -> None:
        """The head that was led to. Raises ValueError if it is another."""
        if (checkpoint.size, checkpoint.root) != (self.size, self.root()):
            raise ValueError("that is not the head that was recomputed")
        self.proven, self.proven_note = checkpoint, note
