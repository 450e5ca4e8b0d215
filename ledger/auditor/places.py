"""From what people type to where a log is read from: a URL, or the folder of a mirror."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ledger.auditor.source import FolderSource, HttpSource, Source
from ledger.client import LedgerClient
from ledger.clock import Clock
from ledger.errors import InputError


async def open_source(place: str, clock: Clock, stack: contextlib.AsyncExitStack) -> Source:
    """The source, closed by `stack`. Raises InputError for neither a URL nor a folder."""
    if "://" in place:
        return HttpSource(await stack.enter_async_context(LedgerClient(place, clock=clock)))
    if not Path(place).is_dir():  # noqa: ASYNC240 - once, before anything runs beside it
        raise InputError(f"{place}: neither a URL nor a folder")
    return FolderSource(Path(place))
