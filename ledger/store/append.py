"""The write path: one group commit as one transaction under the head row's lock.

    BEGIN; SELECT ... FROM head FOR UPDATE      one round trip, one simple query
    SELECT head, published head, edge           a fresh snapshot, taken after the lock was got
    [finds]
    WITH ... all writes as one statement ...    arrays in, pg_notify out
    COMMIT

The head is read by a second statement on purpose: the statement that waits for a row lock returns the newest version
of that row, but all else that it reads is as old as its snapshot, and an edge from before the wait would fork the log.

A crash at any line before COMMIT leaves no trace; whether COMMIT took hold is for the next reader to see.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ledger.errors import DatabaseError
from ledger.merkle import HASH_BYTES
from ledger.store.model import MAX_LEVEL, Commit, Head, span
from ledger.store.session import CHANNEL, Connection, reading
from ledger.tiles import ENTRIES_LEVEL, TILE_BYTES, TILE_WIDTH, partial_width

LOCK = "BEGIN; SELECT FROM head FOR UPDATE"

READ_HEAD = """
SELECT h.size, h.root, h.time_ms,
       p.size AS published_size, p.root AS published_root, p.time_s AS published_time_s, p.note AS published_note,
       p.marked_size, p.marked_root,
       ARRAY(SELECT data FROM edge ORDER BY level) AS edge
