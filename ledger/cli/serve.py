"""`badge-ledger serve`: parse the options, then hand over to `api.serve`, which only this command imports."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import click

from ledger.cli.app import command, option
from ledger.cli.output import Output


class Seconds(click.FloatRange):
    """A range of numbers. "nan" is none: it passes every comparison with a limit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number", param, ctx)
        return found


@command(short_help="Run a ledger.")
@option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("data"), help="Everything it keeps.")
@option("--listen", metavar="HOST:PORT", default="127.0.0.1:8080", help="Where it listens; port 0 takes a free one.")
@option("--origin", metavar="NAME", help="The log's name, forever: ledger.example/2026.  [default: as before]")
@option("--database-url", metavar="URL", help="PostgreSQL 15 or newer.  [default: one of its own in DATA]")
@option("--guard", type=click.Path(dir_okay=False, path_type=Path), help="The guard's file.  [default: DATA/guard.db]")
@option("--fetch-documents/--no-fetch-documents", default=True, help="Look for issuers' keys on their own hosts.")
@option("--allow-private-fetch", is_flag=True, help="... on private addresses too (for tests).")
@option("--public-url", metavar="URL", help="Where others reach it; stands in badges.  [default: https://ORIGIN]")
@option("--publish-interval", type=Seconds(0, 3600), default=0.005, help="Least seconds between heads.")
@option("--heartbeat", type=Seconds(0.05, 86_400), default=300.0, help="Seconds between heads when idle.")
@option("--answer-timeout", type=Seconds(0.1, 3600), default=20.0, help="Seconds until 503 pending.")
@option("--policy", type=click.Path(dir_okay=False, path_type=Path), help="Witnesses that must cosign each head.")
@option("--witness-timeout", type=Seconds(0.1, 60), default=5.0, help="Seconds that a witness has for an answer.")
def serve(output: Output, data: Path, listen: str, **options: Any) -> None:
    """Run a ledger from one folder: database, keys, guard and the operator's token are made at the first start.

    Listens on this machine only unless told otherwise; put a proxy with TLS in front of it for others.

    \b
    Example:
      badge-ledger serve --data ./data
      badge-ledger serve --data /srv/ledger --origin ledger.example/2026 --listen 127.0.0.1:8080
    """
    from api.serve import ServeOptions, Started, run

    def ready(started: Started) -> None:
        if output.json:
            output.document(
                {
                    "url": started.url,
                    "origin": started.origin,
                    "verifier_keys": list(started.verifier_keys),
                    "operator_token_file": str(started.operator_token_file),
                }
            )
        else:
            output.lines(f"{started.origin} at {started.url}")
            output.fields(
                [("log key", started.verifier_keys[0]), ("operator's token", str(started.operator_token_file))]
            )
        sys.stdout.flush()

    run(
        ServeOptions(
            data=data,
            listen=listen,
            origin=options["origin"],
            database_url=options["database_url"],
            guard=options["guard"],
            fetch_documents=options["fetch_documents"],
            allow_private_fetch=options["allow_private_fetch"],
            publish_interval_s=options["publish_interval"],
            heartbeat_s=options["heartbeat"],
            answer_timeout_s=options["answer_timeout"],
            policy=options["policy"],
            witness_timeout_s=options["witness_timeout"],
            public_url=options["public_url"],
            fault=os.environ.get("BADGE_LEDGER_FAULT", ""),
        ),
        ready=ready,
    )
