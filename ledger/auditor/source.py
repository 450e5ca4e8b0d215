"""Where a log is read from: a checkpoint and tiles, as C2SP tlog-tiles lays them out, over HTTP or from a folder.

A source is not trusted. It may be slow, wrong or lying; what it hands out is compared with hashes and signatures by
those who ask it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ledger.errors import InputError, NotFound, OperationError
from ledger.merkle import HASH_BYTES, Node, Plan, build
from ledger.note import MAX_NOTE_BYTES
from ledger.tiles import (
    ENTRIES_LEVEL,
    TILE_WIDTH,
    Tile,
    bundles_for_range,
    decode_bundle,
    node_from_tile,
    plan_tiles,
    tile_path,
)

if TYPE_CHECKING:
    from ledger.client import LedgerClient

#: A bundle of 256 entries of 65,535 bytes.
_MAX_FILE_BYTES = TILE_WIDTH * (2 + 0xFFFF)


class Source(Protocol):
    """A place that a log is read from. `name` is for people."""

    name: str

    async def checkpoint(self) -> bytes:
        """The newest signed note that it has. Raises LedgerError."""

    async def tile(self, tile: Tile) -> bytes:
        """A hash tile, or an entry bundle, as wide as asked for. Raises LedgerError."""


class HttpSource:
    """A log by the URL that its tiles stand under."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client
        self.name = client.url

    async def checkpoint(self) -> bytes:
        return await self._client.checkpoint()

    async def tile(self, tile: Tile) -> bytes:
        return await self._client.tile(tile)


class FolderSource:
    """A log in a folder, such as a static mirror: `checkpoint` and `tile/...`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = str(folder)

    async def checkpoint(self) -> bytes:
        return self._read("checkpoint", MAX_NOTE_BYTES)

    async def tile(self, tile: Tile) -> bytes:
        limit = _MAX_FILE_BYTES if tile.level == ENTRIES_LEVEL else tile.width * HASH_BYTES
        try:
            return self._read(tile_path(tile), limit)
        except NotFound:
            # A full tile holds what the partial one held, and mirrors may drop those that were filled since.
            if tile.width == TILE_WIDTH:
                raise
            limit = _MAX_FILE_BYTES if tile.level == ENTRIES_LEVEL else TILE_WIDTH * HASH_BYTES
            return cut(self._read(tile_path(Tile(tile.level, tile.index)), limit), tile)

    def _read(self, name: str, limit: int) -> bytes:
        try:
            # O_NONBLOCK: whoever can write to the folder must not hold the reader up with a pipe.
            with open(os.open(self._folder / name, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise InputError(f"{self._folder / name}: no regular file")
                data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{self.name} has no {name}") from None
        except OSError as error:
            raise InputError(f"{self._folder / name}: {(error.strerror or 'cannot be read').lower()}") from error
        if len(data) > limit:
            raise OperationError(f"{self._folder / name} is longer than {limit} bytes")
        return data


def cut(data: bytes, tile: Tile) -> bytes:
    """The first `tile.width` hashes or entries of a full tile or bundle."""
    if tile.level != ENTRIES_LEVEL:
        return data[: tile.width * HASH_BYTES]
    end = 0
    for _ in range(tile.width):
        end += 2 + int.from_bytes(data[end : end + 2], "big")
    return data[:end]


async def read_nodes(source: Source, plan: Plan, size: int) -> list[bytes]:
    """The proof of a plan in the tree of `size` leaves, from the source's tiles. Believed by nobody yet.

    Raises LedgerError.
    """
    hashes: dict[Node, bytes] = {}
    for tile, nodes in plan_tiles([node for group in plan for node in group], size).items():
        data = await source.tile(tile)
        for node in nodes:
            hashes[node] = node_from_tile(node, tile, data)
    return build(plan, hashes)


async def read_entry(source: Source, index: int, size: int) -> bytes:
    """The entry at `index` as the source has it. Raises LedgerError."""
    (tile,) = bundles_for_range(index, index + 1, size)
    return decode_bundle(await source.tile(tile), tile.width)[index % TILE_WIDTH]


async def read_ahead(
    source: Source, groups: Iterable[tuple[Tile, ...]], depth: int
) -> AsyncIterator[tuple[tuple[Tile, ...], list[bytes]]]:
    """Groups of tiles with their data, in order; at most `depth` groups are asked for at once, so memory is bounded."""

    async def read(group: Sequence[Tile]) -> list[bytes]:
        return [await source.tile(tile) for tile in group]

    waiting = iter(groups)
    ahead: deque[tuple[tuple[Tile, ...], asyncio.Task[list[bytes]]]] = deque()
    try:
        while True:
            for group in islice(waiting, depth - len(ahead)):
                ahead.append((group, asyncio.create_task(read(group))))
            if not ahead:
                return
            group, task = ahead.popleft()
            yield group, await task
    finally:
        for _, task in ahead:
            task.cancel()
        await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)
