"""`badge-ledger witness`: parse the options, then hand over to `api.witness_serve`, which only this command imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from ledger.cli.app import command, option
from ledger.cli.output import Output
from ledger.errors import InputError


@command(short_help="Run a witness: cosign the heads of logs.")
@option(
    "--witness-key",
    "keys",
    multiple=True,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A key file of kind witness or witness-pq. Can be repeated.",
)
@option("--logs", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The logs: a list in logs/v0.")
@option(
    "--state", type=click.Path(dir_okay=False, path_type=Path), default=Path("witness.db"), help="What it cosigned."
)
@option("--new-state", is_flag=True, help="Make the state: for a new key only, never for one that has cosigned.")
@option("--listen", metavar="HOST:PORT", default="127.0.0.1:8090", help="Where it listens; port 0 takes a free one.")
@option(
    "--audit",
    multiple=True,
    metavar="ORIGIN=URL",
    help="Audit this log, and cosign only what passed. For every log on the list.",
)
@option(
    "--audits",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("audits"),
    help="With --audit: where the audits stand.",
)
def witness(output: Output, keys: tuple[Path, ...], logs: Path, state: Path, **options: Any) -> None:
    """Run a witness of C2SP tlog-witness: it cosigns a log's heads as long as each extends the one before.

    Its state must never be lost or rolled back while its keys are in use: who starts an old key with a new state lets a
    log show two histories. With --audit its cosignature says more: that it has replayed the whole log, every rule and
    every status root; such a witness has a key of its own, and policies name it in the group `auditors`.

    Listens on this machine only unless told otherwise; put a proxy with TLS in front of it.

    \b
    Example:
      badge-ledger witness --witness-key witness.key --logs logs.txt --new-state     # the first time
      badge-ledger witness --witness-key witness.key --logs logs.txt                 # ever after
      badge-ledger witness --witness-key auditor.key --logs logs.txt --audit ledger.example/2026=https://ledger.example/
    """
    from api.witness_serve import Started, WitnessOptions, run

    def ready(started: Started) -> None:
        if output.json:
            output.document({"url": started.url, "verifier_keys": list(started.verifier_keys), "logs": started.logs})
        else:
            output.lines(f"witness of {started.logs} log{'' if started.logs == 1 else 's'} at {started.url}")
            output.fields(("key", key) for key in started.verifier_keys)
        sys.stdout.flush()

    run(
        WitnessOptions(
            keys=keys,
            logs=logs,
            state=state,
            new_state=options["new_state"],
            listen=options["listen"],
            audit=tuple(_audited(text) for text in options["audit"]),
            audits=options["audits"],
            fault=os.environ.get("BADGE_LEDGER_FAULT", ""),
        ),
        ready=ready,
    )


def _audited(text: str) -> tuple[str, str]:
    origin, equals, place = text.partition("=")
    if not origin or not equals or not place:
        raise InputError(f"--audit {text!r}: write ORIGIN=URL or ORIGIN=FOLDER")
    return origin, place
