"""What goes into and comes out of the store: frozen values, and the shape that a commit must have.

    Commit   everything one group commit writes, computed by the sequencer under the head's lock
    Head     the integrated head, the published head, the publisher's marker and the log's right edge
    CommitRow   one past commit, as followers and receipts read it

The tree geometry is C2SP `tlog-tiles` (https://c2sp.org/tlog-tiles): tiles of 256 hashes, entry bundles of 256
entries. At tree size n the partial tile of level L has index n >> 8(L + 1) and (n >> 8L) mod 256 hashes.

This module checks widths and lengths, never hashes: what the bytes mean is the sequencer's business. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

#: The highest level that a tree of fewer than 2^63 leaves reaches.
MAX_LEVEL = 7


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The heads of the log as one consistent reading.

    `edge[k]` is the partial hash tile of level k + 1 (32 bytes a hash, b"" where the level has none just now);
    level 0 is not in it: `Store.read_hashes(size - size % 256, size)` gives it.
    `published_note` is b"" and `published_time_s` 0 before the first publication; roots of size 0 are EMPTY_ROOT.
    """

    size: int
    root: bytes
    time_ms: int
    edge: tuple[bytes, ...]
    published_size: int
    published_root: bytes
    published_time_s: int
    published_note: bytes
    marked_size: int
    marked_root: bytes


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One group commit: entries [first_index, tree_size) and all that follows from them. 1 <= entries.

    edge: level (>= 1) -> its partial tile's content at `tree_size`, for the levels whose content changed; b"" where
      the partial tile became full and nothing stands behind it. The index is implied by tree_size.
    tail_first = max(first_index, tree_size - tree_size % 256); tail_entries (bundle form) and tail_hashes
      (32 bytes each) are those of [tail_first, tree_size), both b"" when that is empty.
    full_tiles: (level >= 0, index, 8,192 bytes) of each hash tile that became full.
    bundles: (index, bundle form of its 256 entries) of each entry bundle that became full.
    submission_offsets: index - first_index of each submission entry, ascending.
    event_nodes: (index of the submission entry, level-8 hashes of its events tree), where it has over 256 events.
    submissions: (idempotency key 32 bytes, index of the submission entry, event count, expiry in ms).
    status_nodes: (level, index, hash) and status_chunks: (chunk number, 64 bytes); their version is tree_size.
    slot_lists: (list number, issuer 32 bytes) of each list opened here.
    """

    first_index: int
    tree_size: int
    time_ms: int
    root: bytes
    edge: Mapping[int, bytes] = {}
    tail_first: int
    tail_entries: bytes
    tail_hashes: bytes
    full_tiles: Sequence[tuple[int, int, bytes]] = ()
    bundles: Sequence[tuple[int, bytes]] = ()
    submission_offsets: Sequence[int] = ()
    event_nodes: Sequence[tuple[int, bytes]] = ()
    submissions: Sequence[tuple[bytes, int, int, int]] = ()
    status_nodes: Sequence[tuple[int, int, bytes]] = ()
    status_chunks: Sequence[tuple[int, bytes]] = ()
    slot_lists: Sequence[tuple[int, bytes]] = ()


class CommitRow(msgspec.Struct, frozen=True):
    """A past commit: entries [first_index, tree_size); offsets of its submission entries from first_index."""

    tree_size: int
    first_index: int
    time_ms: int
    root: bytes
    submission_offsets: tuple[int, ...]


def span(first: int, size: int, level: int) -> range:
    """Indexes of the tiles of `level` that became full while the tree grew from `first` to `size` entries."""
    return range(first >> 8 * (level + 1), size >> 8 * (level + 1))
