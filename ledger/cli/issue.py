"""`badge-ledger issue`: anchor badges and write their receipts. The work is in `ledger.cli.issuing`."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.app import command, option
from ledger.cli.options import key_option, load_policy, policy_option, profile_option, url_option
from ledger.cli.output import Output
from ledger.errors import InputError, LedgerError, OperationError

if TYPE_CHECKING:
    from ledger.cli.identity import Identity
    from ledger.cli.issuing import Item
    from ledger.client import Profile
    from ledger.policy import Policy

_SHOWN = 20


@command(short_help="Anchor badges and write their receipts.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the receipts.")
@key_option
@url_option
@policy_option
@profile_option
@option("--batch", type=click.IntRange(1, 100_000), default=10_000, help="Badges in one signed submission.")
@option("--salt/--no-salt", default=None, help="Salt all commitments, or none.  [default: where a badge needs it]")
@option("--salt-key", type=click.Path(dir_okay=False, path_type=Path), help="[default: the key file's name + .salt]")
@option("--other-issuer", is_flag=True, help="Anchor badges that name another issuer, which no verifier will accept.")
@option("--status-base", metavar="HOST/PATH/", help="Where the ledger's status lists stand.  [default: ORIGIN/status/]")
@option("--strict", is_flag=True, help="One badge that cannot be used: issue none.")
@option("--patience", type=click.IntRange(1), default=300, help="Seconds of repeating a request.")
def issue(output: Output, files: tuple[Path, ...], out: Path, key: Path, url: str, **options: Any) -> int:
    """Anchor the badges in FILES (badge files or folders of them) and write NAME.receipt.json into the --out folder.

    Only commitments leave this machine, never a badge or a salt. Run it again after an interruption: what was sent is
    repeated to the byte or found, and no badge is issued twice. Exit status 1 if a badge could not be issued.

    \b
    Example:
      badge-ledger issue badges/ --out receipts/ --key acme.key --url https://ledger.example/
    """
    from ledger.cli.identity import load_identity

    policy = load_policy(options["policy"])
    identity = load_identity(key)
    items = _read(output, files, out, identity, options)
    bad = [item for item in items if item.result == "failed"]
    if options["strict"] and bad:
        raise InputError(f"nothing was issued: {len(bad)} of {len(items)} badges cannot be used: {bad[0].detail}")
    output.when_interrupted = "no badge is issued twice: run the same command again to finish"
    stopped = asyncio.run(_issue(output, items, identity, url, out, policy, options))
    if stopped is not None:
        open_items = [item for item in items if item.result is None]
        for item in open_items:
            item.result, item.detail = "open", stopped.detail
        _report(output, items)
        output.note(f"badge-ledger: {stopped.detail}; {len(open_items)} badges are open: run the same command again")
        return stopped.exit_status
    _report(output, items)
    return 1 if any(item.result == "failed" for item in items) else 0


async def _issue(
    output: Output,
    items: list[Item],
    identity: Identity,
    url: str,
    out: Path,
    policy: Policy | None,
    options: dict[str, Any],
) -> LedgerError | None:
    """Issue; the error that ended it after badges may have been sent. Raises what went wrong before."""
    from ledger.cli.identity import open_log, with_index
    from ledger.cli.issuing import Issuance, embedded_slot
    from ledger.cli.journal import Journal
    from ledger.client import LedgerClient

    async with LedgerClient(url, clock=output.clock) as client:
        log = await open_log(client, policy)
        identity = await with_index(identity, client)
        usable = [item for item in items if item.result is None]
        for item in usable:
            if item.badge is not None and item.badge.status:
                try:
                    item.slot = embedded_slot(item.badge, options["status_base"] or f"{log.origin}/status/")
                except InputError as error:
                    item.fail(error.detail)
        profile: Profile = options["profile"]
        with (
            output.progress("issuing", 2 * len(usable)) as progress,
            Journal(out, log.origin, identity.issuer) as journal,
        ):
            issuance = Issuance(
                client,
                log,
                identity,
                journal,
                batch=min(options["batch"], log.info.limits.get("max_events", options["batch"])),
                profile=profile,
                policy=policy,
                patience_s=options["patience"],
                advance=progress.advance,
                on_retry=lambda error, pause: output.note(f"{error.detail}; repeating in {pause:.0f} s"),
            )
            try:
                await issuance.run(usable)
            except LedgerError as error:
                return error
            except OSError as error:  # a full disk: what was sent is in the journal
                return OperationError(f"{error.filename or out}: {(error.strerror or str(error)).lower()}")
            return None


def _read(
    output: Output, files: tuple[Path, ...], out: Path, identity: Identity, options: dict[str, Any]
) -> list[Item]:
    """Every badge file with its commitment; unusable ones with the reason. Two files never share a receipt's name."""
    from ledger.cli.files import expand, receipt_name
    from ledger.cli.issuing import Item

    found = list(dict.fromkeys(expand(files, out)))
    short = Counter(folder / receipt_name(path) for path, folder in found)
    whole = Counter(folder / receipt_name(path, whole=True) for path, folder in found)
    items = []
    reader = _Reader(identity, options)
    with output.progress("reading", len(found)) as progress:
        for path, folder in found:
            shared = short[folder / receipt_name(path)] > 1
            name = folder / receipt_name(path, whole=shared)
            item = Item(path, out / name)
            if shared and whole[name] > 1:
                item.fail(f"{path}: another file of this run has the same name")
            else:
                reader.read(item)
            items.append(item)
            progress.advance()
    return items