FROM head h, published p
"""

FIND_SUBMISSIONS = "SELECT key, first_index, count FROM submissions WHERE key = ANY($1::bytea[])"
FIND_PREFIXES = "SELECT prefix, leaf_index FROM lookup WHERE prefix = ANY($1::bigint[]) ORDER BY prefix, leaf_index"

# Each part writes another table, so their order does not matter; the parts that have nothing to write cost a few
# microseconds each, less than a second round trip.
WRITE = """
WITH moved AS (
    UPDATE head SET size = $2, root = $4, time_ms = $3 WHERE size = $1 RETURNING size
), committed AS (
    INSERT INTO commits (tree_size, first_index, time_ms, root, submissions) VALUES ($2, $1, $3, $4, $5)
), edges AS (
    INSERT INTO edge (level, index, data) SELECT * FROM unnest($6::smallint[], $7::bigint[], $8::bytea[])
    ON CONFLICT (level) DO UPDATE SET index = excluded.index, data = excluded.data
), bundled AS (
    DELETE FROM tails WHERE $9::boolean AND first_index < $10
), tail AS (
    INSERT INTO tails (first_index, entries, hashes)
    SELECT $10::bigint, $11::bytea, $12::bytea WHERE octet_length($12::bytea) > 0
), filled AS (
    INSERT INTO tiles (level, index, data) SELECT * FROM unnest($13::smallint[], $14::bigint[], $15::bytea[])
), trees AS (
    INSERT INTO event_nodes (submission_index, nodes) SELECT * FROM unnest($16::bigint[], $17::bytea[])
), known AS (
    INSERT INTO submissions (key, first_index, count, expires_ms)
    SELECT * FROM unnest($18::bytea[], $19::bigint[], $20::integer[], $21::bigint[])
), nodes AS (
    INSERT INTO status_nodes (level, index, version, hash)
    SELECT level, index, $2::bigint, hash
    FROM unnest($22::smallint[], $23::bigint[], $24::bytea[]) n (level, index, hash)
), chunks AS (
    INSERT INTO status_chunks (chunk, version, data)
    SELECT chunk, $2::bigint, data FROM unnest($25::bigint[], $26::bytea[]) c (chunk, data)
), lists AS (
    INSERT INTO slot_lists (list, issuer) SELECT * FROM unnest($27::bigint[], $28::bytea[])
)
SELECT (SELECT size FROM moved) AS size, pg_notify($29::text, 'integrated')
"""


def head_from_row(row: Any) -> Head:
    """Raises DatabaseError if there is no head, or the edge is not the one that its size demands."""
    if row is None:
        raise DatabaseError("the database holds no head: its rows `head` and `published` are gone")
    size, edge = row["size"], tuple(row["edge"])
    widths = [len(data) // HASH_BYTES for data in edge]
    if widths != edge_widths(size):
        raise DatabaseError(f"the stored edge does not fit the head's size {size}")
    return Head(
        size=size,
        root=row["root"],
        time_ms=row["time_ms"],
        edge=edge,
        published_size=row["published_size"],
        published_root=row["published_root"],
        published_time_s=row["published_time_s"],
        published_note=row["published_note"],
        marked_size=row["marked_size"],
        marked_root=row["marked_root"],
    )


def edge_widths(size: int) -> list[int]:
    """Hashes in the partial tile of each level from 1 to the highest level that this tree size ever filled."""
    return [partial_width(level, size) for level in range(1, MAX_LEVEL + 1) if size >> 8 * level]


def check_commit(commit: Commit) -> None:
    """ValueError unless the commit brings exactly the pieces that its sizes demand: a hole in the tiles would stay
    for ever. Widths and lengths only.
    """
    first, size = commit.first_index, commit.tree_size
    boundary = size - size % TILE_WIDTH
    tail = size - commit.tail_first
    full = [(level, index) for level in range(MAX_LEVEL + 1) for index in span(first, size, level)]
    required = {level for level in range(1, MAX_LEVEL + 1) if first >> 8 * level != size >> 8 * level}
    checks = (
        (0 <= first < size < 1 << 63, "sizes"),
        (len(commit.root) == HASH_BYTES, "root"),
        (commit.tail_first == max(first, boundary), "tail_first"),
        (len(commit.tail_hashes) == tail * HASH_BYTES, "tail_hashes"),
        ((len(commit.tail_entries) >= 2 * tail) if tail else not commit.tail_entries, "tail_entries"),
        (sorted((level, index) for level, index, _ in commit.full_tiles) == full, "full_tiles"),
        (all(len(data) == TILE_BYTES for _, _, data in commit.full_tiles), "full_tiles' lengths"),
        (sorted(index for index, _ in commit.bundles) == list(span(first, size, 0)), "bundles"),
        (required <= commit.edge.keys(), "edge levels"),
        (
            all(
                1 <= level <= MAX_LEVEL and len(data) == HASH_BYTES * partial_width(level, size)
                for level, data in commit.edge.items()
            ),
            "edge widths",
        ),
        (all(0 <= offset < size - first for offset in commit.submission_offsets), "submission_offsets"),
        (list(commit.submission_offsets) == sorted(set(commit.submission_offsets)), "submission_offsets' order"),
    )
    wrong = [name for holds, name in checks if not holds]
    if wrong:
        raise ValueError(f"a commit of [{first}, {size}) has wrong {', '.join(wrong)}")


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def write_arguments(commit: Commit) -> list[Any]:
    """The parameters of WRITE."""
    size = commit.tree_size
    edge = [(level, size >> 8 * (level + 1), data) for level, data in sorted(commit.edge.items())]
    tiles = [*commit.full_tiles, *((ENTRIES_LEVEL, index, data) for index, data in commit.bundles)]
    return [
        commit.first_index,
        size,
        commit.time_ms,
        commit.root,
        struct.pack(f">{len(commit.submission_offsets)}I", *commit.submission_offsets),
        *_columns(edge, 3),
        bool(commit.bundles),
        commit.tail_first,
        commit.tail_entries,
        commit.tail_hashes,
        *_columns(tiles, 3),
        *_columns(commit.event_nodes, 2),
        *_columns(commit.submissions, 4),
        *_columns(commit.status_nodes, 3),
        *_columns(commit.status_chunks, 2),
        *_columns(commit.slot_lists, 2),
        CHANNEL,
    ]


class Append:
    """An open group commit: the head row is locked until the context ends. Comes from `Store.append`.

    Every failure in here is a DatabaseError and rolls everything back.
    """

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self.head = head
        self.written = False

    async def find_submissions(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Those idempotency keys that stand -> (index of the submission entry, event count)."""
        with reading("looking up submissions"):
            rows = await self._connection.fetch(FIND_SUBMISSIONS, keys)
        return {row[0]: (row[1], row[2]) for row in rows}

    async def find_prefixes(self, prefixes: Sequence[int]) -> list[tuple[int, int]]:
        """Rows (prefix, leaf index), ascending, of the filled part of the lookup index."""
        with reading("looking up commitments"):
            rows = await self._connection.fetch(FIND_PREFIXES, prefixes)
        return [(row[0], row[1]) for row in rows]

    async def write(self, commit: Commit) -> None:
        """Write it all, once per append; it takes hold with the COMMIT at the end of the context.

        Raises ValueError, before anything is sent, if the commit does not extend the head or is not whole.
        """
        if self.written:
            raise ValueError("an append writes one commit")
        if commit.first_index != self.head.size or commit.time_ms < self.head.time_ms:
            raise ValueError(f"a commit from {commit.first_index} does not extend the head of size {self.head.size}")
        check_commit(commit)
        with reading("writing the commit"):
            row = await self._connection.fetchrow(WRITE, *write_arguments(commit))
        if row["size"] != commit.tree_size:  # only if somebody else wrote under our lock
            raise DatabaseError("the head moved under the lock")
        self.written = True
