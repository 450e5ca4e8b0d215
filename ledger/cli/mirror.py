"""`badge-ledger mirror`: a static copy of a log, for any web server, and against the day that a database is lost."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.app import command, option
from ledger.cli.options import Duration, load_policy, log_key_option, policy_option
from ledger.cli.output import Output
from ledger.errors import InputError, LedgerError

if TYPE_CHECKING:
    from ledger.mirror import Mirrored
    from ledger.policy import Policy


@command(short_help="Keep a static copy of a log.")
@click.argument("url", metavar="URL|FOLDER")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@policy_option
@log_key_option
@option("--follow", is_flag=True, help="Go on for ever.")
@option("--interval", type=Duration(), metavar="DURATION", default="60s", help="With --follow: pause between rounds.")
def mirror(
    output: Output, url: str, folder: Path, policy: Path | None, log_key: str | None, follow: bool, interval: int
) -> int:
    """Copy a log into FOLDER, byte for byte: checkpoint, tiles and entry bundles, as C2SP tlog-tiles lays them out.

    Any web server or object store can serve the folder; audit, verifiers and other clients work from it. The next run
    fetches what is new. A head is copied only if it extends the copy and the entries lead to it: what contradicts the
    copy leaves it as it was, with exit status 1. `badge-ledger restore-tail` brings a ledger back from it.

    \b
    Example:
      badge-ledger mirror https://ledger.example/ /srv/mirror --policy trust.policy
      badge-ledger audit /srv/mirror --policy trust.policy
    """
    trusted = load_policy(policy, log_key)
    if trusted is None:
        raise InputError("which log? give --policy FILE or --log-key VKEY (`badge-ledger policy init URL`)")
    output.when_interrupted = "the copy is whole as of its checkpoint; the next run goes on"
    asyncio.run(_run(output, url, folder, trusted, interval if follow else None))
    return 0


async def _run(output: Output, place: str, folder: Path, policy: Policy, interval_s: int | None) -> None:
    from ledger.auditor.places import open_source
    from ledger.mirror import Mirror

    async with contextlib.AsyncExitStack() as stack:
        source = await open_source(place, output.clock, stack)
        witnesses = [rule.vkey for rule in policy.witnesses.values()]
        copy = Mirror(source, folder, [rule.vkey for rule in policy.logs], witnesses)
        while True:
            try:
                with output.progress("mirroring", 1) as progress:
                    found = await copy.update(progress.reach)
            except LedgerError as error:
                # A server that is away for a while must not end a mirror that is to run for years.
                if interval_s is None or error.status != 503:
                    raise
                output.note(error.detail)
            else:
                if found.entries or interval_s is None:
                    _show(output, folder, found)
            if interval_s is None:
                return
            await output.clock.sleep(interval_s)


def _show(output: Output, folder: Path, found: Mirrored) -> None:
    checkpoint = found.checkpoint
    document: dict[str, Any] = {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "new_entries": found.entries,
        "folder": str(folder),
    }
    if output.json:
        output.document(document)
    else:
        output.lines(f"{folder} holds {checkpoint.origin} up to {checkpoint.size} entries, {found.entries} of them new")
