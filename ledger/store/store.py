"""SKELETON: final signatures, being filled. The ledger's tables in Postgres behind one class."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from ledger.store.model import Commit, CommitRow, Head
from ledger.tiles import Tile


class Append:
    """An open group commit: the head row is locked. Comes from `Store.append`."""

    head: Head

    async def find_submissions(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Idempotency keys that stand -> (index of the submission entry, event count)."""
        raise NotImplementedError

    async def find_prefixes(self, prefixes: Sequence[int]) -> list[tuple[int, int]]:
        """Rows (prefix, leaf index) of the filled part of the lookup index."""
        raise NotImplementedError

    async def write(self, commit: Commit) -> None:
        """Once per append. ValueError if the commit's shape is not what its sizes demand (nothing is written)."""
        raise NotImplementedError


class Store:
    """One per process. Raises DatabaseError (nothing changed) or OutcomeUnknown (a COMMIT's answer was lost)."""

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        min_size: int = 2,
        max_size: int = 10,
        idle_in_transaction_timeout_ms: int = 10_000,
        command_timeout_s: float = 60.0,
        application_name: str = "badge-ledger",
    ) -> Store:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def meta(self) -> dict[str, bytes]:
        raise NotImplementedError

    async def set_meta_if_absent(self, key: str, value: bytes) -> bytes:
        raise NotImplementedError

    async def database_now_ms(self) -> int:
        raise NotImplementedError

    async def head(self) -> Head:
        raise NotImplementedError

    def append(self) -> AbstractAsyncContextManager[Append]:
        """COMMIT on a clean exit after write(); ROLLBACK otherwise."""
        raise NotImplementedError

    async def read_tiles(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        raise NotImplementedError

    async def read_entries(self, start: int, end: int) -> list[bytes]:
        raise NotImplementedError

    async def read_hashes(self, start: int, end: int) -> list[bytes]:
        raise NotImplementedError

    async def commit_of(self, index: int) -> CommitRow:
        raise NotImplementedError

    async def commits(self, after_size: int, limit: int) -> list[CommitRow]:
        raise NotImplementedError

    async def submission_of(self, index: int) -> int | None:
        raise NotImplementedError

    async def event_nodes(self, submission_index: int) -> bytes | None:
        raise NotImplementedError

    async def status_nodes(self, keys: Sequence[tuple[int, int]], version: int) -> dict[tuple[int, int], bytes]:
        raise NotImplementedError

    async def status_chunks(self, first: int, last: int, version: int) -> dict[int, bytes]:
        """Chunks first..last, both included; absent from the answer: never written."""
        raise NotImplementedError

    async def lookup(self, prefixes: Sequence[int]) -> list[tuple[int, int]]:
        raise NotImplementedError

    async def lookup_filled_to(self) -> int:
        raise NotImplementedError

    async def fill_lookup(self, rows: Sequence[tuple[int, int]], filled_from: int, filled_to: int) -> bool:
        raise NotImplementedError

    async def hand_out_slots(self, issuer: bytes, count: int) -> list[tuple[int, int, int]]:
        raise NotImplementedError

    async def slot_room(self, issuer: bytes) -> int:
        raise NotImplementedError

    async def close_slot_lists(self) -> int:
        raise NotImplementedError

    async def save_snapshot(self, size: int, data: bytes) -> None:
        raise NotImplementedError

    async def load_snapshot(self, max_size: int) -> tuple[int, bytes] | None:
        raise NotImplementedError

    async def purge_submissions(self, now_ms: int) -> int:
        raise NotImplementedError

    def publisher(self, *, idle_session_timeout_ms: int = 15_000) -> PublisherSession:
        """Not yet connected: acquire() connects."""
        raise NotImplementedError

    def listen(
        self, callback: Callable[[str], None], *, pause: Callable[[float], Awaitable[None]] = ...
    ) -> AbstractAsyncContextManager[None]:
        """While inside: callback("integrated" | "published"), and callback("connected") after each (re)connect."""
        raise NotImplementedError


class PublisherSession:
    """One dedicated connection; async context manager (exit closes)."""

    async def acquire(self) -> bool:
        """Connects if needed; True if this session holds the publisher's lock (idempotent), False if another does."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Raises DatabaseError if the session (and with it the lock) is gone; resets the idle timeout."""
        raise NotImplementedError

    async def mark(self, size: int, root: bytes) -> None:
        """Same size again is allowed with the same root; DatabaseError if a larger marker stands."""
        raise NotImplementedError

    async def publish(self, size: int, root: bytes, time_s: int, note: bytes) -> bool:
        """True if this is now the published head; False if a larger one stands. Same size: note replaced."""
        raise NotImplementedError

    async def close(self) -> None:
        """Frees the lock. Never raises."""
        raise NotImplementedError


_ = Mapping
