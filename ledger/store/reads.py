"""Reading the log: tiles, entries, hashes, commits, the status tree and the lookup index.

    full tile or bundle      the row of `tiles`
    partial, since completed a prefix of that row
    partial, still growing   level -1 and 0: the rows of `tails` joined; levels from 1: `edge`

Each call is one statement, so one snapshot: a bundle that is completed while a reader looks is seen either as tails or
as its full row, never as neither. What may be shown to whom (signed or published sizes) is the caller's to decide; here
everything that is committed can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ledger.errors import DatabaseError, NotFound
from ledger.merkle import HASH_BYTES
from ledger.store.append import FIND_PREFIXES, FIND_SUBMISSIONS, READ_HEAD, head_from_row
from ledger.store.model import CommitRow, Head
from ledger.store.session import Part
from ledger.tiles import ENTRIES_LEVEL, TILE_WIDTH, Tile

# $1, $2: levels and indexes of the wanted tiles; $3: bytes wanted of each (a prefix of an uncompressed external value
# is read without the rest); $4: from which entry on tails are wanted, null if none; $5, $6: their columns.
_TILES = """
SELECT t.level, t.index, substring(t.data FROM 1 FOR w.bytes) AS data, NULL::bytea AS entries, 0 AS count
FROM unnest($1::smallint[], $2::bigint[], $3::integer[]) w (level, index, bytes)
JOIN tiles t ON t.level = w.level AND t.index = w.index
UNION ALL
SELECT e.level, e.index, e.data, NULL, 0 FROM edge e WHERE e.level = ANY ($1::smallint[])
UNION ALL
SELECT NULL, first_index, CASE WHEN $5::boolean THEN hashes END, CASE WHEN $6::boolean THEN entries END,
       octet_length(hashes) / 32
FROM tails WHERE $4::bigint IS NOT NULL AND first_index >= $4
"""

_COMMIT = "SELECT tree_size, first_index, time_ms, root, submissions FROM commits"
_COMMIT_OF = f"{_COMMIT} WHERE tree_size > $1 ORDER BY tree_size LIMIT 1"
_COMMITS = f"{_COMMIT} WHERE tree_size > $1 ORDER BY tree_size LIMIT $2"

# Times never fall, so this is a binary search over commits, without an index that each commit would pay for. The answer
# is in (low, high], or low itself; both are where a commit ends, or 0.
_SIZE_AT = """
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, $2::bigint
    UNION ALL
    SELECT CASE WHEN c.time_ms <= $1 THEN c.tree_size ELSE s.low END,
           CASE WHEN c.time_ms <= $1 THEN s.high ELSE c.first_index END
    FROM search s CROSS JOIN LATERAL (
        SELECT tree_size, first_index, time_ms FROM commits
        WHERE tree_size > s.low + (s.high - s.low) / 2 ORDER BY tree_size LIMIT 1
    ) c
    WHERE s.low < s.high
)
SELECT max(low) FROM search
"""

_EVENT_NODES = "SELECT nodes FROM event_nodes WHERE submission_index = $1"

_STATUS_NODES = """
SELECT k.level, k.index, n.hash
FROM unnest($1::smallint[], $2::bigint[]) k (level, index)
CROSS JOIN LATERAL (
    SELECT hash FROM status_nodes n
    WHERE n.level = k.level AND n.index = k.index AND n.version <= $3 ORDER BY n.version DESC LIMIT 1
) n
"""
# One probe a chunk rather than a scan of the range: an old list has hundreds of versions of each chunk.
_STATUS_CHUNKS = """
SELECT k.chunk, c.data
FROM generate_series($1::bigint, $2::bigint) k (chunk)
CROSS JOIN LATERAL (
    SELECT data FROM status_chunks c WHERE c.chunk = k.chunk AND c.version <= $3 ORDER BY c.version DESC LIMIT 1
) c
"""

# The commits that touched a chunk: each wrote a version of it, which bears the commit's size.
_CHUNK_COMMITS = """
SELECT k.tree_size, k.first_index, k.time_ms, k.root, k.submissions
FROM status_chunks c JOIN commits k ON k.tree_size = c.version
WHERE c.chunk = $1 AND c.version > $2 AND c.version <= $3 ORDER BY c.version LIMIT $4
"""

#: More tiles of a level than this would make a tree of 2^63 leaves or more.
_INDEXES = 1 << 55
_LENGTH = struct.Struct(">H")


def split_bundle(data: bytes, count: int) -> list[bytes]:
    """The first `count` entries of a bundle (u16 length and bytes of each). DatabaseError if it holds fewer."""
    entries, at = [], 0
    for _ in range(count):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : end])
        at = end
    if at > len(data):
        raise DatabaseError("a stored entry bundle is cut short")
    return entries


def cut_bundle(data: bytes, count: int) -> bytes:
    """The prefix of a bundle that holds its first `count` entries. DatabaseError if it holds fewer."""
    at, unpack = 0, _LENGTH.unpack_from
    try:
        for _ in range(count):
            at += 2 + unpack(data, at)[0]
    except struct.error as error:
        raise DatabaseError("a stored entry bundle is cut short") from error
    if at > len(data):
        raise DatabaseError("a stored entry bundle is cut short")
    return data[:at]


class _Pieces:
    """The rows of one _TILES statement, to be put together."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._full: dict[tuple[int, int], bytes] = {}
        self._tails: list[Any] = []
        for row in rows:
            if row["level"] is None:
                self._tails.append(row)
            else:
                self._full[row["level"], row["index"]] = row["data"]
        self._tails.sort(key=lambda row: row["index"])

    def tile(self, tile: Tile) -> bytes:
        """Its content, exactly `width` wide. NotFound if the log does not reach so far."""
        data = self._full.get((tile.level, tile.index))
        if tile.level == ENTRIES_LEVEL:
            if data is None:
                data = self._joined(tile, "entries")
            elif tile.width == TILE_WIDTH:
                return data
            return cut_bundle(data, tile.width)
        if data is None and tile.level == 0:
            data = self._joined(tile, "data")
        if data is None or len(data) < tile.width * HASH_BYTES:
            raise _absent(tile)
        return data if len(data) == tile.width * HASH_BYTES else data[: tile.width * HASH_BYTES]

    def _joined(self, tile: Tile, column: str) -> bytes:
        parts, reached = [], tile.index * TILE_WIDTH
        for row in self._tails:
            if row["index"] != reached:
                break
            parts.append(row[column])
            reached += row["count"]
        if reached < tile.index * TILE_WIDTH + tile.width:
            raise _absent(tile)
        return b"".join(parts)


