"""A log whose operator lies: any entries at all, hashed and signed as if they were a log, laid out as tiles.

    liar = Liar(demo_log())                  begins honest
    liar.add(entry, ...)                     whatever it likes
    liar.seal()                              a status_root that hides what was added
    liar.publish(folder)                     tiles, bundles and a signed checkpoint, as any server would show them

Pure but for `publish`. The honest log underneath stays as it was, so that a second liar can tell another story.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from ledger.block import Block
from ledger.entry import StatusRoot, decode, encode
from ledger.merkle import leaf_hashes, tree_hash
from ledger.note import format_vkey
from ledger.policy import Policy, parse_policy
from ledger.publisher import HeadSigner
from ledger.signing import MLDSA44Key
from ledger.tiles import Edge, Tile, bundles_for_range, encode_bundle, partial_width, tile_path
from tests.builders import ORIGIN, LogBuilder, seeded_key


def signer(origin: str = ORIGIN) -> HeadSigner:
    """The log's two keys."""
    return HeadSigner(origin, seeded_key("log"), MLDSA44Key.from_seed(hashlib.sha256(b"log ml-dsa").digest()))


def log_policy(origin: str = ORIGIN) -> Policy:
    """The policy that names both keys of the log, and no witness."""
    return parse_policy("".join(f"log {format_vkey(key)}\n" for key in signer(origin).verifier_keys) + "quorum none\n")


class Liar:
    """A list of entries that claims to be a log."""

    def __init__(self, log: LogBuilder) -> None:
        self.log = log
        self.entries = list(log.entries)
        self.signer = signer(log.origin)

    @property
    def size(self) -> int:
        return len(self.entries)

    def add(self, *units: bytes | Block) -> int:
        """Append entries, or a block's. Returns the index of the first."""
        index = self.size
        for unit in units:
            self.entries += [unit] if isinstance(unit, bytes) else [encode(unit.submission), *unit.entries()]
        return index

    def seal(self, **changes: object) -> int:
        """Append the newest status_root once more, with its index as the one before, and `changes`."""
        at = max(k for k, entry in enumerate(self.entries) if entry[1] == 9)
        root = decode(self.entries[at])
        assert isinstance(root, StatusRoot)
        return self.add(encode(msgspec.structs.replace(root, **{"previous": at, **changes})))

    def root(self, size: int | None = None) -> bytes:
        return tree_hash(leaf_hashes(self.entries[: self.size if size is None else size]))

    def time_s(self) -> int:
        """The time of the newest timed entry, rounded up to seconds."""
        times = [int.from_bytes(entry[2:10], "big") for entry in self.entries if entry[1] in (1, 2, 3, 4, 9)]
        return -(-max(times) // 1000)

    def note(self, size: int | None = None, time_s: int | None = None) -> bytes:
        """The signed checkpoint."""
        size = self.size if size is None else size
        return self.signer.sign(size, self.root(size), self.time_s() if time_s is None else time_s)

    def publish(self, folder: Path, *, size: int | None = None, note: bytes | None = None) -> Path:
        """Write everything that a client reads, up to `size`."""
        size = self.size if size is None else size
        edge = Edge()
        tiles = [(Tile(level, index), data) for level, index, data in edge.extend(leaf_hashes(self.entries[:size]))]
        for level in range(8):
            if width := partial_width(level, size):
                tiles.append((Tile(level, size >> 8 * (level + 1), width), edge.partial(level)))
        for bundle in bundles_for_range(0, size, size):
            first = bundle.index * 256
            tiles.append((bundle, encode_bundle(self.entries[first : first + bundle.width])))
        for tile, data in tiles:
            path = folder / tile_path(tile)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "checkpoint").write_bytes(note if note is not None else self.note(size))
        return folder
