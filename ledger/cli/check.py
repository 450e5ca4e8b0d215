"""`badge-ledger check`: the operator's check of its own store, from the first entry to the newest head."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ledger.cli.app import command, option
from ledger.cli.output import Output
from ledger.errors import InputError

if TYPE_CHECKING:
    from ledger.check import Report


@command(short_help="Check the whole log in a store.")
@option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("data"), help="The service's folder.")
@option("--database-url", metavar="URL", help="The service's PostgreSQL.  [default: its own in DATA]")
@option("--guard", type=click.Path(dir_okay=False, path_type=Path), help="The guard's file.  [default: DATA/guard.db]")
@option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A checkpoint kept from earlier; the log has to extend it. Can be repeated.",
)
def check(output: Output, data: Path, database_url: str | None, guard: Path | None, heads: tuple[Path, ...]) -> None:
    """Recompute everything that the store holds from its entries: hashes, rules, signatures, status, heads.

    It only reads. With the database in DATA, stop the service first; with --database-url it may run.

    \b
    Example:
      badge-ledger check --data ./data
    """
    from ledger.cli.files import read_bounded

    notes = [read_bounded(path, 1 << 20) for path in heads]
    if database_url is None and not (data / "postgres").is_dir():
        raise InputError(f"{data}: no database of a ledger in it")
    guard_file: Path | None = guard or data / "guard.db"
    if guard_file is not None and not guard_file.is_file():
        output.note(f"no guard at {guard_file}: not checked against it")
        guard_file = None
    report = asyncio.run(_check(output, data, database_url, guard_file, notes))
    document = msgspec.structs.asdict(report)
    document["root"] = report.root.hex()
    if output.json:
        output.document(document)
        return
    output.styled(f"the log holds: {report.size} entries", "bold green")
    output.fields((name.replace("_", " "), str(value)) for name, value in document.items() if name != "size")


async def _check(
    output: Output, data: Path, database_url: str | None, guard_file: Path | None, heads: list[bytes]
) -> Report:
    from ledger.check import check_store
    from ledger.guard import SqliteGuard
    from ledger.store import EmbeddedPostgres, Store

    async with contextlib.AsyncExitStack() as stack:
        if database_url is None:
            embedded = EmbeddedPostgres(data / "postgres")
            database_url = await embedded.start()
            stack.push_async_callback(embedded.stop)
        store = await Store.connect(database_url)
        stack.push_async_callback(store.close)
        guard = None
        if guard_file is not None:
            guard = await SqliteGuard.open(guard_file)
            stack.push_async_callback(guard.close)
        size = (await store.head()).size
        with output.progress("checking", size) as progress:
            reached = 0

            def report(done: int, _: int) -> None:
                nonlocal reached
                progress.advance(done - reached)
                reached = done

            return await check_store(store, guard=guard, heads=heads, progress=report)