def _absent(tile: Tile) -> NotFound:
    what = "entry bundle" if tile.level == ENTRIES_LEVEL else f"tile of level {tile.level}"
    return NotFound(f"the log does not reach {what} {tile.index} with width {tile.width}")


class Reads(Part):
    """The reading half of `Store`."""

    async def head(self) -> Head:
        """The heads and the edge, from one snapshot."""
        return head_from_row(await self._sessions.fetch_row("reading the head", READ_HEAD))

    async def read_tiles(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """Hash tiles (32 bytes a hash) and entry bundles (level -1, bundle form), full or partial, from one snapshot.

        A width from 1 up to what is committed is given, whether or not the tile has grown since. NotFound otherwise.
        """
        wanted: dict[tuple[int, int], int] = {}
        partial: list[Tile] = []
        for tile in tiles:
            if tile.index >= _INDEXES:
                raise _absent(tile)
            key = tile.level, tile.index
            wanted[key] = max(wanted.get(key, 0), tile.width)
            if tile.width < TILE_WIDTH and tile.level <= 0:
                partial.append(tile)
        if not wanted:
            return {}
        rows = await self._sessions.fetch(
            "reading tiles",
            _TILES,
            [level for level, _ in wanted],
            [index for _, index in wanted],
            [1 << 30 if level == ENTRIES_LEVEL else width * HASH_BYTES for (level, _), width in wanted.items()],
            min((tile.index * TILE_WIDTH for tile in partial), default=None),
            any(tile.level == 0 for tile in partial),
            any(tile.level == ENTRIES_LEVEL for tile in partial),
        )
        pieces = _Pieces(rows)
        return {tile: pieces.tile(tile) for tile in tiles}

    async def read_entries(self, start: int, end: int) -> list[bytes]:
        """Entries [start, end). NotFound if the log is shorter."""
        data = await self._range(ENTRIES_LEVEL, start, end)
        entries = [entry for tile, bundle in data for entry in split_bundle(bundle, tile.width)]
        return entries[start % TILE_WIDTH :]

    async def read_hashes(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes [start, end). NotFound if the log is shorter."""
        joined = b"".join([data for _, data in await self._range(0, start, end)])
        first = start % TILE_WIDTH * HASH_BYTES
        return [joined[at : at + HASH_BYTES] for at in range(first, len(joined), HASH_BYTES)]

    async def _range(self, level: int, start: int, end: int) -> list[tuple[Tile, bytes]]:
        if not 0 <= start <= end:
            raise ValueError(f"[{start}, {end}) is no range of entries")
        if start == end:
            return []
        tiles = [
            Tile(level, index, min(TILE_WIDTH, end - index * TILE_WIDTH))
            for index in range(start // TILE_WIDTH, (end - 1) // TILE_WIDTH + 1)
        ]
        data = await self.read_tiles(tiles)
        return [(tile, data[tile]) for tile in tiles]

    async def commit_of(self, index: int) -> CommitRow:
        """The commit that holds the entry at `index`. NotFound if the log does not reach it."""
        row = await self._sessions.fetch_row("reading a commit", _COMMIT_OF, index)
        if row is None or index < row["first_index"]:
            raise NotFound(f"the log does not reach index {index}")
        return _commit_row(row)

    async def commits(self, after_size: int, limit: int) -> list[CommitRow]:
        """At most `limit` commits with a tree_size above `after_size`, oldest first."""
        rows = await self._sessions.fetch("reading commits", _COMMITS, after_size, limit)
        return [_commit_row(row) for row in rows]

    async def size_at(self, time_ms: int, size: int) -> int:
        """The tree_size of the last commit at or before that time, among those up to the commit of exactly `size`; 0 if
        all are later."""
        row = await self._sessions.fetch_row("finding a past head", _SIZE_AT, time_ms, size)
        found: int = row[0]
        return found

    async def submission_of(self, index: int) -> int | None:
        """Index of the last submission entry at or before `index` in its commit; None if there is none.

        For an event entry that is the submission heading its block. Entries of other types may follow a block, and for
        them it means nothing: the store does not know types. NotFound if the log does not reach the index.
        """
        commit = await self.commit_of(index)
        heads = [offset for offset in commit.submission_offsets if commit.first_index + offset <= index]
        return commit.first_index + heads[-1] if heads else None

    async def event_nodes(self, submission_index: int) -> bytes | None:
        """Level-8 hashes of the events tree under that submission; None if it has 256 events or fewer."""
        row = await self._sessions.fetch_row("reading event nodes", _EVENT_NODES, submission_index)
        return None if row is None else row["nodes"]

    async def status_nodes(self, keys: Sequence[tuple[int, int]], version: int) -> dict[tuple[int, int], bytes]:
        """Hash of each (level, index) in its newest version <= `version`; those never written by then are absent."""
        rows = await self._sessions.fetch(
            "reading status nodes", _STATUS_NODES, [level for level, _ in keys], [index for _, index in keys], version
        )
        return {(row[0], row[1]): row[2] for row in rows}

    async def status_chunks(self, first: int, last: int, version: int) -> dict[int, bytes]:
        """64 bytes of each chunk in first..last (both included) in its newest version <= `version`; those never
        written by then are absent.
        """
        rows = await self._sessions.fetch("reading status chunks", _STATUS_CHUNKS, first, last, version)
        return {row[0]: row[1] for row in rows}

    async def chunk_commits(self, chunk: int, after_size: int, size: int, limit: int) -> list[CommitRow]:
        """At most `limit` commits with a tree_size in (after_size, size] that hold status events of the chunk's slots,
        oldest first."""
        rows = await self._sessions.fetch(
            "reading the commits of a chunk", _CHUNK_COMMITS, chunk, after_size, size, limit
        )
        return [_commit_row(row) for row in rows]

    async def lookup(self, prefixes: Sequence[int]) -> list[tuple[int, int]]:
        """Rows (prefix, leaf index), ascending, of the filled part of the index."""
        rows = await self._sessions.fetch("looking up commitments", FIND_PREFIXES, prefixes)
        return [(row[0], row[1]) for row in rows]

    async def find_submissions(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Those idempotency keys that stand -> (index of the submission entry, event count), without the lock."""
        rows = await self._sessions.fetch("looking up submissions", FIND_SUBMISSIONS, keys)
        return {row[0]: (row[1], row[2]) for row in rows}

    async def lookup_filled_to(self) -> int:
        """Log size up to which the lookup index is complete."""
        row = await self._sessions.fetch_row("reading the lookup state", "SELECT filled_to FROM lookup_state")
        if row is None:
            raise DatabaseError("the database does not say how far the lookup index reaches: `lookup_state` is empty")
        filled_to: int = row["filled_to"]
        return filled_to


def _commit_row(row: Any) -> CommitRow:
    packed = row["submissions"]
    if len(packed) % 4:
        raise DatabaseError(f"the commit that ends at {row['tree_size']} is damaged: it names no whole submissions")
    return CommitRow(
        row["tree_size"],
        row["first_index"],
        row["time_ms"],
        row["root"],
        struct.unpack(f">{len(packed) // 4}I", packed),
    )
