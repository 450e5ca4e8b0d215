"""What stands beside the log: settings of the database, slots handed out, the lookup index, snapshots, purges.

None of it decides what is true in the log: lost slots are gaps, the lookup index and the snapshots can be computed
again from the entries, and an idempotency key is only a memory of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.entry import LIST_SLOTS
from ledger.store.session import Part

_SET_META = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING"
# A statement of its own, after the insert: in the statement of the insert a value that another node inserted meanwhile
# would be invisible.
_GET_META = "SELECT value FROM meta WHERE key = $1"

_OPEN_LISTS = """
SELECT list, handed_out FROM slot_lists WHERE issuer = $1 AND NOT closed AND handed_out < $2 ORDER BY list FOR UPDATE
"""
_HAND_OUT = """
UPDATE slot_lists s SET handed_out = s.handed_out + t.n FROM unnest($1::bigint[], $2::integer[]) t (list, n)
WHERE s.list = t.list
"""
_ROOM = "SELECT coalesce(sum($2 - handed_out), 0)::bigint AS room FROM slot_lists WHERE issuer = $1 AND NOT closed"
_CLOSE = "WITH c AS (UPDATE slot_lists SET closed = true WHERE NOT closed RETURNING 1) SELECT count(*) AS n FROM c"

# In runs, so that no purge holds a transaction open for long; whatever is left is for the next call of the loop.
_PURGE_RUN = 10_000
_PURGE = """
WITH gone AS (
    DELETE FROM submissions
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM submissions WHERE expires_ms < $1 LIMIT $2)) AND expires_ms < $1
    RETURNING 1
) SELECT count(*) AS n FROM gone
"""

_SNAPSHOTS_KEPT = 2
_SAVE_SNAPSHOT = "INSERT INTO snapshots (size, data) VALUES ($1, $2) ON CONFLICT (size) DO NOTHING"
_DROP_SNAPSHOTS = "DELETE FROM snapshots WHERE size NOT IN (SELECT size FROM snapshots ORDER BY size DESC LIMIT $1)"
_LOAD_SNAPSHOT = "SELECT size, data FROM snapshots WHERE size <= $1 ORDER BY size DESC LIMIT 1"


class Upkeep(Part):
    """The part of `Store` beside the log."""

    async def meta(self) -> dict[str, bytes]:
        """All settings that the database itself keeps: origin, guard identity, the log's verifier keys."""
        rows = await self._sessions.fetch("reading meta", "SELECT key, value FROM meta")
        return {row[0]: row[1] for row in rows}

    async def set_meta_if_absent(self, key: str, value: bytes) -> bytes:
        """Set once; the value that stands afterwards, whoever set it."""
        async with self._sessions.transaction("setting meta") as connection:
            await connection.execute(_SET_META, key, value)
            standing: bytes = await connection.fetchval(_GET_META, key)
        return standing

    async def database_now_ms(self) -> int:
        """The database's wall clock, in milliseconds since the Unix epoch."""
        row = await self._sessions.fetch_row(
            "asking the database's clock", "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now"
        )
        now: int = row["now"]
        return now

    async def hand_out_slots(self, issuer: bytes, count: int) -> list[tuple[int, int, int]]:
        """Take up to `count` counters from the issuer's open lists, oldest list first: (list, first counter, how many).

        Fewer if there is no more room. No counter is ever given twice: after OutcomeUnknown they are merely lost.
        """
        if count < 1:
            raise ValueError("count starts at 1")
        taken = []
        async with self._sessions.transaction("handing out slots") as connection:
            for row in await connection.fetch(_OPEN_LISTS, issuer, LIST_SLOTS):
                n = min(count, LIST_SLOTS - row["handed_out"])
                taken.append((row["list"], row["handed_out"], n))
                count -= n
                if not count:
                    break
            if taken:
                await connection.execute(_HAND_OUT, [row[0] for row in taken], [row[2] for row in taken])
        return taken

    async def slot_lists(self) -> dict[int, bytes]:
        """Whose each list is, as handing out slots goes by."""
        rows = await self._sessions.fetch("reading slot lists", "SELECT list, issuer FROM slot_lists")
        return {row[0]: row[1] for row in rows}

    async def slot_room(self, issuer: bytes) -> int:
        """Counters left in the issuer's open lists."""
        row = await self._sessions.fetch_row("counting free slots", _ROOM, issuer, LIST_SLOTS)
        room: int = row["room"]
        return room

    async def close_slot_lists(self) -> int:
        """Close every list (after a restore: what was handed out since the backup is forgotten); how many were open."""
        row = await self._sessions.change("closing the slot lists", _CLOSE)
        closed: int = row["n"]
        return closed

    async def fill_lookup(self, rows: Sequence[tuple[int, int]], filled_from: int, filled_to: int) -> bool:
        """Add a run of rows (prefix, leaf index), sorted, and move filled_to. False, and nothing done, if another node
        has moved it from `filled_from` already.
        """
        if filled_to < filled_from:
            raise ValueError(f"the lookup index does not go back from {filled_from} to {filled_to}")
        async with self._sessions.transaction("filling the lookup index") as connection:
            if await connection.fetchval("SELECT filled_to FROM lookup_state FOR UPDATE") != filled_from:
                return False
            if rows:
                await connection.copy_records_to_table("lookup", records=rows, columns=["prefix", "leaf_index"])
            await connection.execute("UPDATE lookup_state SET filled_to = $1", filled_to)
        return True

    async def save_snapshot(self, size: int, data: bytes) -> None:
        """Keep the state of the log at `size`; only the newest two stay."""
        async with self._sessions.transaction("saving a snapshot") as connection:
            # Two nodes saving at once must see each other's rows, or three would stay.
            await connection.execute("LOCK TABLE snapshots IN SHARE ROW EXCLUSIVE MODE")
            await connection.execute(_SAVE_SNAPSHOT, size, data)
            await connection.execute(_DROP_SNAPSHOTS, _SNAPSHOTS_KEPT)

    async def load_snapshot(self, max_size: int) -> tuple[int, bytes] | None:
        """The newest snapshot whose size is at most `max_size`."""
        row = await self._sessions.fetch_row(
            "loading a snapshot",
            "SELECT size, data FROM snapshots WHERE size <= $1 ORDER BY size DESC LIMIT 1",
            max_size,
        )
        return None if row is None else (row["size"], row["data"])

    async def snapshots(self) -> dict[int, bytes]:
        """All snapshots by size."""
        rows = await self._sessions.fetch("reading snapshots", "SELECT size, data FROM snapshots")
        return {row[0]: row[1] for row in rows}

    async def purge_submissions(self, now_ms: int) -> int:
        """Forget idempotency keys that expired before `now_ms`; how many."""
        total = 0
        while True:
            row = await self._sessions.change("purging submissions", _PURGE, now_ms, _PURGE_RUN)
            gone: int = row["n"]
            total += gone
            if gone < _PURGE_RUN:
                return total
