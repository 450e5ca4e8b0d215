"""`badge-ledger history`: every event of a badge, each proven under one head."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.app import command, option
from ledger.cli.options import Duration, load_policy, log_key_option, policy_option
from ledger.cli.output import Output, format_time
from ledger.errors import InputError, LedgerError, NotFound

if TYPE_CHECKING:
    from ledger.badge_history import ProvenHistory

HISTORY_SUFFIX: Final = ".history.json"


@command(short_help="Show every event of a badge, proven.")
@click.argument("badge", metavar="BADGE|COMMITMENT|HISTORY")
@option("--url", metavar="URL", help="The ledger.")
@policy_option
@log_key_option
@option("--max-age", type=Duration(), metavar="DURATION", help="Oldest proof that is accepted, such as 24h.")
@option("--slot", type=click.IntRange(0), help="Where a badge was issued in several slots: only this one.")
@option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Keep the proof too, as NAME.history.json.")
@option("--salt-key", type=click.Path(dir_okay=False, path_type=Path), help="To find a badge that has no receipt.")
@option("--force", is_flag=True, help="Replace a file that exists.")
def history(output: Output, badge: str, url: str | None, **options: Any) -> None:
    """Show every event of a badge: issued, suspended, reinstated, revoked; when, why and by which key. Each is proven
    under one head of the log; a kept proof (NAME.history.json) is checked again without any network.

    What no proof can show is that nothing was left out: a suspension that was lifted, or one before a revocation, might
    be missing. Auditors, who read the whole log, would know.

    \b
    Example:
      badge-ledger history alice.json --url https://ledger.example/ --policy trust.policy
      badge-ledger history alice.history.json --policy trust.policy
    """
    from ledger.badge_history import parse_history, verify_history

    policy = load_policy(options["policy"], options["log_key"])
    commitment: bytes | None = None
    if badge.endswith(HISTORY_SUFFIX):
        answers = [_read(Path(badge))]
        if policy is None:
            raise InputError("whom do you trust? give --policy FILE or --log-key VKEY (`badge-ledger policy init URL`)")
    elif url is None:
        raise InputError("--url names the ledger to ask; only a kept proof, NAME.history.json, is read without")
    else:
        commitment = _commitment(badge, options["salt_key"])
        answers, policy = asyncio.run(_fetch(output, url, commitment, policy))
    shown: list[tuple[bytes, ProvenHistory]] = []
    for data in answers:
        try:
            proven = verify_history(
                parse_history(data),
                policy=policy,
                now_s=output.clock.now_ms() // 1000,
                max_age_s=options["max_age"],
                commitment=commitment,
            )
        except LedgerError as error:
            error.detail = f"{badge}: {error.detail}"
            raise
        if options["slot"] in (None, proven.issue.slot):
            shown.append((data, proven))
    if not shown:
        raise NotFound("this badge was not issued in that slot")
    if options["out"] is not None:
        _keep(options["out"], [data for data, _ in shown], force=options["force"])
    if output.json:
        output.document([_document(proven) for _, proven in shown])
    else:
        for _, proven in shown:
            _show(output, proven)


def _read(path: Path) -> bytes:
    from ledger.badge_history import MAX_HISTORY_BYTES
    from ledger.cli.files import read_bounded

    return read_bounded(path, MAX_HISTORY_BYTES)


def _commitment(badge: str, salt_key: Path | None) -> bytes:
    from ledger.cli.targets import commitment_of

    if re.fullmatch(r"[0-9a-f]{64}", badge, re.ASCII):
        return bytes.fromhex(badge)
    return commitment_of(Path(badge), salt_key)


async def _fetch(output: Output, url: str, commitment: bytes, policy: Any) -> tuple[list[bytes], Any]:
    """The histories, and the policy to verify them by: the log's own key if none was given."""
    from ledger.cli.identity import open_log
    from ledger.client import LedgerClient

    async with LedgerClient(url, clock=output.clock) as client:
        log = await open_log(client, policy)
        return await client.histories(commitment), policy or log.keys


def _keep(path: Path, answers: list[bytes], *, force: bool) -> None:
    from ledger.cli.files import write_new

    if not path.name.endswith(HISTORY_SUFFIX):
        raise InputError(f"{path}: the name of a kept history ends in {HISTORY_SUFFIX}")
    if len(answers) > 1:
        raise InputError(f"this badge was issued in {len(answers)} slots: choose one with --slot")
    write_new(path, answers[0], force=force)


def _show(output: Output, proven: ProvenHistory) -> None:
    from ledger.verdict import BINDINGS

    audit = ", ".join(proven.evaluation.audited_by)
    by = " by the log's own word" if proven.own_time else ""
    output.table(
        ("time", "event", "reason", "entry", "key"),
        [
            (format_time(event.time_ms), event.type, _reason(event.reason), str(event.index), str(event.key))
            for event in proven.events
        ],
    )
    status = "not revoked" if proven.state == "active" else proven.state
    output.lines(
        f"status   {status} as of {format_time(proven.head_time_s * 1000)}{by}, "
        + (f"audited by {audit}" if audit else "unaudited"),
        f"issuer   {proven.identifier}",
        f"binding  {BINDINGS[proven.binding]}",
        f"log      {proven.checkpoint.origin}, {proven.checkpoint.size} entries, slot {proven.issue.slot}",
        "note     each event shown is proven; that no suspension or reinstatement between is missing, auditors check",
    )


def _document(proven: ProvenHistory) -> dict[str, Any]:
    from ledger.moment import format_timestamp
    from ledger.verdict import BINDINGS

    return {
        "origin": proven.checkpoint.origin,
        "tree_size": proven.checkpoint.size,
        "slot": proven.issue.slot,
        "commitment": proven.issue.commitment.hex(),
        "issuer": proven.issue.issuer.hex(),
        "identifier": proven.identifier,
        "binding": BINDINGS[proven.binding],
        "state": proven.state,
        "status_as_of_s": proven.head_time_s,
        "status_by": "log" if proven.own_time else "witnesses",
        "audited_by": list(proven.evaluation.audited_by),
        "events": [
            {
                "index": event.index,
                "type": event.type,
                "reason": event.reason,
                "time": format_timestamp(event.time_ms),
                "time_ms": event.time_ms,
                "state": event.state,
                "submission": event.submission,
                "key": event.key,
                "public_key": event.public_key.hex(),
            }
            for event in proven.events
        ],
    }


def _reason(reason: int | None) -> str:
    from ledger.entry import REASONS

    return "" if reason is None else REASONS[reason]
