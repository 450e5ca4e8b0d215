"""`badge-ledger verify`: badges and their receipts, offline unless asked. Imports neither aiohttp nor asyncpg."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.app import command, option
from ledger.cli.authentic import Authenticator, authentic_options
from ledger.cli.options import Duration, Moment, load_policy, log_key_option, policy_option
from ledger.cli.output import Output, shortened
from ledger.errors import InputError, LedgerError

if TYPE_CHECKING:
    from ledger.cli.verifying import Judged, Verifier

#: The most rows of the summary; of more badges only those that are not plain valid have one.
_SHOWN: Final = 100
#: Lines of one verdict, and characters of a line, that people are shown: badges can name thousands of lists.
_LINES: Final = 100
_LINE_CHARS: Final = 1000
_FILE = click.Path(dir_okay=False, path_type=Path)


@command(short_help="Is this badge valid? Offline.")
@click.argument("badges", metavar="BADGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@option("--receipt", "receipt_path", type=_FILE, help="The receipt of the one badge.  [default: beside it, or in it]")
@option("--receipts", type=click.Path(file_okay=False, path_type=Path), help="Folder with their receipts, by name.")
@policy_option
@log_key_option
@option("--max-age", type=Duration(), metavar="DURATION", help="Oldest proof that is accepted, such as 24h.")
@option("--at", type=Moment(), metavar="MOMENT", help="Was it valid then? Needs a dated receipt: receipt --at.")
@option("--status-base", metavar="HOST/PATH/", help="Where the ledger's status lists are.  [default: by name or URL]")
@option("--document", type=_FILE, help="The badge, for an image that holds only its address.")
@authentic_options
def verify(output: Output, badges: tuple[Path, ...], receipt_path: Path | None, **options: Any) -> int:
    """Check badges against their receipts, without any network: is each authentic, was it issued, by whom, and is it
    still valid? BADGE is a file, or a folder of them; several make a table. With --at: was it valid at that moment?
    A dated receipt tells both; without --at, the present decides. What was revoked after the receipt's head
    does not show, and --online does not ask the ledger: `badge-ledger refresh` brings receipts up to date.

    Exit status 0: valid. 1: not valid (revoked, suspended, expired, stale, not proven), or one of several is not. 2:
    unusable input.

    \b
    Example:
      badge-ledger verify alice.json --receipt alice.receipt.json --policy trust.policy --max-age 24h
      badge-ledger verify badges/ --receipts receipts/ --policy trust.policy --online
      badge-ledger verify alice.json --at 2026-05-03T12:00Z --policy trust.policy
    """
    verifier = _verifier(output, receipt_path, options)
    if len(badges) == 1 and not badges[0].is_dir():
        return _one(output, verifier, badges[0])
    if receipt_path is not None or options["document"] is not None:
        raise InputError("--receipt and --document are for one badge; --receipts names a folder with those of several")
    return _several(output, verifier, badges)


def _verifier(output: Output, receipt: Path | None, options: dict[str, Any]) -> Verifier:
    trusted = load_policy(options["policy"], options["log_key"])
    if trusted is None:
        raise InputError("whom do you trust? give --policy FILE or --log-key VKEY (`badge-ledger policy init URL`)")
    if receipt is not None and options["receipts"] is not None:
        raise InputError("--receipt and --receipts are two answers to one question: give one of them")
    from ledger.cli.verifying import Verifier

    base: str | None = options["status_base"]
    return Verifier(
        authenticator=Authenticator(
            output, online=options["online"], contexts=options["contexts"], pin=options["pin"], cache=options["cache"]
        ),
        policy=trusted,
        now_s=output.clock.now_ms() // 1000,
        max_age_s=options["max_age"],
        # As /v1/log states it, with its scheme, or without.
        status_base=None if base is None else base.rpartition("://")[2],
        receipt=receipt,
        receipts=options["receipts"],
        document=options["document"],
        at_ms=options["at"],
    )


def _one(output: Output, verifier: Verifier, path: Path) -> int:
    judged = verifier.judge(path)
    verdict = judged.verdict
    if output.json:
        output.document(_document(judged))
    else:
        valid = verdict.answer.result == "valid"
        colour = "bold green" if verdict.is_plain_valid else "bold yellow" if valid else "bold red"
        first, *rest = (shortened(line, _LINE_CHARS) for line in verdict.lines())
        output.styled(first, colour)
        output.lines(*rest[:_LINES])
        if len(rest) > _LINES:
            output.note(f"{len(rest) - _LINES} more lines are not shown (all that they say with --json)")
    return 0 if verdict.answer.result == "valid" else 1


def _several(output: Output, verifier: Verifier, given: tuple[Path, ...]) -> int:
    from ledger.cli.files import expand

    found = list(dict.fromkeys(expand(given)))
    if not found:
        raise InputError("there is no badge in what was given")
    totals: Counter[str] = Counter()
    documents: list[dict[str, Any]] = []
    rows: list[tuple[str, str, str]] = []
    with output.progress("verifying", len(found)) as progress:
        for path, folder in found:
            try:
                judged = verifier.judge(path, folder)
            except LedgerError as error:
                totals["unusable"] += 1
                row, plain = (str(path), "UNUSABLE", error.detail.removeprefix(f"{path}: ")), False
                document: dict[str, Any] = {
                    "badge": str(path),
                    "error": {"type": error.type, "detail": error.detail, **error.members},
                }
            else:
                totals[judged.verdict.answer.result] += 1
                row, plain = _row(judged), judged.verdict.is_plain_valid
                document = _document(judged)
            if output.json:
                documents.append(document)
            elif len(rows) < _SHOWN and not (plain and len(found) > _SHOWN):
                rows.append(row)
            progress.advance()
    if output.json:
        output.document(documents)
    else:
        if rows:
            output.table(("badge", "result", "why"), rows)
        if len(rows) < len(found):
            output.note(f"{len(found) - len(rows)} more are not shown (all of them with --json)")
        output.lines(", ".join(f"{totals[name]} {name.replace('_', ' ')}" for name in sorted(totals, key=_by_result)))
    return 0 if totals["valid"] == len(found) else 1


def _by_result(name: str) -> tuple[bool, str]:
    return name != "valid", name


def _row(judged: Judged) -> tuple[str, str, str]:
    answer = judged.verdict.answer
    why = answer.reasons[0] if answer.reasons else answer.qualifier or ""
    return str(judged.path), judged.verdict.headline, why


def _document(judged: Judged) -> dict[str, Any]:
    return {"badge": str(judged.path), "receipt": str(judged.receipt), "verdict": judged.verdict.to_json()}
