"""`badge-ledger witness`: parse the options, then hand over to `api.witness_serve`, which only this command imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ledger.cli.app import command, option
from ledger.cli.output import Output


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
def witness(output: Output, keys: tuple[Path, ...], logs: Path, state: Path, new_state: bool, listen: str) -> None:
    """Run a witness of C2SP tlog-witness: it cosigns a log's heads as long as each extends the one before.

    Its state must never be lost or rolled back while its keys are in use: who starts an old key with a new state lets a
    log show two histories. Listens on this machine only unless told otherwise; put a proxy with TLS in front of it.

    \b
    Example:
      badge-ledger keygen witness.key --kind witness-pq --name witness.example/w1
      badge-ledger witness --witness-key witness.key --logs logs.txt --new-state     # the first time
      badge-ledger witness --witness-key witness.key --logs logs.txt                 # ever after
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
            new_state=new_state,
            listen=listen,
            fault=os.environ.get("BADGE_LEDGER_FAULT", ""),
        ),
        ready=ready,
    )
