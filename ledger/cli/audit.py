"""`badge-ledger audit`: replay a log from what anybody can read. `badge-ledger verify-evidence`: is it proof?"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.app import command, option
from ledger.cli.options import Duration, load_policy, log_key_option, policy_option
from ledger.cli.output import Output, format_time
from ledger.errors import InputError

if TYPE_CHECKING:
    from ledger.auditor.session import Round
    from ledger.policy import Policy


@command(short_help="Replay a log and check that it keeps its word.")
@click.argument("sources", nargs=-1, required=True, metavar="URL|FOLDER...")
@policy_option
@log_key_option
@option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Where to go on.  [default: ./ORIGIN.audit]")
@option(
    "--evidence", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder for what convicts."
)
@option("--notify", multiple=True, metavar="IDENTIFIER", help="Tell of each entry of this issuer. Can be repeated.")
@option("--fetch-documents/--no-fetch-documents", default=True, help="Ask again for keys that issuers publish.")
@option("--allow-private-fetch", is_flag=True, help="... on private addresses too (for tests).")
@option(
    "--max-age", type=Duration(), metavar="DURATION", help="Alarm at an older head.  [default: 10m; none of a folder]"
)
@option("--follow", is_flag=True, help="Go on for ever.")
@option("--interval", type=Duration(), metavar="DURATION", default="60s", help="With --follow: pause between rounds.")
@option("--listen", metavar="HOST:PORT", help="With --follow: serve /metrics and /healthz.")
def audit(output: Output, sources: tuple[str, ...], policy: Path | None, log_key: str | None, **options: Any) -> int:
    """Read a log from its URL, or a folder with its tiles, and recompute all of it: every leaf, tile, root, signature,
    rule and status root. Further URLs and folders of the same log are compared with the first.

    The next run goes on where this one stopped. Exit status 0: everything holds. 1: it does not; if the log has signed
    what cannot be true, a file in the --evidence folder proves it (`badge-ledger verify-evidence`). Also 1 for an
    alarm, which may have innocent reasons. 2: unusable input, or the log could not be read.

    \b
    Example:
      badge-ledger audit https://ledger.example/ --policy trust.policy
      badge-ledger audit https://ledger.example/ --policy trust.policy --follow --listen 127.0.0.1:9108
    """
    trusted = load_policy(policy, log_key)
    if trusted is None:
        raise InputError("which log? give --policy FILE or --log-key VKEY (`badge-ledger policy init URL`)")
    if options["listen"] and not options["follow"]:
        raise InputError("--listen goes with --follow")
    output.when_interrupted = "the next audit goes on from the newest head that passed"
    return asyncio.run(_run(output, sources, trusted, options))


async def _run(output: Output, places: tuple[str, ...], policy: Policy, options: dict[str, Any]) -> int:
    from ledger.auditor.convict import file_name
    from ledger.auditor.places import open_source
    from ledger.auditor.session import Session
    from ledger.auditor.watch import Bindings, Watch

    origins = {rule.vkey.name for rule in policy.logs}
    if len(origins) != 1:
        raise InputError(f"the policy names {len(origins)} logs; an audit is of one")
    (origin,) = origins
    for identifier in options["notify"]:
        if ":" not in identifier:
            raise InputError(f"--notify {identifier}: an issuer's identifier is a DID or an address (https://...)")
    max_age: int | None = options["max_age"]
    async with contextlib.AsyncExitStack() as stack:
        sources = [await open_source(place, output.clock, stack) for place in places]
        bindings = None
        if options["fetch_documents"]:
            from api.fetch import DocumentFetcher

            bindings = Bindings(DocumentFetcher(allow_private=options["allow_private_fetch"]))
        progress = stack.enter_context(output.progress("auditing", 1))
        session = Session(
            sources,
            policy,
            origin,
            clock=output.clock,
            state=options["state"] or Path(file_name(origin) + ".audit"),
            evidence=options["evidence"],
            max_age_s=600 if max_age is None and any("://" in place for place in places) else max_age,
            watch=Watch(options["notify"]),
            bindings=bindings,
            progress=progress.reach,
        )
        if options["follow"]:
            from api.audit_serve import follow

            return await follow(
                session,
                clock=output.clock,
                interval_s=options["interval"],
                listen=options["listen"],
                show=lambda found: _show(output, found),
                bindings=bindings,
            )
        found = await session.round()
        _show(output, found)
        session.keep()
    return 1 if found.alarms else 0


def _show(output: Output, found: Round) -> None:
    audited = found.audited
    if output.json:
        output.document(round_document(found))
        return
    output.styled(f"AUDITED: {audited.origin}, {audited.size} entries, {audited.entries} of them new", "bold green")
    output.fields(
        [
            ("root", audited.root.hex()),
            ("newest entry", format_time(audited.time_ms)),
            ("issuers", str(audited.issuers)),
            ("badges", f"{audited.issued} issued, {audited.revoked} revoked, {audited.suspended} suspended"),
            ("cosigned by", ", ".join(audited.cosigned_by) or "nobody that the policy names"),
        ]
    )
    for notice in found.notices:
        output.lines(f"entry {notice.index}, {format_time(notice.time_ms)}: {notice.identifier}: {notice.what}")
    for alarm in found.alarms:
        output.note(f"alarm ({alarm.kind}): {alarm.text}")


def round_document(found: Round) -> dict[str, Any]:
    """A round as the JSON that --json prints."""
    audited = found.audited
    return {
        "origin": audited.origin,
        "size": audited.size,
        "root": audited.root.hex(),
        "time_ms": audited.time_ms,
        "new_entries": audited.entries,
        "issuers": audited.issuers,
        "issued": audited.issued,
        "revoked": audited.revoked,
        "suspended": audited.suspended,
        "cosigned_by": list(audited.cosigned_by),
        "alarms": [{"kind": alarm.kind, "text": alarm.text} for alarm in found.alarms],
        "notices": [
            {"index": notice.index, "identifier": notice.identifier, "what": notice.what, "time_ms": notice.time_ms}
            for notice in found.notices
        ],
    }


@command(short_help="Does this file convict a log? Offline.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@policy_option
@log_key_option
def verify_evidence(output: Output, file: Path, policy: Path | None, log_key: str | None) -> int:
    """Check a file that an audit wrote: does it prove, by the log's own signatures, that the log broke its word?

    Exit status 0: it does. 1: it proves nothing. 2: unusable input.

    \b
    Example:
      badge-ledger verify-evidence ledger.example-2026-fork.evidence --policy trust.policy
    """
    from ledger.auditor.convict import check_file

    trusted = load_policy(policy, log_key)
    if trusted is None:
        raise InputError("which log? give --policy FILE or --log-key VKEY")
    conviction = check_file(file, [rule.vkey for rule in trusted.logs])
    if output.json:
        output.document(
            {
                "origin": conviction.origin,
                "rule": conviction.rule,
                "index": conviction.index,
                "kind": conviction.kind,
                "sentence": conviction.sentence,
            }
        )
        return 0
    output.styled(f"CONVICTED: {conviction.origin} has signed what cannot be true", "bold red")
    where = "" if conviction.index is None else f", at entry {conviction.index}"
    output.fields([("rule", f"{conviction.rule}{where}"), ("why", conviction.sentence)])
    return 0
