"""`badge-ledger verify`: a badge and its receipt, offline. Imports neither aiohttp nor asyncpg."""

from __future__ import annotations

from pathlib import Path

import click

from ledger.cli.app import command, option
from ledger.cli.options import Duration, load_policy, log_key_option, policy_option
from ledger.cli.output import Output
from ledger.errors import InputError


@command(short_help="Is this badge valid? Offline.")
@click.argument("badge", type=click.Path(path_type=Path))
@option("--receipt", "receipt_path", type=click.Path(path_type=Path), help="Its receipt.  [default: beside the badge]")
@policy_option
@log_key_option
@option("--max-age", type=Duration(), metavar="DURATION", help="Oldest proof that is accepted, such as 24h.")
@option("--status-base", metavar="HOST/PATH/", help="Where the ledger's status lists stand.  [default: ORIGIN/status/]")
def verify(
    output: Output,
    badge: Path,
    receipt_path: Path | None,
    policy: Path | None,
    log_key: str | None,
    max_age: int | None,
    status_base: str | None,
) -> int:
    """Check a badge against its receipt, without any network: was it issued, by whom, and is it still valid?

    Exit status 0: valid. 1: not valid (revoked, suspended, expired, stale, not proven). 2: unusable input.

    \b
    Example:
      badge-ledger verify alice.json --receipt alice.receipt.json --policy trust.policy --max-age 24h
    """
    from ledger.cli.files import find_receipt, read_badge, read_receipt
    from ledger.verdict import decide

    trusted = load_policy(policy, log_key)
    if trusted is None:
        raise InputError("whom do you trust? give --policy FILE or --log-key VKEY (`badge-ledger policy init URL`)")
    read = read_badge(badge)
    if receipt_path is None:
        receipt_path, receipt = find_receipt(badge, read)
    else:
        receipt = read_receipt(receipt_path)
    verdict = decide(read, receipt, trusted, output.clock.now_ms() // 1000, max_age, status_base=status_base)
    if output.json:
        output.document({"badge": str(badge), "receipt": str(receipt_path), "verdict": verdict.to_json()})
    else:
        colour = "bold green" if verdict.is_plain_valid else "bold yellow" if verdict.result == "valid" else "bold red"
        first, *rest = verdict.lines()
        output.styled(first, colour)
        output.lines(*rest)
    return 0 if verdict.result == "valid" else 1
