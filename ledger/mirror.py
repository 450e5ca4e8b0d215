"""A static copy of a log: a folder that any web server or object store can serve, and every client can read.

    DIR/checkpoint          the newest head that the copy leads to, byte for byte as the log published it
    DIR/tile/...            every full tile and bundle, and the partial ones of that head (C2SP tlog-tiles)

Entries are fetched; hash tiles are computed from them, and what is computed has one spelling. A head is copied only
if the log signed it, if it extends the copy, and if the entries lead to its root: what is in the folder is the log, and
the checkpoint is replaced last, so a reader at any moment finds all that its checkpoint names. Until then what was read
lies in DIR/.staging: a source that lies, or breaks off, leaves nothing behind. What the mirror does not do: judge what
the entries mean. That is an audit, and it runs from the folder as well as from the log.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ledger.auditor.audit import Mismatch
from ledger.auditor.source import FolderSource, Source, read_ahead
from ledger.checkpoint import Checkpoint
from ledger.cosignature import open_by_log, verify_cosignature
from ledger.errors import InputError, LedgerError, NotFound, OperationError
from ledger.merkle import leaf_hashes
from ledger.note import Note, VerifierKey, find_lines, parse_note
from ledger.tiles import (
    ENTRIES_LEVEL,
    TILE_WIDTH,
    Edge,
    Tile,
    bundles_for_range,
    decode_bundle,
    encode_bundle,
    partial_width,
    tile_path,
)

_DEPTH = 16
#: Where what was read lies until it is proven.
STAGING = ".staging"


class Mirrored(msgspec.Struct, frozen=True):
    """The head that the folder holds now; `entries` are new."""

    checkpoint: Checkpoint
    note: bytes
    entries: int


class Mirror:
    """The copy of one log in one folder. One process at a time may write it; any number may read."""

    def __init__(
        self, source: Source, folder: Path, keys: Sequence[VerifierKey], witnesses: Sequence[VerifierKey] = ()
    ) -> None:
        """`keys`: the log's own, of algorithm 1 or 6. `witnesses`: of algorithm 4 or 6; a line by one of them has to
        verify, so that no source can spoil the checkpoint for those who know them."""
        self._source = source
        self._folder = folder
        self._keys = tuple(keys)
        self._witnesses = tuple(witnesses)

    async def update(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Mirrored:
        """Bring the folder to the log's newest head.

        Raises Mismatch for a head that is older than the copy or does not extend it, or entries that do not lead to
        it; SignatureInvalid, MalformedNote; InputError for a folder that holds something else; OperationError where it
        cannot be written. Then the folder's checkpoint is what it was.
        """
        self._unstage()
        known, edge = await self._known()
        note = await self._source.checkpoint()
        checkpoint, opened = open_by_log(note, self._keys)
        for key, line in find_lines(opened, self._witnesses):
            verify_cosignature(checkpoint, key, line)
        if checkpoint.size < known.size:
            raise Mismatch(f"{self._source.name} shows {checkpoint.size} entries; the copy has {known.size}")
        if checkpoint.size == known.size and known.size:
            if checkpoint.root != known.root:
                raise Mismatch(f"{self._source.name} shows another head of {known.size} entries than the copy has")
            if self._has_all_lines_of_ours(opened):
                self._write("checkpoint", note)
            return Mirrored(checkpoint, note, 0)
        try:
            await self._copy(known.size, checkpoint, edge, progress)
            if edge.root() != checkpoint.root:
                raise Mismatch(
                    f"what {self._source.name} hands out does not lead from the copy's {known.size} entries to its head"
                )
            self._stage_partials(edge)
            self._publish_staged()
        finally:
            self._unstage()
        # Everything that the new checkpoint names has to survive what the checkpoint survives.
        os.sync()
        self._write("checkpoint", note)
        self._prune(known.size, checkpoint.size)
        return Mirrored(checkpoint, note, checkpoint.size - known.size)

    def _has_all_lines_of_ours(self, note: Note) -> bool:
        """Whether the note of a head that the copy has loses no signature: a source cannot take away cosignatures."""
        try:
            ours = parse_note((self._folder / "checkpoint").read_bytes())
        except (OSError, LedgerError):
            return True
        return set(ours.signatures) <= set(note.signatures)

    async def _known(self) -> tuple[Checkpoint, Edge]:
        """The head of the folder, and the edge behind it; of an empty folder, the empty log."""
        local = FolderSource(self._folder)
        try:
            note = await local.checkpoint()
        except NotFound:
            self._check_empty()
            origin = self._keys[0].name if self._keys else ""
            return Checkpoint(origin, 0, Edge().root()), Edge()
        try:
            known, _ = open_by_log(note, self._keys)
            partials = []
            for level in range(8):
                width = partial_width(level, known.size)
                tile = Tile(level, known.size >> 8 * (level + 1), width) if width else None
                partials.append(await local.tile(tile) if tile is not None else b"")
            edge = Edge.from_tiles(known.size, partials)
        except LedgerError as error:
            raise InputError(
                f"{self._folder} holds no copy of this log that can be continued: {error.detail}"
            ) from error
        if edge.root() != known.root:
            raise InputError(f"the tiles in {self._folder} are not those of its checkpoint: begin with an empty folder")
        return known, edge

    async def _copy(self, start: int, checkpoint: Checkpoint, edge: Edge, progress: Callable[[int, int], None]) -> None:
        size = checkpoint.size
        groups = ((tile,) for tile in bundles_for_range(start, size, size))
        async for (bundle,), (data,) in read_ahead(self._source, groups, _DEPTH):
            entries = decode_bundle(data, bundle.width)
            new = entries[max(0, start - bundle.index * TILE_WIDTH) :]
            for level, index, hashes in edge.extend(leaf_hashes(new)):
                self._stage(Tile(level, index), hashes)
            # Written as it is read: the lengths were checked, and there is one way to write them.
            self._stage(bundle, encode_bundle(entries))
            progress(bundle.index * TILE_WIDTH + bundle.width, size)

    def _stage_partials(self, edge: Edge) -> None:
        for level, hashes in enumerate(edge.partials()):
            if hashes:
                self._stage(Tile(level, edge.size >> 8 * (level + 1), len(hashes) // 32), hashes)

    def _stage(self, tile: Tile, data: bytes) -> None:
        self._write(f"{STAGING}/{tile_path(tile)}", data)

    def _publish_staged(self) -> None:
        """What was proven takes its place, file by file: the old checkpoint names none of them, or the same bytes."""
        staging = self._folder / STAGING
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                target = self._folder / path.relative_to(staging)
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
                except OSError as error:
                    raise OperationError(f"{target}: {(error.strerror or str(error)).lower()}") from error

    def _check_empty(self) -> None:
        """A folder without a checkpoint is empty, but for what a file system or a first round cut off leaves in it."""
        names = sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []
        for name in names:
            if not name.startswith(".") and name not in ("tile", "lost+found"):
                raise InputError(f"{self._folder} is no mirror, and holds {name!r}: give an empty folder, or a new one")

    def _unstage(self) -> None:
        shutil.rmtree(self._folder / STAGING, ignore_errors=True)

    def _prune(self, before: int, size: int) -> None:
        """Partial tiles of the head before that are full now. Readers of that head take the full ones."""
        for level in range(ENTRIES_LEVEL, 8):
            shift = 8 * (max(level, 0) + 1)
            if partial_width(level, before) and before >> shift < size >> shift:
                full = self._folder / tile_path(Tile(level, before >> shift))
                shutil.rmtree(full.with_name(full.name + ".p"), ignore_errors=True)

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                if name == "checkpoint":
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise OperationError(f"{path}: {(error.strerror or str(error)).lower()}") from error
