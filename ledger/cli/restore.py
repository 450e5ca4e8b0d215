"""`badge-ledger restore-tail`: bring a ledger back whose database lost its tail."""

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
    from ledger.restore import Restored


@command(name="restore-tail", short_help="Bring back the lost tail of a ledger's database.")
@click.argument("mirror", metavar="URL|FOLDER")
@option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("data"), help="The service's folder.")
@option("--database-url", metavar="URL", help="The service's PostgreSQL.  [default: its own in DATA]")
@option("--guard", type=click.Path(dir_okay=False, path_type=Path), help="The guard's file.  [default: DATA/guard.db]")
def restore_tail(output: Output, mirror: str, data: Path, database_url: str | None, guard: Path | None) -> None:
    """Refill a database that ends before the head that was released last, from a mirror (`badge-ledger mirror`).

    For a service that refuses to start because the database ends before the guard's head, or before one that a witness
    holds, when neither the old database nor a replica can be had. Stop every node first. Nothing is written unless the
    mirror's entries lead exactly to the guard's head, or to a larger one that the log's own keys signed. Keys and guard
    must be those of the log; the database may be an older backup, or empty.

    \b
    Example:
      badge-ledger restore-tail /srv/mirror --data ./data
    """
    output.when_interrupted = "run the same command again to go on"
    restored = asyncio.run(_run(output, mirror, data, database_url, guard or data / "guard.db"))
    if output.json:
        output.document(msgspec.structs.asdict(restored))
        return
    if restored.after == restored.before:
        output.lines(f"nothing is missing: the database has {restored.after} entries, and the mirror no more")
        return
    count = restored.after - restored.before
    goal = (
        "the guard's head"
        if restored.after == restored.guard
        else "the mirror's head; the guard, put back too, now has it"
    )
    output.styled(f"restored {count} {'entry' if count == 1 else 'entries'}, up to {goal}", "bold green")
    output.fields(
        [
            ("entries", f"{restored.before} before, {restored.after} now"),
            ("commits", str(restored.commits)),
            ("slot lists", f"{restored.closed_lists} closed: slots are handed out from new ones only"),
        ]
    )


async def _run(output: Output, mirror: str, data: Path, database_url: str | None, guard_file: Path) -> Restored:
    import secrets

    from ledger.auditor.places import open_source
    from ledger.guard import SqliteGuard
    from ledger.keyfile import load_log_key, load_log_mldsa44_key
    from ledger.node import Node, NodeOptions
    from ledger.publisher import HeadSigner
    from ledger.restore import restore_tail
    from ledger.store import EmbeddedPostgres, Store

    if not guard_file.is_file():  # noqa: ASYNC240 - once, before anything runs beside it
        raise InputError(f"{guard_file}: no guard there, so nobody knows which head was released (--guard)")
    origin, ed25519 = load_log_key(data / "keys" / "log.key")
    _, mldsa44 = load_log_mldsa44_key(data / "keys" / "log-pq.key")
    async with contextlib.AsyncExitStack() as stack:
        source = await open_source(mirror, output.clock, stack)
        guard = await SqliteGuard.open(guard_file)
        stack.push_async_callback(guard.close)
        if database_url is None:
            embedded = EmbeddedPostgres(data / "postgres")
            database_url = await embedded.start()
            stack.push_async_callback(embedded.stop)
        store = await Store.connect(database_url)
        stack.push_async_callback(store.close)
        signer = HeadSigner(origin, ed25519, mldsa44)
        node = Node(store, guard, signer, output.clock, NodeOptions(origin=origin), secrets.token_bytes(32))
        with output.progress("restoring", 1) as progress:
            return await restore_tail(node, source, progress=progress.reach)