class _Reader:
    """Reads badges into items; the salt key is opened when the first badge needs it."""

    def __init__(self, identity: Identity, options: dict[str, Any]) -> None:
        from ledger.cli.identity import salt_key_path

        self._identity = identity
        self._salt_key_path: Path = options["salt_key"] or salt_key_path(identity.path)
        self._salt: bool | None = options["salt"]
        self._other_issuer: bool = options["other_issuer"]
        self._salt_key: bytes | None = None

    def read(self, item: Item) -> None:
        """Fill in commitment and salt, or the failure. Raises KeyFileError, which concerns all badges."""
        from ledger import badges
        from ledger.cli.files import read_badge
        from ledger.cli.identity import load_salt
        from ledger.errors import KeyFileError

        try:
            badge = read_badge(item.path)
            if badge.issuer not in (None, self._identity.identifier) and not self._other_issuer:
                raise InputError(
                    f"{item.path}: the badge names the issuer {badge.issuer}, the key signs for "
                    f"{self._identity.identifier}: no verifier would accept the receipt (--other-issuer anchors it)"
                )
            if badges.needs_salt(badge) if self._salt is None else self._salt:
                if self._salt_key is None:
                    self._salt_key = load_salt(self._salt_key_path)
                item.salt = badges.derive_salt(self._salt_key, badge)
            item.commitment = badges.commitment(badge, item.salt)
            item.badge = badge if badge.status else None
        except KeyFileError:
            raise
        except LedgerError as error:
            item.fail(error.detail)


def _report(output: Output, items: list[Item]) -> None:
    totals = Counter(item.result for item in items)
    counts = {name: totals.get(name, 0) for name in ("issued", "present", "failed", "open")}
    if output.json:
        output.document({"badges": [_row(item) for item in items], "totals": counts})
        return
    troubled = [item for item in items if item.result == "failed"]
    for item in troubled[:_SHOWN]:
        detail = item.detail or ""
        output.note(detail if str(item.path) in detail else f"{item.path}: {detail}")
    if len(troubled) > _SHOWN:
        output.note(f"... and {len(troubled) - _SHOWN} more (all of them with --json)")
    if len(items) <= _SHOWN:
        rows = [(item.path.name, item.result or "open", _number(item.slot), _number(item.index)) for item in items]
        output.table(("badge", "result", "slot", "entry"), rows)
    words = {"issued": "issued", "present": "issued before", "failed": "failed", "open": "open"}
    output.lines(", ".join(f"{count} {words[name]}" for name, count in counts.items() if count or name == "issued"))


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _row(item: Item) -> dict[str, Any]:
    row = {
        "badge": str(item.path),
        "result": item.result,
        "receipt": str(item.receipt) if item.result in ("issued", "present") else None,
        "commitment": item.commitment.hex() or None,
        "slot": item.slot,
        "index": item.index,
        "detail": item.detail,
    }
    return {name: value for name, value in row.items() if value is not None}
