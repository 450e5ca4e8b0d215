"""SKELETON: final signatures, being filled. The guard: a compare-and-swap register outside the database."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from ledger.errors import OperationError


class GuardHead(msgspec.Struct, frozen=True):
    """The largest head that may have been signed."""

    size: int
    root: bytes
    time_s: int


class GuardConflict(OperationError):
    """A swap expected another head than the one that stands."""

    slug, title, status = "guard-conflict", "Another process moved the guard", 503

    def __init__(self, detail: str, standing: GuardHead) -> None:
        super().__init__(detail)
        self.standing = standing


class Guard(Protocol):
    @property
    def identity(self) -> str: ...

    async def read(self) -> GuardHead: ...

    async def swap(self, expected: GuardHead, new: GuardHead) -> None: ...


class SqliteGuard:
    def __init__(self, path: Path, identity: str) -> None: ...

    @classmethod
    async def open(cls, path: Path, *, timeout_s: float = 5.0, create: bool = True) -> SqliteGuard:
        raise NotImplementedError

    @property
    def identity(self) -> str:
        raise NotImplementedError

    async def read(self) -> GuardHead:
        raise NotImplementedError

    async def swap(self, expected: GuardHead, new: GuardHead) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


async def swap_or_confirm(guard: Guard, expected: GuardHead, new: GuardHead) -> None:
    """Swap; if the answer was lost (any OperationError but a conflict), read back; fine if the register holds `new`."""
    raise NotImplementedError
